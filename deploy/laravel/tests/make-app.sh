#!/usr/bin/env bash
# Makes a Laravel application with this package in it, as `composer require quorate/laravel` would, on Debian's packages
# and without a network:   make-app.sh DIRECTORY
set -euo pipefail
package=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
app=$1
mkdir -p "$app"
cp -r "$package/tests/app/." "$app"
version() { dpkg-query -W -f '${source:Upstream-Version}' "$1" | sed 's/[+~].*//'; }
framework=$(version php-laravel-framework)
# Debian's packages stand for what Composer would have fetched.
cat > "$app/composer.json" <<JSON
{
    "name": "quorate/test-app",
    "repositories": [
        { "type": "path", "url": "$package", "options": { "symlink": false, "versions": { "quorate/laravel": "1.0.0" } } },
        { "packagist.org": false }
    ],
    "require": { "quorate/laravel": "^1.0" },
    "replace": {
        "async-aws/core": "$(version php-async-aws-core)",
        "illuminate/contracts": "$framework",
        "illuminate/http": "$framework",
        "illuminate/routing": "$framework",
        "illuminate/support": "$framework",
        "psr/log": "$(version php-psr-log)",
        "symfony/http-client": "$(version php-symfony-http-client)"
    },
    "autoload": { "psr-4": { "App\\\\": "app/" } }
}
JSON
cd "$app"
COMPOSER_ALLOW_SUPERUSER=1 COMPOSER_HOME="$app/.composer" composer install --quiet --no-interaction --no-progress
php artisan package:discover
