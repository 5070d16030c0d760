<?php

namespace App\Providers;

use Illuminate\Foundation\Support\Providers\RouteServiceProvider as ServiceProvider;

/** As in every application: loads the cached routes, if there are any. */
class RouteServiceProvider extends ServiceProvider
{
}
