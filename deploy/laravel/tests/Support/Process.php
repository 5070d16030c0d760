<?php

declare(strict_types=1);

namespace Quorate\Laravel\Tests\Support;

/** A child process, killed by its id when it is no longer needed. */
final class Process
{
    /** @var resource */
    private $process;

    private readonly string $log;

    /**
     * @param  list<string>  $command
     * @param  array<string, string>  $env  all that the process gets, besides PATH
     */
    public function __construct(array $command, array $env = [], ?string $directory = null)
    {
        $this->log = tempnam(sys_get_temp_dir(), 'quorate-log-');
        $pipes = [];
        $this->process = proc_open(
            $command,
            [['file', '/dev/null', 'r'], ['file', $this->log, 'a'], ['file', $this->log, 'a']],
            $pipes,
            $directory,
            $env + array_intersect_key(getenv(), ['PATH' => true, 'TMPDIR' => true, 'QUORATE_TEST_RUN' => true]),
        );
    }

    public function log(): string
    {
        return (string) file_get_contents($this->log);
    }

    public function runs(): bool
    {
        return proc_get_status($this->process)['running'];
    }

    public function stop(): void
    {
        if (is_resource($this->process)) {
            proc_terminate($this->process, 9);
            proc_close($this->process);
        }
        @unlink($this->log);
    }

    public function __destruct()
    {
        $this->stop();
    }

    /** A port of loopback that nothing listens on, below those that the kernel gives to clients. */
    public static function freePort(): int
    {
        for ($try = 0; $try < 100; $try++) {
            $port = random_int(20000, 32000);
            $server = @stream_socket_server("tcp://127.0.0.1:$port");
            if ($server !== false) {
                fclose($server);

                return $port;
            }
        }
        throw new \RuntimeException('no port is free');
    }

    public static function until(string $what, \Closure $condition, float $seconds = 20): void
    {
        $end = microtime(true) + $seconds;
        while (! $condition()) {
            if (microtime(true) > $end) {
                throw new \RuntimeException("not within $seconds s: $what");
            }
            usleep(20_000);
        }
    }
}
