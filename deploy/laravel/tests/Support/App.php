<?php

declare(strict_types=1);

namespace Quorate\Laravel\Tests\Support;

/** The application behind PHP's own web server. */
final class App
{
    public const KEY = 'AKIDEXAMPLEOFATEST';

    public const SECRET = 'not-even-this-may-leave';

    private readonly Process $process;

    private readonly int $port;

    /** @param  array<string, string>  $env */
    public function __construct(array $env)
    {
        file_put_contents(TEST_APP.'/storage/logs/laravel.log', '');
        $this->port = Process::freePort();
        $server = ['php', '-S', "127.0.0.1:$this->port", '-t', 'public', 'public/index.php'];
        $this->process = new Process($server, $env, TEST_APP);
        Process::until('the application listens', fn (): bool => is_resource(@stream_socket_client("tcp://127.0.0.1:$this->port")));
    }

    /** The environment of a deployment in eu-west-3 whose DynamoDB is at `endpoint`. */
    public static function env(string $endpoint, array $more = []): array
    {
        return $more + [
            'QUORATE_REGION' => 'eu-west-3',
            'QUORATE_DYNAMODB_TABLE' => 'orders',
            'QUORATE_DYNAMODB_ENDPOINT' => $endpoint,
            'AWS_ACCESS_KEY_ID' => self::KEY,
            'AWS_SECRET_ACCESS_KEY' => self::SECRET,
        ];
    }

    public static function artisan(array $arguments, array $env = []): string
    {
        $process = new Process(['php', 'artisan', ...$arguments], $env, TEST_APP);
        Process::until('artisan ends', fn (): bool => ! $process->runs());

        return $process->log();
    }

    /** @return array{status: int, headers: string, body: string, json: ?array, seconds: float} */
    public function get(string $path, string $method = 'GET'): array
    {
        $began = microtime(true);
        $context = stream_context_create(['http' => ['method' => $method, 'ignore_errors' => true, 'timeout' => 30]]);
        $body = file_get_contents("http://127.0.0.1:$this->port$path", false, $context);
        $headers = implode("\n", $http_response_header ?? []);

        return [
            'status' => (int) (explode(' ', $headers)[1] ?? 0),
            'headers' => $headers,
            'body' => (string) $body,
            'json' => json_decode((string) $body, true),
            'seconds' => microtime(true) - $began,
        ];
    }

    public function log(): string
    {
        return (string) file_get_contents(TEST_APP.'/storage/logs/laravel.log');
    }

    public function stop(): void
    {
        $this->process->stop();
    }
}
