<?php

// Published with `php artisan vendor:publish --tag=quorate-config`. The environment is read here and nowhere else, so that
// `php artisan config:cache` keeps every value.

return [

    // The region that this deployment is, by its name in the service file of Quorate. A region that answers for another
    // one is taken for a wrong backend. Without a name /health says DOWN.
    'region' => env('QUORATE_REGION'),

    'routes' => [
        // Whether the package serves its two paths at all.
        'enabled' => env('QUORATE_ROUTES', true),
        // Can this region serve? Asks the dependencies; 200 or 503.
        'health' => env('QUORATE_HEALTH_PATH', 'health'),
        // Does the process answer? Asks nothing; 200.
        'liveness' => env('QUORATE_LIVENESS_PATH', 'livez'),
        // For both. None by default: no session, no cookies, no database.
        'middleware' => [],
    ],

    'health' => [
        // What /health asks, in this order: classes that implement Quorate\Laravel\Health\Check.
        'checks' => [
            Quorate\Laravel\Health\DynamoDbCheck::class,
        ],
        // Seconds after which no further check is begun; it then counts as failed. Keep this below the timeout of
        // Quorate's probe, with room for the check that is under way.
        'budget' => 2.0,
    ],

    // How this region's AWS services are reached.
    'aws' => [
        // The AWS region for each region above, where the two have different names: an application at OVH in `gra` keeps
        // its table in `eu-west-3`. A region that is not listed is an AWS region itself.
        'regions' => [
            // 'gra' => 'eu-west-3',
            // 'bhs' => 'ca-central-1',
        ],
        // Empty: the chain of the AWS SDKs (environment, files, web identity, container, instance).
        'key' => env('AWS_ACCESS_KEY_ID'),
        'secret' => env('AWS_SECRET_ACCESS_KEY'),
        'token' => env('AWS_SESSION_TOKEN'),
        // Seconds that one request of the application may take in all, and how often a failed one is repeated.
        'timeout' => 2.0,
        'retries' => 2,
    ],

    'dynamodb' => [
        // The table that the application cannot do without. Empty: the check is not made.
        'table' => env('QUORATE_DYNAMODB_TABLE', env('DYNAMODB_CACHE_TABLE')),
        // The item that is read, as the API writes it. It need not exist; what is asked is whether the table answers.
        'key' => ['key' => ['S' => 'quorate-health']],
        // Seconds that the read may take in all. It is never repeated.
        'timeout' => 1.0,
        // For a stand-in in tests; empty: AWS's own for the region.
        'endpoint' => env('QUORATE_DYNAMODB_ENDPOINT', env('DYNAMODB_ENDPOINT')),
    ],

];
