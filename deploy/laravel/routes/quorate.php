<?php

use Illuminate\Support\Facades\Route;
use Quorate\Laravel\Http\HealthController;
use Quorate\Laravel\Http\LivenessController;

Route::middleware(config('quorate.routes.middleware', []))->group(function (): void {
    Route::get(config('quorate.routes.health'), HealthController::class)->name('quorate.health');
    Route::get(config('quorate.routes.liveness'), LivenessController::class)->name('quorate.liveness');
});
