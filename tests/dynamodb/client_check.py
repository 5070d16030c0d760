"""What the tests rest on, asked of the stand-in for DynamoDB with AWS's own client (boto3)."""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

url, key = sys.argv[1:]
config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=10)


def client(region):
    return boto3.client("dynamodb", region_name=region, endpoint_url=url, config=config,
                        aws_access_key_id=key, aws_secret_access_key=key)


def check(what, good):
    print(f"{'ok  ' if good else 'FAIL'} boto3 {boto3.__version__}: {what}")
    if not good:
        sys.exit(1)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"] == code
    return False


paris, virginia = client("eu-west-3"), client("us-east-1")
paris.create_table(
    TableName="checked", BillingMode="PAY_PER_REQUEST",
    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
)
check("a table of one region is not there in another",
      refused("ResourceNotFoundException", virginia.describe_table, TableName="checked"))
paris.update_table(TableName="checked", ReplicaUpdates=[{"Create": {"RegionName": "us-east-1"}}])
seen = virginia.describe_table(TableName="checked")["Table"]
check("the new region describes its replica, and names the other one",
      seen["TableStatus"] == "ACTIVE" and [r["RegionName"] for r in seen["Replicas"]] == ["eu-west-3"])

item = {"pk": {"S": "beat"}, "quorate_term": {"N": "7"}, "quorate_at": {"N": "100"}}
paris.put_item(TableName="checked", Item=item)
found = virginia.get_item(TableName="checked", Key={"pk": {"S": "beat"}}, ConsistentRead=True)
check("an item written in one region is read in the other", found.get("Item") == item)

condition = ("attribute_not_exists(quorate_term) OR quorate_term < :term "
             "OR (quorate_term = :term AND quorate_at < :at)")


def put(term, at):
    values = {":term": {"N": str(term)}, ":at": {"N": str(at)}}
    late = {"pk": {"S": "beat"}, "quorate_term": values[":term"], "quorate_at": values[":at"]}
    paris.put_item(TableName="checked", Item=late, ConditionExpression=condition, ExpressionAttributeValues=values)


put(7, 101)
put(8, 5)
check("a heartbeat of an earlier term is refused",
      refused("ConditionalCheckFailedException", put, term=7, at=200))
check("an earlier heartbeat of the same term is refused",
      refused("ConditionalCheckFailedException", put, term=8, at=4))
found = virginia.get_item(TableName="checked", Key={"pk": {"S": "beat"}}, ConsistentRead=True)
check("the last one stands in both regions", found["Item"]["quorate_at"] == {"N": "5"})
print("every check passed")
