"""The tutorial's way to get an object: boto3's download_file, then hashlib over the file, here with a sync."""

import hashlib
import os
import sys

import boto3
from boto3.s3.transfer import TransferConfig

origin, bucket, key, path, sha256, connections = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=origin)
s3.download_file(bucket, key, path, Config=TransferConfig(max_concurrency=int(connections)))
with open(path, "rb") as file:
    actual = hashlib.sha256()
    # In pieces: the tutorial reads the whole file into memory.
    while piece := file.read(1 << 20):
        actual.update(piece)
    os.fsync(file.fileno())
if actual.hexdigest() != sha256:
    sys.exit(f"wrong hash: {actual.hexdigest()}")
