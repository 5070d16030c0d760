<?php

// Makes the application once for all tests, in a directory that goes with them. `phpunit` in deploy/laravel is all it takes.

declare(strict_types=1);

$made = sys_get_temp_dir().'/quorate-laravel-'.getmypid();
define('TEST_APP', $made);
exec(escapeshellarg(__DIR__.'/make-app.sh').' '.escapeshellarg($made).' 2>&1', $output, $status);
if ($status !== 0) {
    fwrite(STDERR, "the application could not be made:\n".implode("\n", $output)."\n");
    exit(1);
}
register_shutdown_function(static fn () => exec('rm -rf '.escapeshellarg($made)));

require_once $made.'/bootstrap/app.php';
spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'Quorate\\Laravel\\Tests\\')) {
        require __DIR__.'/'.strtr(substr($class, 22), '\\', '/').'.php';
    }
});
