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

    # What is not right is refused, in the words that Cloudflare uses.
    wrong = Cloudflare(api_token="wrong", base_url=url, max_retries=0)
    expect(cloudflare.AuthenticationError, 1000, lambda: wrong.zones.list())
    expect(cloudflare.NotFoundError, 7003, lambda: records.list(zone_id="1" * 32))
    expect(cloudflare.NotFoundError, 81044, lambda: records.get("1" * 32, zone_id=zone_id))
    print(f"cloudflare-python {cloudflare.__version__}: every check passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
