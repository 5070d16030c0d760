#!/usr/bin/env python3
"""An example of an endpoint for `type = "webhook"`: checks the signature, then does what exec-example.py does.

usage: webhook-example.py PORT FILE, with the shared secret in the environment variable QUORATE_SECRET

It listens on loopback: let a web server of yours end the TLS before it.
"""

import hashlib
import hmac
import http.server
import importlib.util
import json
import os
import pathlib
import sys
import time

place = pathlib.Path(__file__).with_name("exec-example.py")
spec = importlib.util.spec_from_file_location("exec_example", place)
store = importlib.util.module_from_spec(spec)
spec.loader.exec_module(store)


def is_genuine(secret, header, body):
    try:
        parts = dict(part.split("=", 1) for part in header.split(","))
        signed = parts["t"].encode() + b"." + body
        wanted = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        fresh = abs(time.time() - int(parts["t"])) < 300
        return fresh and hmac.compare_digest(wanted, parts["v1"])
    except (KeyError, ValueError):
        return False


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not is_genuine(os.environ["QUORATE_SECRET"], self.headers.get("Quorate-Signature", ""), body):
            return self.answer(401, {"error": "the signature is wrong or old"})
        answer = store.change(sys.argv[2], json.loads(body))
        if answer is None:
            return self.answer(409, {"error": "what stands is not what was expected"})
        return self.answer(200, answer)

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Endpoint)
    print(server.server_address[1], flush=True)
    server.serve_forever()
