<?php

declare(strict_types=1);

namespace Quorate\Laravel\Health;

/** What /health answers: names and the words UP and DOWN, and nothing that an error said. */
final class Report
{
    /**
     * @param  array<string, bool>  $dependencies  by name, whether it is well
     */
    public function __construct(
        private readonly string $region,
        private readonly array $dependencies,
        private readonly bool $broken = false,
    ) {
    }

    public function isUp(): bool
    {
        return ! $this->broken && ! in_array(false, $this->dependencies, true);
    }

    /** @return array{status: string, dependencies: object, region: string} */
    public function toArray(): array
    {
        return [
            'status' => self::word($this->isUp()),
            // An object, also when there is none to list.
            'dependencies' => (object) array_map(self::word(...), $this->dependencies),
            'region' => $this->region,
        ];
    }

    private static function word(bool $well): string
    {
        return $well ? 'UP' : 'DOWN';
    }
}
