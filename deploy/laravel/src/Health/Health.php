<?php

declare(strict_types=1);

namespace Quorate\Laravel\Health;

use Psr\Log\LoggerInterface;
use Quorate\Laravel\Region;

/** Asks every dependency once and says what came of it. Nothing is cached. */
final class Health
{
    /**
     * @param  list<\Closure(): Check>  $checks
     * @param  float  $budget  seconds after which no further check is begun
     */
    public function __construct(
        private readonly Region $region,
        private readonly array $checks,
        private readonly float $budget,
        private readonly LoggerInterface $log,
    ) {
    }

    public function ask(): Report
    {
        $until = microtime(true) + $this->budget;
        $dependencies = [];
        $broken = false;
        foreach ($this->checks as $make) {
            try {
                $check = $make();
                if ($check->applies()) {
                    $dependencies[$check->name()] = $this->isWell($check, $until);
                }
            } catch (\Throwable $error) {
                // It has no name to be listed under.
                $broken = true;
                $this->log->error('quorate: a health check could not be made', ['error' => $error->getMessage()]);
            }
        }
        if (! $this->region->isKnown()) {
            $broken = true;
            $this->log->error('quorate: QUORATE_REGION is not set, so that /health cannot say whose health it is');
        }

        return new Report($this->region->name, $dependencies, $broken);
    }

    private function isWell(Check $check, float $until): bool
    {
        $began = microtime(true);
        if ($began > $until) {
            $this->log->warning('quorate: no time was left to ask a dependency', ['dependency' => $check->name()]);

            return false;
        }
        try {
            $check->run();

            return true;
        } catch (\Throwable $error) {
            $this->log->warning('quorate: a dependency is not well', [
                'dependency' => $check->name(),
                'after_ms' => (int) round((microtime(true) - $began) * 1000),
                'error' => $error::class.': '.$error->getMessage(),
            ]);

            return false;
        }
    }
}
