<?php

// Stands for DynamoDB where it fails: answers every request in the way that the file named first says now, and appends what it
// was asked to the second, one JSON object a line.   php dynamodb.php PORT MODE-FILE REQUESTS-FILE
//
// Modes: ok, slow MS, hang, trickle, error STATUS TYPE, body TEXT, and `fail N TYPE`: N errors, then ok.

declare(strict_types=1);

[, $port, $modeFile, $requestsFile] = $argv;
$server = stream_socket_server("tcp://127.0.0.1:$port") ?: exit(1);
$open = [];
$failed = 0;

/** @return array{0: string, 1: string} head and body */
function request($stream): array
{
    $text = '';
    while (! str_contains($text, "\r\n\r\n")) {
        $text .= $read = (string) fread($stream, 8192);
        if ($read === '') {
            return ['', ''];
        }
    }
    [$head, $body] = explode("\r\n\r\n", $text, 2);
    $length = preg_match('/^content-length: (\d+)/mi', $head, $found) ? (int) $found[1] : 0;
    while (strlen($body) < $length) {
        $body .= fread($stream, 8192);
    }

    return [$head, $body];
}

function respond($stream, int $status, string $body): void
{
    $type = 'Content-Type: application/x-amz-json-1.0';
    @fwrite($stream, "HTTP/1.1 $status X\r\n$type\r\nConnection: close\r\nContent-Length: ".strlen($body)."\r\n\r\n$body");
    fclose($stream);
}

while (true) {
    $ready = [$server, ...array_column($open, 'stream')];
    $none = null;
    if (stream_select($ready, $none, $none, 0, 100_000) > 0 && in_array($server, $ready, true)) {
        $stream = stream_socket_accept($server);
        [$head, $body] = request($stream);
        if ($head === '') {
            fclose($stream);

            continue;
        }
        preg_match('/^authorization: (.*)$/mi', $head, $authorization);
        preg_match('/^x-amz-target: (.*)$/mi', $head, $target);
        $line = ['target' => trim($target[1] ?? ''), 'authorization' => trim($authorization[1] ?? ''), 'body' => json_decode($body, true)];
        file_put_contents($requestsFile, json_encode($line)."\n", FILE_APPEND);
        $mode = explode(' ', trim(file_get_contents($modeFile)), 3);
        $error = static fn (string $type): string => json_encode([
            '__type' => "com.amazonaws.dynamodb.v20120810#$type",
            'message' => 'arn:aws:dynamodb:eu-west-3:123456789012:table/orders is not for you',
        ]);
        switch ($mode[0]) {
            case 'ok': respond($stream, 200, '{}'); break;
            case 'slow': usleep((int) $mode[1] * 1000); respond($stream, 200, '{}'); break;
            case 'error': respond($stream, (int) $mode[1], $error($mode[2])); break;
            case 'body': respond($stream, 200, implode(' ', array_slice($mode, 1))); break;
            case 'fail': $failed++ < (int) $mode[1] ? respond($stream, 500, $error($mode[2])) : respond($stream, 200, '{}'); break;
            case 'trickle': fwrite($stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
                // no break: it is kept open as well
            case 'hang': $open[] = ['stream' => $stream, 'trickles' => $mode[0] === 'trickle'];
        }
    }
    foreach ($open as $i => ['stream' => $stream, 'trickles' => $trickles]) {
        if ($trickles && @fwrite($stream, ' ') === false) {
            fclose($stream);
            unset($open[$i]);
        }
    }
}
