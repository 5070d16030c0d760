<?php

declare(strict_types=1);

namespace Quorate\Laravel\Http;

use Illuminate\Http\JsonResponse;

/** Whether the process answers at all: asks nobody, so that no dependency can have it restarted. */
final class LivenessController
{
    public function __invoke(): JsonResponse
    {
        return new JsonResponse(['status' => 'UP'], 200, ['Cache-Control' => 'no-store']);
    }
}
