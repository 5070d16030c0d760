<?php

declare(strict_types=1);

namespace Quorate\Laravel\Tests\Support;

/** `dynamodb.php` in a process of its own. */
final class FakeDynamoDb
{
    public readonly string $endpoint;

    private readonly Process $process;

    private readonly string $directory;

    public function __construct(string $mode)
    {
        $this->directory = sys_get_temp_dir().'/quorate-dynamodb-'.bin2hex(random_bytes(6));
        mkdir($this->directory);
        touch($this->directory.'/requests');
        $this->mode($mode);
        $port = Process::freePort();
        $this->endpoint = "http://127.0.0.1:$port";
        $this->process = new Process(['php', __DIR__.'/dynamodb.php', (string) $port, $this->directory.'/mode', $this->directory.'/requests']);
        Process::until('the fake listens', fn (): bool => is_resource(@stream_socket_client("tcp://127.0.0.1:$port")));
    }

    public function mode(string $mode): void
    {
        file_put_contents($this->directory.'/mode', $mode);
    }

    /** @return list<array{target: string, authorization: string, body: array<string, mixed>}> */
    public function requests(): array
    {
        return array_map(static fn (string $line) => json_decode($line, true), file($this->directory.'/requests'));
    }

    public function stop(): void
    {
        $this->process->stop();
        exec('rm -rf '.escapeshellarg($this->directory));
    }
}
