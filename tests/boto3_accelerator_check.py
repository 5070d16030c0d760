"""Holds the fake Global Accelerator against boto3, AWS's own client, before anything of ours is tested against it.

Every answer is held to botocore's model of the API as well: no field is unknown, none has another type.

usage: boto3_accelerator_check.py URL KEY ACCELERATOR LISTENER
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

url, key, accelerator_id, listener_id = sys.argv[1:]
client = boto3.client(
    "globalaccelerator", endpoint_url=url, region_name="us-west-2", aws_access_key_id=key,
    aws_secret_access_key="secret", config=Config(retries={"max_attempts": 0}),
)
checks = answers = 0


def check(what, true):
    global checks
    assert true, what
    checks += 1
    print(f"boto3: {what}")


def hold_to_the_model(response_dict, operation_model, **_):
    global answers
    body = response_dict["body"]
    if response_dict["status_code"] != 200 or not body:
        return
    report = ParamValidator().validate(json.loads(body), operation_model.output_shape)
    assert not report.has_errors(), f"{operation_model.name}: {report.generate_report()}"
    answers += 1


def refused(call, **of):
    try:
        call(**of)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def dials():
    return {g["EndpointGroupRegion"]: g["TrafficDialPercentage"] for g in groups()}


def groups():
    pages = client.get_paginator("list_endpoint_groups").paginate(ListenerArn=listener)
    return [group for page in pages for group in page["EndpointGroups"]]


def status():
    return client.describe_accelerator(AcceleratorArn=arn)["Accelerator"]["Status"]


def tags():
    return {t["Key"]: t["Value"] for t in client.list_tags_for_resource(ResourceArn=arn)["Tags"]}


client.meta.events.register("before-parse.global-accelerator", hold_to_the_model)
first = client.list_accelerators(MaxResults=100)
check("a page is not all of it", "NextToken" in first)
pages = client.get_paginator("list_accelerators").paginate()
arns = [a["AcceleratorArn"] for page in pages for a in page["Accelerators"]]
check(f"all pages name {len(arns)} accelerators, each once", len(arns) == len(set(arns)) > len(first["Accelerators"]))
arn = next(a for a in arns if a.endswith(":accelerator/" + accelerator_id))
listener = f"{arn}/listener/{listener_id}"
check("it begins DEPLOYED", status() == "DEPLOYED")
before = groups()
check(f"three groups over two pages: {dials()}", sorted(dials().values()) == [0.0, 0.0, 100.0])
shut = next(g for g in before if g["TrafficDialPercentage"] == 0)
changed = client.update_endpoint_group(EndpointGroupArn=shut["EndpointGroupArn"], TrafficDialPercentage=37.5)["EndpointGroup"]
check("a dial is turned and answered", changed == {**shut, "TrafficDialPercentage": 37.5})
check("nothing else of any group changes", groups() == [changed if g == shut else g for g in before])
states = [status() for _ in range(3)]
check(f"an update is under way and ends ({' '.join(states)})", states[0] == "IN_PROGRESS" and states[-1] == "DEPLOYED")
client.update_endpoint_group(EndpointGroupArn=shut["EndpointGroupArn"], TrafficDialPercentage=0)
client.tag_resource(ResourceArn=arn, Tags=[{"Key": "quorate:" + listener_id, "Value": "v=1 cluster=prod epoch=7"}])
check(f"an accelerator has tags: {tags()}", tags().get("quorate:" + listener_id) == "v=1 cluster=prod epoch=7")
client.tag_resource(ResourceArn=arn, Tags=[{"Key": "quorate:" + listener_id, "Value": "v=1 cluster=prod epoch=8"}])
check("a tag is written over, others stay", tags() == {"team": "web", "quorate:" + listener_id: "v=1 cluster=prod epoch=8"})
check("a listener has none", refused(client.tag_resource, ResourceArn=listener, Tags=[{"Key": "a", "Value": "b"}])
      == "AcceleratorNotFoundException")
check("an accelerator that is not there", refused(client.describe_accelerator, AcceleratorArn=arn + "0")
      == "AcceleratorNotFoundException")
check("a listener that is not there", refused(client.list_endpoint_groups, ListenerArn=listener + "0")
      == "ListenerNotFoundException")
check("a group that is not there", refused(client.update_endpoint_group, EndpointGroupArn=listener + "/endpoint-group/0")
      == "EndpointGroupNotFoundException")
check("a dial above 100", refused(client.update_endpoint_group, EndpointGroupArn=shut["EndpointGroupArn"],
                                  TrafficDialPercentage=100.5) == "InvalidArgumentException")
elsewhere = boto3.client("globalaccelerator", endpoint_url=url, region_name="eu-west-3", aws_access_key_id=key,
                         aws_secret_access_key="secret", config=Config(retries={"max_attempts": 0}))
check("another region's signature", refused(elsewhere.list_accelerators) == "InvalidSignatureException")
check(f"{answers} answers are as AWS' model has them", answers > 15)
print(f"boto3: every check passed ({checks})")
