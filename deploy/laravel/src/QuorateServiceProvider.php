<?php

declare(strict_types=1);

namespace Quorate\Laravel;

use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Container\Container;
use Illuminate\Contracts\Foundation\CachesConfiguration;
use Illuminate\Support\ServiceProvider;
use Psr\Log\LoggerInterface;
use Quorate\Laravel\Aws\Clients;
use Quorate\Laravel\Aws\DynamoDb;
use Quorate\Laravel\Health\DynamoDbCheck;
use Quorate\Laravel\Health\Health;

/**
 * Found by Laravel through composer.json. Everything is built on first use: an application that never answers /health
 * pays nothing for it.
 */
final class QuorateServiceProvider extends ServiceProvider
{
    private const CONFIG = __DIR__.'/../config/quorate.php';

    public function register(): void
    {
        $this->mergeConfigFrom(self::CONFIG, 'quorate');
        $this->fillGroups();

        $this->app->singleton(Region::class, static fn (Container $app): Region => Region::of(self::config($app, 'region')));

        $this->app->singleton(Clients::class, static fn (Container $app): Clients => new Clients(
            $app->make(Region::class),
            self::config($app, 'aws'),
        ));

        // The application's own client, for its region.
        $this->app->singleton(DynamoDb::class, static fn (Container $app): DynamoDb => $app->make(Clients::class)->make(
            DynamoDb::class,
            self::config($app, 'dynamodb.endpoint'),
        ));

        $this->app->singleton(DynamoDbCheck::class, static fn (Container $app): DynamoDbCheck => new DynamoDbCheck(
            $app->make(Clients::class),
            self::config($app, 'dynamodb'),
        ));

        $this->app->bind(Health::class, static fn (Container $app): Health => new Health(
            $app->make(Region::class),
            // One at a time, and only when its turn has come: a check that cannot be built fails like one that says no.
            array_map(static fn (string $class): \Closure => static fn () => $app->make($class), self::config($app, 'health.checks')),
            (float) self::config($app, 'health.budget'),
            $app->make(LoggerInterface::class),
        ));
    }

    public function boot(): void
    {
        if (self::config($this->app, 'routes.enabled')) {
            $this->loadRoutesFrom(__DIR__.'/../routes/quorate.php');
        }
        if ($this->app->runningInConsole()) {
            $this->publishes([self::CONFIG => $this->app->configPath('quorate.php')], 'quorate-config');
        }
    }

    /**
     * Laravel merges the first level only: what a published file leaves out of a group, as one written for an older release
     * does, would be null and not the default. Lists and maps that are given stay as they are given.
     */
    private function fillGroups(): void
    {
        if ($this->app instanceof CachesConfiguration && $this->app->configurationIsCached()) {
            return;
        }
        $config = $this->app->make(Repository::class);
        foreach (require self::CONFIG as $group => $defaults) {
            if (is_array($defaults)) {
                $config->set("quorate.$group", ((array) $config->get("quorate.$group")) + $defaults);
            }
        }
    }

    private static function config(Container $app, string $key): mixed
    {
        return $app->make(Repository::class)->get('quorate.'.$key);
    }
}
