<?php

// A Laravel application as small as it gets, on Debian's packages: what Composer installed first, then Debian's framework.
require_once __DIR__.'/../vendor/autoload.php';
require_once 'Illuminate/autoload.php';
require_once 'AsyncAws/Core/autoload.php';

$app = new Illuminate\Foundation\Application(dirname(__DIR__));
$app->singleton(Illuminate\Contracts\Http\Kernel::class, App\Http\Kernel::class);
$app->singleton(Illuminate\Contracts\Console\Kernel::class, Illuminate\Foundation\Console\Kernel::class);
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, Illuminate\Foundation\Exceptions\Handler::class);

return $app;
