<?php

declare(strict_types=1);

namespace Quorate\Laravel\Health;

/**
 * One dependency that this region cannot serve without.
 *
 * A check bounds its own time: PHP cannot interrupt it. It never remembers a success, which would hide an outage.
 */
interface Check
{
    /** The dependency's name in the answer, the same in every region: Quorate compares them. */
    public function name(): string;

    /** False when there is nothing to ask here, because it is not configured. */
    public function applies(): bool;

    /**
     * Returns when the dependency is well.
     *
     * @throws \Throwable when it is not; the text goes to the log and never into the answer
     */
    public function run(): void;
}
