#!/usr/bin/env python3
"""Holds the fake of OVH's API against python-ovh, OVH's own client.

usage: ovh_client_check.py BASE_URL ZONE APPLICATION_KEY APPLICATION_SECRET CONSUMER_KEY CLIENT_ID CLIENT_SECRET BALANCER

Only what python-ovh itself accepts and raises is checked, so that the fake is right by a judge that is not ours.
"""

import os
import sys
import time

import ovh
from ovh import client as ovh_client


def expect(error, call):
    """Calls, wants exactly this exception, and returns it."""
    try:
        result = call()
    except error as caught:
        return caught
    raise AssertionError(f"{error.__name__} expected, got {result!r}")


def await_no_task(client, base):
    """Waits as OVH's Terraform provider does before it refreshes: until no refresh is to be done or being done."""
    deadline = time.monotonic() + 60
    while any(client.get(f"{base}/task", action="refreshIplb", status=status) for status in ("todo", "doing")):
        assert time.monotonic() < deadline, "the tasks have no end"
        time.sleep(0.05)


def check_balancer(client, balancer):
    """Farm http-7 with servers 811 (web-a, active) and 812 (web-b), udp-9 with 911: switched, published, followed."""
    base = f"/ipLoadbalancing/{balancer}"
    assert balancer in client.get("/ipLoadbalancing")
    assert client.get(base)["serviceName"] == balancer
    farm, server = f"{base}/http/farm/7", f"{base}/http/farm/7/server"
    assert client.get(f"{base}/http/farm") == [7] and client.get(f"{base}/tcp/farm") == []
    found = client.get(farm)
    assert found["farmId"] == 7 and found["displayName"] == "web" and found["zone"] == "gra", found
    assert client.get(server) == [811, 812]
    first = client.get(f"{server}/811")
    assert (first["serverId"], first["backendId"], first["status"], first["weight"]) == (811, 7, "active", 1), first

    # Edits are staged and counted; a refresh makes a task of them, and a second one has to wait.
    assert client.get(f"{base}/pendingChanges") == []
    assert client.put(f"{server}/812", status="active", weight=5) is None
    assert client.put(farm, displayName="web 2") is None
    second = client.get(f"{server}/812")
    assert (second["status"], second["weight"], second["displayName"]) == ("active", 5, "web-b"), second
    assert client.get(f"{base}/pendingChanges") == [{"number": 2, "zone": "gra"}]
    task = client.post(f"{base}/refresh")
    assert task["action"] == "refreshIplb" and task["status"] == "todo", task
    assert client.get(f"{base}/pendingChanges") == []
    expect(ovh.exceptions.ResourceConflictError, lambda: client.post(f"{base}/refresh"))
    await_no_task(client, base)
    assert client.get(f"{base}/task/{task['id']}")["status"] == "done"
    assert client.get(f"{base}/task", action="refreshIplb") == [task["id"]]
    assert client.get(f"{base}/task", action="installIplb") == []

    # What is not right is refused.
    expect(ovh.exceptions.BadParametersError, lambda: client.put(f"{server}/812", status="asleep"))
    expect(ovh.exceptions.BadParametersError, lambda: client.put(f"{server}/812", weight="much"))
    for nowhere in (f"{server}/813", f"{base}/http/farm/8", f"{base}/tcp/farm/7", f"{base}/task/1"):
        expect(ovh.exceptions.ResourceNotFoundError, lambda: client.get(nowhere))
    expect(ovh.exceptions.ResourceNotFoundError, lambda: client.get("/ipLoadbalancing/ip-192.0.2.99/pendingChanges"))

    # Servers of UDP farms have no weight.
    udp = f"{base}/udp/farm/9/server/911"
    assert "weight" not in client.get(udp)
    assert client.put(udp, status="inactive") is None
    expect(ovh.exceptions.BadParametersError, lambda: client.put(udp, status="active", weight=1))
    client.post(f"{base}/refresh")
    await_no_task(client, base)
    print("python-ovh: load balancer: listed, switched, counted, refreshed, followed, refused")


def main(url, zone, key, secret, consumer, client_id, client_secret, balancer):
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
    print("python-ovh: zone: created, listed, changed, published, deleted")

    check_balancer(client, balancer)

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
    assert account.get(f"/ipLoadbalancing/{balancer}/pendingChanges") == []
    stranger = ovh.Client(endpoint="fake", client_id=client_id, client_secret="wrong")
    expect(ovh.exceptions.OAuth2FailureError, lambda: stranger.get(f"{base}/soa"))
    print("python-ovh: every check passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
