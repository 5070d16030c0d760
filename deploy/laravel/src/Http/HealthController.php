<?php

declare(strict_types=1);

namespace Quorate\Laravel\Http;

use Illuminate\Http\JsonResponse;
use Quorate\Laravel\Health\Health;

/** Whether this region can serve: 200, or 503 with the dependencies that cannot. */
final class HealthController
{
    public function __invoke(Health $health): JsonResponse
    {
        $report = $health->ask();

        return new JsonResponse($report->toArray(), $report->isUp() ? 200 : 503, ['Cache-Control' => 'no-store']);
    }
}
