<?php

namespace App;

use Quorate\Laravel\Health\Check;

/** A dependency of the application's own, which is asked last. */
final class LateCheck implements Check
{
    public function name(): string
    {
        return 'late';
    }

    public function applies(): bool
    {
        return true;
    }

    public function run(): void
    {
        // What must never reach an answer.
        if (getenv('APP_LATE') === 'fails') {
            throw new \RuntimeException('connecting to late.internal with password hunter2 failed');
        }
    }
}
