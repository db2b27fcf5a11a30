"""What one would write in an afternoon: Stripe's HMAC checked with the standard library, the body put into SQS.

No configuration, identity, envelope, metrics, rotation or second provider.
"""

import base64
import hashlib
import hmac
import json
import os
import time

import boto3

sqs = boto3.client("sqs")
secrets = boto3.client("secretsmanager")
SECRET = None


def secret():
    global SECRET
    if SECRET is None:
        answer = secrets.get_secret_value(SecretId=os.environ["WEBHOOK_SECRETS_ARN"])
        SECRET = json.loads(answer["SecretString"])["stripe"][0].encode()
    return SECRET


def handler(event, context):
    body = event["body"].encode()
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body)
    header = event["headers"]["stripe-signature"]
    fields = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret(), fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    fresh = abs(time.time() - int(fields["t"])) < 300
    if not (fresh and hmac.compare_digest(expected, fields["v1"])):
        return {"statusCode": 401, "body": "bad signature"}
    webhook = json.loads(body)
    sqs.send_message(QueueUrl=os.environ["WEBHOOK_QUEUE_URL"], MessageBody=body.decode())
    return {"statusCode": 200, "body": json.dumps({"id": webhook["id"]})}
