"""Holds ministack's Route 53 against boto3, AWS's own client, before anything of ours is tested against it.

usage: boto3_check.py URL
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

client = boto3.client(
    "route53", endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="test",
    aws_secret_access_key="test", config=Config(retries={"max_attempts": 0}),
)
checks = 0


def check(what, true):
    global checks
    assert true, what
    checks += 1
    print(f"boto3: {what}")


def record_set(value, ttl=60, name="www.example.test.", rtype="A", **more):
    return {"Name": name, "Type": rtype, "TTL": ttl, "ResourceRecords": [{"Value": value}], **more}


def change(*changes):
    batch = {"Changes": [{"Action": action, "ResourceRecordSet": of} for action, of in changes]}
    return client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)["ChangeInfo"]


def refused(*changes):
    try:
        change(*changes)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def sets():
    found = client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return [(s["Name"], s["Type"], s.get("SetIdentifier"), s.get("TTL"), [r["Value"] for r in s.get("ResourceRecords", [])])
            for s in found if s["Type"] not in ("NS", "SOA")]


zone = client.create_hosted_zone(Name="example.test.", CallerReference="boto3")["HostedZone"]["Id"].split("/")[-1]
named = client.list_hosted_zones_by_name(DNSName="example.test")["HostedZones"]
check("a zone is found by its name", [z["Id"].split("/")[-1] for z in named if z["Name"] == "example.test."] == [zone])
info = change(("CREATE", record_set("192.0.2.1")))
check("a change has an id and begins PENDING", info["Id"] and info["Status"] == "PENDING")
states = [client.get_change(Id=info["Id"])["ChangeInfo"]["Status"] for _ in range(3)]
check(f"it becomes INSYNC ({' '.join(states)})", states[-1] == "INSYNC")
before = sets()
check("a second CREATE is refused", refused(("CREATE", record_set("192.0.2.2"))) == "InvalidChangeBatch")
check("a DELETE of other values is refused", refused(("DELETE", record_set("192.0.2.9"))) == "InvalidChangeBatch")
check("a DELETE of another TTL is refused", refused(("DELETE", record_set("192.0.2.1", ttl=61))) == "InvalidChangeBatch")
text = record_set('"v=1"', name="_quorate.www.example.test.", rtype="TXT")
batch = [("DELETE", record_set("192.0.2.1")), ("CREATE", record_set("192.0.2.2")), ("DELETE", text)]
check("a batch of which one part is stale is refused whole", refused(*batch) == "InvalidChangeBatch" and sets() == before)
change(("DELETE", record_set("192.0.2.1")), ("CREATE", record_set("192.0.2.2")), ("CREATE", text))
check("a batch that fits is made whole", [s[4] for s in sets()] in ([['"v=1"'], ["192.0.2.2"]], [["192.0.2.2"], ['"v=1"']]))
change(("DELETE", text), ("CREATE", text))
check("what is deleted and made anew in one batch stands", len(sets()) == 2)
for name, weight in (("main", 9), ("canary", 1)):
    change(("CREATE", record_set("192.0.2.3", name="w.example.test.", SetIdentifier=name, Weight=weight)))
check("weighted sets stand side by side", len([s for s in sets() if s[0] == "w.example.test."]) == 2)
print(f"boto3: every check passed ({checks})")
