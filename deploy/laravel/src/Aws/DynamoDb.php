<?php

declare(strict_types=1);

namespace Quorate\Laravel\Aws;

use AsyncAws\Core\AbstractApi;
use AsyncAws\Core\AwsError\AwsErrorFactoryInterface;
use AsyncAws\Core\AwsError\JsonRpcAwsErrorFactory;
use AsyncAws\Core\Configuration;
use AsyncAws\Core\Request;
use AsyncAws\Core\Stream\StringStream;

/**
 * DynamoDB's API as it is: an operation by its name, its input and output as arrays.
 *
 * Small on purpose. An application that wants types takes `async-aws/dynamo-db`, whose client {@see Clients} builds as well.
 */
final class DynamoDb extends AbstractApi
{
    /**
     * @param  array<string, mixed>  $input
     * @return array<string, mixed>
     *
     * @throws \AsyncAws\Core\Exception\Exception
     */
    public function call(string $operation, array $input): array
    {
        $request = new Request('POST', '/', [], [
            'Content-Type' => 'application/x-amz-json-1.0',
            'X-Amz-Target' => 'DynamoDB_20120810.'.$operation,
        ], StringStream::create(json_encode($input, JSON_THROW_ON_ERROR)));

        return $this->getResponse($request)->toArray();
    }

    protected function getAwsErrorFactory(): AwsErrorFactoryInterface
    {
        return new JsonRpcAwsErrorFactory();
    }

    protected function getEndpointMetadata(?string $region): array
    {
        $region ??= Configuration::DEFAULT_REGION;
        $suffix = str_starts_with($region, 'cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';

        return [
            'endpoint' => "https://dynamodb.$region.$suffix",
            'signRegion' => $region,
            'signService' => 'dynamodb',
            'signVersions' => ['v4'],
        ];
    }
}
