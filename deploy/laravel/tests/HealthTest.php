<?php

declare(strict_types=1);

namespace Quorate\Laravel\Tests;

use PHPUnit\Framework\TestCase;
use Quorate\Laravel\Tests\Support\App;
use Quorate\Laravel\Tests\Support\FakeDynamoDb;
use Quorate\Laravel\Tests\Support\Process;

/** A real Laravel application, asked over HTTP, while DynamoDB is well, slow, hung, down, or answers nonsense. */
final class HealthTest extends TestCase
{
    private const UP = '{"status":"UP","dependencies":{"dynamodb":"UP"},"region":"eu-west-3"}';

    private const DOWN = '{"status":"DOWN","dependencies":{"dynamodb":"DOWN"},"region":"eu-west-3"}';

    /** How long a request may take on a busy machine: far below the minute for which the fake stays silent. */
    private const BOUND = 10.0;

    private ?App $app = null;

    private ?FakeDynamoDb $dynamo = null;

    protected function tearDown(): void
    {
        $this->app?->stop();
        $this->dynamo?->stop();
        foreach (['config.php', 'routes-v7.php'] as $cached) {
            @unlink(TEST_APP."/bootstrap/cache/$cached");
        }
        @unlink(TEST_APP.'/storage/framework/down');
        @unlink(TEST_APP.'/config/quorate.php');
    }

    private function start(string $mode, array $env = []): void
    {
        $this->dynamo = new FakeDynamoDb($mode);
        $this->app = new App(App::env($this->dynamo->endpoint, $env));
    }

    public function test_the_package_is_found_by_itself(): void
    {
        $manifest = require TEST_APP.'/bootstrap/cache/packages.php';
        self::assertSame(['providers' => ['Quorate\Laravel\QuorateServiceProvider']], $manifest['quorate/laravel']);
    }

    public function test_a_region_whose_table_answers_is_up(): void
    {
        $this->start('ok');
        $answer = $this->app->get('/health');
        self::assertSame(200, $answer['status'], $this->app->log());
        self::assertSame(self::UP, $answer['body']);
        self::assertStringContainsString('no-store', $answer['headers']);
        self::assertStringNotContainsStringIgnoringCase('set-cookie', $answer['headers']);

        [$asked] = $this->dynamo->requests();
        self::assertSame('DynamoDB_20120810.GetItem', $asked['target']);
        self::assertSame('orders', $asked['body']['TableName']);
        self::assertTrue($asked['body']['ConsistentRead']);
        self::assertStringContainsString('/eu-west-3/dynamodb/aws4_request', $asked['authorization'], 'signed for its own region');
    }

    public function test_success_is_never_remembered(): void
    {
        $this->start('ok');
        for ($i = 1; $i <= 3; $i++) {
            self::assertSame(200, $this->app->get('/health')['status']);
            self::assertCount($i, $this->dynamo->requests());
        }
        $this->dynamo->mode('error 500 InternalServerError');
        self::assertSame(503, $this->app->get('/health')['status'], 'the very next answer');
        $this->dynamo->mode('ok');
        self::assertSame(200, $this->app->get('/health')['status']);
    }

    /** @dataProvider outages */
    public function test_an_outage_is_told_in_time_and_asked_for_once(string $mode): void
    {
        $this->start($mode);
        $answer = $this->app->get('/health');
        self::assertSame(503, $answer['status']);
        self::assertSame(self::DOWN, $answer['body'], 'names and words, and nothing that an error said');
        self::assertLessThan(self::BOUND, $answer['seconds']);
        self::assertCount(1, $this->dynamo->requests(), 'a health check is not repeated');
        self::assertStringContainsString('a dependency is not well', $this->app->log());
        $this->nothingSecretIn($this->app->log());
    }

    public static function outages(): array
    {
        return [
            'hung' => ['hang'],
            'a byte now and then' => ['trickle'],
            'slower than the limit' => ['slow 3000'],
            'failing' => ['error 500 InternalServerError'],
            'throttled' => ['error 400 ProvisionedThroughputExceededException'],
            'no such table' => ['error 400 ResourceNotFoundException'],
            'no right' => ['error 400 AccessDeniedException'],
            'no JSON' => ['body <html>welcome</html>'],
            'another service' => ['body {"hello":"world"}'],
        ];
    }

    public function test_a_table_that_is_slow_within_the_limit_is_up(): void
    {
        $this->start('slow 200');
        self::assertSame(self::UP, $this->app->get('/health')['body']);
    }

    public function test_a_dynamodb_that_is_not_there_is_down(): void
    {
        $port = Process::freePort();
        $this->app = new App(App::env("http://127.0.0.1:$port"));
        $answer = $this->app->get('/health');
        self::assertSame(self::DOWN, $answer['body']);
        self::assertLessThan(self::BOUND, $answer['seconds']);
        self::assertStringNotContainsString((string) $port, $answer['headers'].$answer['body']);
    }

    public function test_liveness_asks_nobody(): void
    {
        $this->start('hang');
        $answer = $this->app->get('/livez');
        self::assertSame([200, '{"status":"UP"}'], [$answer['status'], $answer['body']]);
        self::assertSame([], $this->dynamo->requests());
    }

    public function test_it_works_from_cached_configuration_and_routes(): void
    {
        $this->dynamo = new FakeDynamoDb('ok');
        $env = App::env($this->dynamo->endpoint);
        self::assertStringContainsString('cached successfully', App::artisan(['config:cache'], $env));
        self::assertStringContainsString('cached successfully', App::artisan(['route:cache'], $env));
        // What was read when the cache was made is all there is now.
        $this->app = new App([]);
        self::assertSame(self::UP, $this->app->get('/health')['body'], $this->app->log());
    }

    public function test_the_environment_is_read_in_the_configuration_only(): void
    {
        $files = new \RecursiveIteratorIterator(new \RecursiveDirectoryIterator(dirname(__DIR__).'/src'));
        foreach ([...$files, dirname(__DIR__).'/routes/quorate.php'] as $file) {
            if (str_ends_with((string) $file, '.php')) {
                self::assertDoesNotMatchRegularExpression('/\b(get)?env\s*\(|\$_(ENV|SERVER)/', file_get_contents((string) $file), (string) $file);
            }
        }
    }

    public function test_a_deployment_that_does_not_know_its_region_is_down_and_says_so_in_the_log(): void
    {
        $this->start('ok', ['QUORATE_REGION' => '']);
        $answer = $this->app->get('/health');
        self::assertSame('{"status":"DOWN","dependencies":{"dynamodb":"DOWN"},"region":""}', $answer['body']);
        self::assertSame(503, $answer['status']);
        self::assertSame([], $this->dynamo->requests(), 'nothing is asked of a region that was guessed');
        self::assertStringContainsString('QUORATE_REGION is not set', $this->app->log());
    }

    public function test_an_application_without_dynamodb_has_no_such_dependency(): void
    {
        $this->app = new App(['QUORATE_REGION' => 'gra']);
        self::assertSame('{"status":"UP","dependencies":{},"region":"gra"}', $this->app->get('/health')['body']);
    }

    public function test_a_check_of_the_applications_own_is_asked_and_its_error_stays_inside(): void
    {
        $this->configure("\$config['health']['checks'][] = App\\LateCheck::class;");
        $this->start('ok', ['APP_LATE' => 'fails']);
        $answer = $this->app->get('/health');
        self::assertSame('{"status":"DOWN","dependencies":{"dynamodb":"UP","late":"DOWN"},"region":"eu-west-3"}', $answer['body']);
        self::assertStringContainsString('late.internal', $this->app->log());
    }

    public function test_no_check_is_begun_once_the_budget_is_spent(): void
    {
        $this->configure("\$config['health']['checks'][] = App\\LateCheck::class; \$config['health']['budget'] = 0.2;");
        $this->start('hang');
        $answer = $this->app->get('/health');
        self::assertSame('{"status":"DOWN","dependencies":{"dynamodb":"DOWN","late":"DOWN"},"region":"eu-west-3"}', $answer['body']);
        self::assertStringContainsString('no time was left', $this->app->log());
    }

    public function test_what_a_published_file_leaves_out_is_the_default(): void
    {
        $file = "<?php\n\nreturn ['region' => 'eu-west-3', 'routes' => ['health' => 'up'], 'health' => [], 'aws' => []];\n";
        file_put_contents(TEST_APP.'/config/quorate.php', $file);
        $this->start('ok');
        self::assertSame([200, self::UP], array_values(array_intersect_key($this->app->get('/up'), ['status' => 1, 'body' => 1])), $this->app->log());
        self::assertSame(200, $this->app->get('/livez')['status']);
        $this->app->stop();
        App::artisan(['config:cache'], App::env($this->dynamo->endpoint));
        $this->app = new App([]);
        self::assertSame(self::UP, $this->app->get('/up')['body'], $this->app->log());
    }

    public function test_a_check_that_cannot_be_made_is_no_success(): void
    {
        $this->configure("\$config['health']['checks'][] = 'App\\\\NoSuchCheck';");
        $this->start('ok');
        $answer = $this->app->get('/health');
        self::assertSame(503, $answer['status']);
        self::assertSame('{"status":"DOWN","dependencies":{"dynamodb":"UP"},"region":"eu-west-3"}', $answer['body']);
    }

    public function test_maintenance_takes_the_region_out(): void
    {
        $this->start('ok');
        App::artisan(['down']);
        self::assertSame(503, $this->app->get('/health')['status']);
        App::artisan(['up']);
        self::assertSame(200, $this->app->get('/health')['status']);
    }

    public function test_paths_and_methods(): void
    {
        $this->start('ok', ['QUORATE_HEALTH_PATH' => 'internal/health', 'QUORATE_LIVENESS_PATH' => 'internal/live']);
        self::assertSame(200, $this->app->get('/internal/health')['status']);
        self::assertSame(200, $this->app->get('/internal/health', 'HEAD')['status']);
        self::assertSame(405, $this->app->get('/internal/health', 'POST')['status']);
        self::assertSame(200, $this->app->get('/internal/live')['status']);
        self::assertSame(404, $this->app->get('/health')['status']);
    }

    public function test_nobody_is_served_who_does_not_want_the_routes(): void
    {
        $this->start('ok', ['QUORATE_ROUTES' => 'false']);
        self::assertSame(404, $this->app->get('/health')['status']);
    }

    /** Publishes the configuration, as the README says, and changes it. */
    private function configure(string $php): void
    {
        App::artisan(['vendor:publish', '--tag=quorate-config']);
        $file = TEST_APP.'/config/quorate.php';
        $text = (string) file_get_contents($file);
        self::assertStringContainsString('return [', $text, 'vendor:publish put the file there');
        file_put_contents($file, str_replace("\nreturn [", "\n\$config = [", $text)."\n$php\n\nreturn \$config;\n");
    }

    private function nothingSecretIn(string $text): void
    {
        self::assertStringNotContainsString(App::SECRET, $text);
        self::assertStringNotContainsString(App::KEY, $text);
    }
}
