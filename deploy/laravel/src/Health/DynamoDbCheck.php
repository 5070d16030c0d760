<?php

declare(strict_types=1);

namespace Quorate\Laravel\Health;

use Quorate\Laravel\Aws\Clients;
use Quorate\Laravel\Aws\DynamoDb;

/**
 * Whether this region's replica of the table answers a consistent read.
 *
 * One GetItem of one key: the right `dynamodb:GetItem` on the table is enough, half a read unit is what it costs. Listing or
 * describing tables would need broader rights, and says nothing of reads.
 */
final class DynamoDbCheck implements Check
{
    private ?DynamoDb $client = null;

    /**
     * @param  array{table?: ?string, key?: array<string, array<string, string>>, timeout?: float|int|string, endpoint?: ?string}  $config
     */
    public function __construct(private readonly Clients $clients, private readonly array $config)
    {
    }

    public function name(): string
    {
        return 'dynamodb';
    }

    public function applies(): bool
    {
        return ($this->config['table'] ?? null) !== null && $this->config['table'] !== '';
    }

    public function run(): void
    {
        $timeout = (float) ($this->config['timeout'] ?? 1.0);
        $this->client ??= $this->clients->make(DynamoDb::class, $this->config['endpoint'] ?? null, $timeout, 0);
        $answer = $this->client->call('GetItem', [
            'TableName' => $this->config['table'],
            'Key' => $this->config['key'] ?? [],
            'ConsistentRead' => true,
            // Whatever the item holds is nobody's business here.
            'ProjectionExpression' => '#key',
            'ExpressionAttributeNames' => ['#key' => (string) array_key_first($this->config['key'] ?? [])],
        ]);
        if (array_diff_key($answer, ['Item' => true, 'ConsumedCapacity' => true]) !== []) {
            throw new \UnexpectedValueException('the answer is none of GetItem: something else answers for DynamoDB');
        }
    }
}
