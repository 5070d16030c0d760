<?php

declare(strict_types=1);

namespace Quorate\Laravel\Aws;

use AsyncAws\Core\AbstractApi;
use AsyncAws\Core\HttpClient\AwsRetryStrategy;
use Quorate\Laravel\Region;
use Symfony\Component\HttpClient\HttpClient;
use Symfony\Component\HttpClient\RetryableHttpClient;
use Symfony\Contracts\HttpClient\HttpClientInterface;

/**
 * Builds AWS clients that speak to this region and never wait for long.
 *
 * Works for every client of AsyncAws, such as `AsyncAws\DynamoDb\DynamoDbClient`. The credentials are fetched with the same
 * limits as anything else.
 */
final class Clients
{
    /**
     * @param  array{regions?: array<string, string>, key?: ?string, secret?: ?string, token?: ?string, timeout?: float|int|string, retries?: int|string}  $config
     */
    public function __construct(private readonly Region $region, private readonly array $config)
    {
    }

    /**
     * @template T of AbstractApi
     *
     * @param  class-string<T>  $class
     * @param  ?string  $endpoint  instead of AWS's own for the region
     * @param  ?float  $timeout  seconds for one request in all, instead of the configured ones
     * @param  ?int  $retries  instead of the configured ones
     * @return T
     */
    public function make(string $class, ?string $endpoint = null, ?float $timeout = null, ?int $retries = null): AbstractApi
    {
        if (! $this->region->isKnown()) {
            // AsyncAws would go to us-east-1 without a word, and write there.
            throw new \LogicException('QUORATE_REGION is not set: the region whose AWS services to use is not known');
        }
        $configuration = array_filter([
            'region' => $this->region->aws($this->config['regions'] ?? []),
            'accessKeyId' => $this->config['key'] ?? null,
            'accessKeySecret' => $this->config['secret'] ?? null,
            'sessionToken' => $this->config['token'] ?? null,
            'endpoint' => $endpoint,
        ], static fn (?string $value): bool => $value !== null && $value !== '');

        return new $class($configuration, null, $this->http(
            $timeout ?? (float) ($this->config['timeout'] ?? 2.0),
            $retries ?? (int) ($this->config['retries'] ?? 2),
        ));
    }

    private function http(float $timeout, int $retries): HttpClientInterface
    {
        // `timeout` bounds a silence, `max_duration` the whole: a server that sends a byte now and then is a slow one too.
        $client = HttpClient::create(['timeout' => $timeout, 'max_duration' => $timeout, 'max_redirects' => 0]);
        if ($retries === 0) {
            return $client;
        }

        return new RetryableHttpClient($client, new AwsRetryStrategy(AwsRetryStrategy::DEFAULT_RETRY_STATUS_CODES, 50, 2.0, 500), $retries);
    }
}
