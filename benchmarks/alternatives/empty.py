"""The floor: Python, the runtime client, and nothing else."""


def handler(event, context):
    return {"statusCode": 200, "body": "{}"}
