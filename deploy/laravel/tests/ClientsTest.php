<?php

declare(strict_types=1);

namespace Quorate\Laravel\Tests;

use AsyncAws\Core\Exception\Http\ClientException;
use AsyncAws\Core\Exception\Http\HttpException;
use AsyncAws\Core\Exception\Http\NetworkException;
use PHPUnit\Framework\TestCase;
use Quorate\Laravel\Aws\Clients;
use Quorate\Laravel\Aws\DynamoDb;
use Quorate\Laravel\Region;
use Quorate\Laravel\Tests\Support\FakeDynamoDb;

/** The application's own clients: of its region, bounded, repeated a little. */
final class ClientsTest extends TestCase
{
    private ?FakeDynamoDb $dynamo = null;

    protected function tearDown(): void
    {
        $this->dynamo?->stop();
    }

    private function client(string $region, array $config = []): DynamoDb
    {
        $config += ['key' => 'k', 'secret' => 's', 'regions' => ['gra' => 'eu-west-3', 'bhs' => 'ca-central-1']];

        return (new Clients(Region::of($region), $config))->make(DynamoDb::class, $this->dynamo?->endpoint);
    }

    /** @dataProvider regions */
    public function test_a_client_speaks_to_the_region_that_it_runs_in(string $region, string $aws): void
    {
        $this->dynamo = new FakeDynamoDb('ok');
        $this->client($region)->call('PutItem', ['TableName' => 'orders', 'Item' => ['key' => ['S' => 'a']]]);
        [$asked] = $this->dynamo->requests();
        self::assertSame('DynamoDB_20120810.PutItem', $asked['target']);
        self::assertStringContainsString("/$aws/dynamodb/aws4_request", $asked['authorization']);
    }

    public static function regions(): array
    {
        return [['gra', 'eu-west-3'], ['bhs', 'ca-central-1'], ['us-east-1', 'us-east-1']];
    }

    public function test_without_an_endpoint_it_is_amazons_of_the_region(): void
    {
        $endpoint = new \ReflectionMethod(DynamoDb::class, 'getEndpointMetadata');
        $client = (new Clients(Region::of('eu-west-3'), ['key' => 'k', 'secret' => 's']))->make(DynamoDb::class);
        self::assertSame('eu-west-3', $client->getConfiguration()->get('region'));
        self::assertSame('https://dynamodb.eu-west-3.amazonaws.com', $endpoint->invoke($client, 'eu-west-3')['endpoint']);
        self::assertSame('https://dynamodb.cn-north-1.amazonaws.com.cn', $endpoint->invoke($client, 'cn-north-1')['endpoint']);
    }

    public function test_no_region_no_client(): void
    {
        $this->expectException(\LogicException::class);
        $this->expectExceptionMessage('QUORATE_REGION is not set');
        $this->client('');
    }

    public function test_a_failed_request_is_repeated_as_often_as_configured(): void
    {
        $this->dynamo = new FakeDynamoDb('fail 2 InternalServerError');
        self::assertSame([], $this->client('gra', ['retries' => 2])->call('GetItem', []));
        self::assertCount(3, $this->dynamo->requests());
    }

    public function test_and_no_more_often(): void
    {
        $this->dynamo = new FakeDynamoDb('fail 9 InternalServerError');
        try {
            $this->client('gra', ['retries' => 1])->call('GetItem', []);
            self::fail('an error was expected');
        } catch (HttpException $error) {
            self::assertSame('InternalServerError', $error->getAwsCode());
        }
        self::assertCount(2, $this->dynamo->requests());
    }

    public function test_what_is_wrong_with_the_request_is_not_repeated(): void
    {
        $this->dynamo = new FakeDynamoDb('error 400 ConditionalCheckFailedException');
        $this->expectException(ClientException::class);
        try {
            $this->client('gra')->call('PutItem', []);
        } finally {
            self::assertCount(1, $this->dynamo->requests());
        }
    }

    public function test_a_request_ends_at_its_limit(): void
    {
        $this->dynamo = new FakeDynamoDb('hang');
        $this->expectException(NetworkException::class);
        $this->client('gra', ['timeout' => 0.3, 'retries' => 0])->call('GetItem', []);
    }
}
