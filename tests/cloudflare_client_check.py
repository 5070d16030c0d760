#!/usr/bin/env python3
"""Holds the fake of Cloudflare's API against cloudflare-python, Cloudflare's own client.

usage: cloudflare_client_check.py BASE_URL ZONE TOKEN

Only what cloudflare-python itself accepts and raises is checked, so that the fake is right by a judge that is not ours.
"""

import sys

import cloudflare
from cloudflare import Cloudflare


def expect(error, code, call):
    """Calls, and wants exactly this exception with this code."""
    try:
        result = call()
    except error as caught:
        assert [line["code"] for line in caught.body["errors"]] == [code], caught.body
        return
    raise AssertionError(f"{error.__name__} expected, got {result!r}")


def main(url, zone, token):
    client = Cloudflare(api_token=token, base_url=url, max_retries=0)
    found = list(client.zones.list(name=zone))
    assert [z.name for z in found] == [zone], found
    zone_id = found[0].id
    assert list(client.zones.list(name="example.invalid")) == []
    assert client.user.tokens.verify().status == "active"
    records = client.dns.records

    def listed(name, rtype):
        return [r.content for r in records.list(zone_id=zone_id, name={"exact": name}, type=rtype)]

    # Create, list, read, edit, delete.
    name = f"py.{zone}"
    made = records.create(zone_id=zone_id, name=name, type="A", content="192.0.2.1", ttl=60, comment="hi")
    assert made.id and made.ttl == 60 and made.comment == "hi" and made.proxied is False, made
    assert listed(name, "A") == ["192.0.2.1"] and listed(name, "AAAA") == []
    edited = records.edit(made.id, zone_id=zone_id, name=name, type="A", content="192.0.2.2", ttl=60)
    assert edited.id == made.id and edited.comment == "hi", edited
    assert records.get(made.id, zone_id=zone_id).content == "192.0.2.2"
    print("zones, records: list, create, edit, get")

    # A batch is one transaction, in its order, and patches keep what they do not name.
    done = records.batch(
        zone_id=zone_id,
        patches=[{"id": made.id, "name": name, "type": "A", "content": "192.0.2.3", "ttl": 120}],
        posts=[{"name": f"_quorate.{name}", "type": "TXT", "content": '"v=1"', "ttl": 60}],
    )
    fence = done.posts[0].id
    assert done.patches[0].id == made.id and done.patches[0].comment == "hi", done
    stale = dict(
        zone_id=zone_id,
        deletes=[{"id": fence}, {"id": "0" * 32}],
        posts=[{"name": name, "type": "A", "content": "192.0.2.4", "ttl": 60}],
    )
    expect(cloudflare.NotFoundError, 81044, lambda: records.batch(**stale))
    assert listed(name, "A") == ["192.0.2.3"] and listed(f"_quorate.{name}", "TXT") == ['"v=1"']
    again = [{"name": name, "type": "A", "content": "192.0.2.3", "ttl": 60}]
    expect(cloudflare.BadRequestError, 81058, lambda: records.batch(zone_id=zone_id, posts=again))
    swap = [{"name": f"_quorate.{name}", "type": "TXT", "content": '"v=1"', "ttl": 60}]
    done = records.batch(zone_id=zone_id, deletes=[{"id": fence}], posts=swap)
    assert done.deletes[0].id == fence and done.posts[0].id != fence, done
    expect(cloudflare.NotFoundError, 81044, lambda: records.batch(zone_id=zone_id, deletes=[{"id": fence}]))
    print("batch: one transaction, refused whole for a stale id, and for an identical record")

    # Proxied records have the automatic TTL; other TTLs have bounds.
    front = records.create(zone_id=zone_id, name=f"front.{zone}", type="A", content="192.0.2.9", proxied=True, ttl=60)
    assert front.proxied and front.ttl == 1, front
    expect(
        cloudflare.BadRequestError,
        9021,
        lambda: records.create(zone_id=zone_id, name=name, type="A", content="192.0.2.7", ttl=30),
    )
    for gone in (made.id, front.id, done.posts[0].id):
        assert records.delete(gone, zone_id=zone_id)
    assert listed(name, "A") == []
    print("TTLs, proxied records, delete")

    balancers(client, zone_id, zone)

    # What is not right is refused, in the words that Cloudflare uses.
    wrong = Cloudflare(api_token="wrong", base_url=url, max_retries=0)
    expect(cloudflare.AuthenticationError, 1000, lambda: wrong.zones.list())
    expect(cloudflare.NotFoundError, 7003, lambda: records.list(zone_id="1" * 32))
    expect(cloudflare.NotFoundError, 81044, lambda: records.get("1" * 32, zone_id=zone_id))
    print(f"cloudflare-python {cloudflare.__version__}: every check passed")


def balancers(client, zone_id, zone):
    """Load balancers of the zone, and the account's pools."""
    account_id = client.zones.get(zone_id=zone_id).account.id
    pools, lbs = client.load_balancers.pools, client.load_balancers
    origin = {"name": "one", "address": "192.0.2.1", "enabled": True}
    eu, us = (pools.create(account_id=account_id, name=f"py-{name}", origins=[origin]) for name in ("eu", "us"))
    assert eu.enabled and eu.origins[0].address == "192.0.2.1" and eu.id != us.id, eu
    names = [pool.name for pool in pools.list(account_id=account_id)]
    assert names == ["py-eu", "py-us"], names
    assert pools.edit(us.id, account_id=account_id, enabled=False).enabled is False
    assert pools.get(us.id, account_id=account_id).enabled is False
    expect(cloudflare.NotFoundError, 1001, lambda: pools.get("1" * 32, account_id=account_id))
    expect(
        cloudflare.BadRequestError, 1002, lambda: pools.create(account_id=account_id, name="a b", origins=[origin])
    )

    name = f"lb.{zone}"
    kept = dict(session_affinity="cookie", steering_policy="off", proxied=True, region_pools={"WNAM": [us.id]})
    lb = lbs.create(
        zone_id=zone_id, name=name, default_pools=[eu.id, us.id], fallback_pool=us.id, description="the shop", **kept
    )
    assert (lb.default_pools, lb.fallback_pool, lb.enabled) == ([eu.id, us.id], us.id, True), lb
    assert [found.name for found in lbs.list(zone_id=zone_id)] == [name]

    # A PATCH changes what it names and keeps the rest; pools have an order.
    edited = lbs.edit(
        lb.id, zone_id=zone_id, default_pools=[us.id, eu.id], fallback_pool=eu.id, description="the shop [x]"
    )
    assert (edited.default_pools, edited.fallback_pool) == ([us.id, eu.id], eu.id), edited
    assert (edited.name, edited.description, edited.proxied) == (name, "the shop [x]", True), edited
    assert (edited.session_affinity, edited.region_pools) == ("cookie", {"WNAM": [us.id]}), edited
    assert edited.modified_on != lb.modified_on, edited
    assert lbs.get(lb.id, zone_id=zone_id) == edited

    # A PUT does not keep it.
    put = lbs.update(lb.id, zone_id=zone_id, name=name, default_pools=[eu.id], fallback_pool=eu.id)
    assert (put.description, put.session_affinity, put.region_pools) == ("", "none", {}), put

    # Pools must be there, at least one; a name is taken once; ids that are none are not found.
    edit = lambda **fields: lbs.edit(lb.id, zone_id=zone_id, **fields)
    expect(cloudflare.BadRequestError, 1002, lambda: edit(default_pools=[]))
    expect(cloudflare.BadRequestError, 1002, lambda: edit(default_pools=["1" * 32]))
    expect(cloudflare.BadRequestError, 1002, lambda: edit(fallback_pool="1" * 32))
    again = dict(zone_id=zone_id, name=name, default_pools=[eu.id], fallback_pool=eu.id)
    expect(cloudflare.BadRequestError, 1003, lambda: lbs.create(**again))
    expect(cloudflare.NotFoundError, 1001, lambda: lbs.edit("1" * 32, zone_id=zone_id, description=""))
    expect(cloudflare.NotFoundError, 1001, lambda: lbs.get("1" * 32, zone_id=zone_id))
    assert lbs.get(lb.id, zone_id=zone_id).default_pools == [eu.id], "what is refused changes nothing"
    expect(cloudflare.APIStatusError, 1005, lambda: pools.delete(eu.id, account_id=account_id))
    assert lbs.delete(lb.id, zone_id=zone_id).id == lb.id
    for pool in (eu, us):
        assert pools.delete(pool.id, account_id=account_id).id == pool.id
    assert list(pools.list(account_id=account_id)) == [] and list(lbs.list(zone_id=zone_id)) == []
    print("load balancers, pools: create, list, PATCH keeps, PUT does not, refusals, delete")


if __name__ == "__main__":
    main(*sys.argv[1:])
