<?php

declare(strict_types=1);

namespace Quorate\Laravel;

/** The region that this deployment is, by its name in Quorate's service file. */
final class Region
{
    private function __construct(public readonly string $name)
    {
    }

    /** A name that is missing is kept as empty: an application must start without it, and its /health says DOWN. */
    public static function of(?string $name): self
    {
        return new self(trim((string) $name));
    }

    public function isKnown(): bool
    {
        return $this->name !== '';
    }

    /**
     * @param  array<string, string>  $regions  the AWS region by the name of ours
     */
    public function aws(array $regions): string
    {
        return $regions[$this->name] ?? $this->name;
    }
}
