#!/usr/bin/env python3
"""Holds the fake of OVH's API against python-ovh, OVH's own client.

usage: ovh_client_check.py BASE_URL ZONE APPLICATION_KEY APPLICATION_SECRET CONSUMER_KEY CLIENT_ID CLIENT_SECRET

Only what python-ovh itself accepts and raises is checked, so that the fake is right by a judge that is not ours.
"""

import os
import sys

import ovh
from ovh import client as ovh_client


def expect(error, call):
    """Calls, wants exactly this exception, and returns it."""
    try:
        result = call()
    except error as caught:
        return caught
    raise AssertionError(f"{error.__name__} expected, got {result!r}")


def main(url, zone, key, secret, consumer, client_id, client_secret):
    ovh_client.ENDPOINTS["fake"] = url

    def connect(key=key, secret=secret, consumer=consumer):
        return ovh.Client(endpoint="fake", application_key=key, application_secret=secret, consumer_key=consumer)

    client = connect()
    base = f"/domain/zone/{zone}"
    assert zone in client.get("/domain/zone")
    assert abs(client.time_delta) < 5, client.time_delta

    # Create, list, read; a TTL below 60 is raised in silence, 0 stays the default.
    created = client.post(f"{base}/record", fieldType="A", subDomain="py", target="192.0.2.1", ttl=30)
    assert created["ttl"] == 60 and created["zone"] == zone, created
    number = created["id"]
    assert client.get(f"{base}/record", fieldType="A", subDomain="py") == [number]
    assert client.get(f"{base}/record", fieldType="AAAA", subDomain="py") == []
    assert number in client.get(f"{base}/record")
    assert client.get(f"{base}/record/{number}") == created
    text = client.post(f"{base}/record", fieldType="TXT", subDomain="py", target='"a b"', ttl=0)
    assert text["ttl"] == 0, text

    # Update and publish: only the refresh moves the serial.
    serial = client.get(f"{base}/soa")["serial"]
    assert client.put(f"{base}/record/{number}", target="192.0.2.2", ttl=120) is None
    assert client.get(f"{base}/record/{number}")["target"] == "192.0.2.2"
    assert client.get(f"{base}/soa")["serial"] == serial
    assert client.post(f"{base}/refresh") is None
    assert client.get(f"{base}/soa")["serial"] == serial + 1
    status = client.get(f"{base}/status")
    assert status == {"isDeployed": True, "errors": [], "warnings": []}, status

    # Delete.
    for gone in (number, text["id"]):
        assert client.delete(f"{base}/record/{gone}") is None
    expect(ovh.exceptions.ResourceNotFoundError, lambda: client.get(f"{base}/record/{number}"))
    expect(ovh.exceptions.ResourceNotFoundError, lambda: client.get("/domain/zone/example.invalid/record"))
    client.post(f"{base}/refresh")

    # What is not right is refused, in the words that OVH uses.
    wrong = expect(ovh.exceptions.BadParametersError, lambda: connect(secret="wrong").get(f"{base}/soa"))
    assert wrong.response.json()["errorCode"] == "INVALID_SIGNATURE", wrong
    assert wrong.query_id, wrong
    expect(ovh.exceptions.InvalidKey, lambda: connect(key="wrong").get(f"{base}/soa"))
    expect(ovh.exceptions.NotCredential, lambda: connect(consumer="wrong").get(f"{base}/soa"))
    expect(ovh.exceptions.BadParametersError, lambda: client.post(f"{base}/record", fieldType="A", target=7))
    alias = client.post(f"{base}/record", fieldType="CNAME", subDomain="py", target="eu.example.net.")
    expect(
        ovh.exceptions.ResourceConflictError,
        lambda: client.post(f"{base}/record", fieldType="A", subDomain="py", target="192.0.2.1"),
    )
    client.delete(f"{base}/record/{alias['id']}")
    late = connect()
    late._time_delta = -3600
    skewed = expect(ovh.exceptions.BadParametersError, lambda: late.get(f"{base}/soa"))
    assert skewed.response.json()["errorCode"] == "QUERY_TIME_OUT", skewed

    # A service account: a token for its id and secret, another when the first is good no more.
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    ovh_client.OAUTH2_TOKEN_URLS["fake"] = f"{url}/auth/oauth2/token"
    account = ovh.Client(endpoint="fake", client_id=client_id, client_secret=client_secret)
    assert account.get(f"{base}/soa")["serial"] > serial
    stranger = ovh.Client(endpoint="fake", client_id=client_id, client_secret="wrong")
    expect(ovh.exceptions.OAuth2FailureError, lambda: stranger.get(f"{base}/soa"))
    print("python-ovh: every check passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
