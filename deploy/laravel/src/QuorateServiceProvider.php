<?php

declare(strict_types=1);

namespace Quorate\Laravel;

use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Container\Container;
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
    public function register(): void
    {
        $this->mergeConfigFrom(__DIR__.'/../config/quorate.php', 'quorate');

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
            $this->publishes([__DIR__.'/../config/quorate.php' => $this->app->configPath('quorate.php')], 'quorate-config');
        }
    }

    private static function config(Container $app, string $key): mixed
    {
        return $app->make(Repository::class)->get('quorate.'.$key);
    }
}
