"""boto3, driven by JSON lines: {"service": "s3", "call": "get_object", "arguments": {...}} on stdin, an answer each.

A body is answered as its SHA-256 and size, and as text where it is short.
"""

import hashlib
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

clients = {}


def client_of(service):
    if service not in clients:
        # Version 4 is the default but for URLs that are signed in us-east-1.
        clients[service] = boto3.client(service, config=Config(signature_version="v4" if service != "s3" else "s3v4"))
    return clients[service]


def plain(value):
    if isinstance(value, StreamingBody):
        data = value.read()
        answer = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        return {**answer, "text": data.decode()} if len(data) < 1000 else answer
    return str(value)


def answer_to(order):
    try:
        method = getattr(client_of(order["service"]), order["call"])
        return {"answer": method(**order["arguments"])}
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return {"error": {**error.response["Error"], "status": status}}


for line in sys.stdin:
    print(json.dumps(answer_to(json.loads(line)), default=plain), flush=True)
