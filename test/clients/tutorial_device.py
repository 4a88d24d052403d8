"""The device of the tutorial: AWS's shadow sample with boto3, written anew after its description.

It gets the shadow on start and acts on each delta of one property, which names an S3 object and its SHA-256: it trades
its certificate for temporary credentials, downloads the object, compares the hash, and writes the value to both
`reported` and `desired`. All of it happens in the callback of the message, as in the sample.

--port, --path and the flags of S3 are there for endpoints that are not AWS's.
"""

import argparse
import hashlib
import json
import ssl
import sys
import threading
import urllib.request

import boto3
from awscrt import mqtt
from awsiot import iotshadow, mqtt_connection_builder

parser = argparse.ArgumentParser()
parser.add_argument("--endpoint", required=True)
parser.add_argument("--port", type=int, default=8883)
parser.add_argument("--cert", required=True)
parser.add_argument("--key", required=True)
parser.add_argument("--ca_file", required=True)
parser.add_argument("--client_id", required=True)
parser.add_argument("--thing_name", required=True)
parser.add_argument("--shadow_property", required=True)
parser.add_argument("--credential_endpoint", required=True)
parser.add_argument("--path", default="/tmp/tmpfile")
parser.add_argument("--s3_endpoint")
parser.add_argument("--s3_region", default="us-east-1")
parser.add_argument("--s3_ca")
args = parser.parse_args()


def say(text):
    print(text, flush=True)


class Device:
    def __init__(self, client):
        self.client = client
        self.lock = threading.Lock()
        # A delta has only those members of the value that differ.
        self.value = {}

    def on_get_accepted(self, response):
        state = response.state
        if state is None or not state.desired or args.shadow_property not in state.desired:
            say("nothing is desired yet")
        elif state.delta and args.shadow_property in state.delta:
            self.change(state.desired[args.shadow_property])
        else:
            self.value = state.desired[args.shadow_property]

    def on_get_rejected(self, error):
        if error.code != 404:
            sys.exit(f"get was rejected: {error.code} {error.message}")
        say("the thing has no shadow yet")

    def on_delta(self, delta):
        if delta.state and args.shadow_property in delta.state:
            say(f"delta of version {delta.version} at {delta.timestamp.isoformat()}")
            self.change(delta.state[args.shadow_property])

    def on_update_accepted(self, response):
        if response.state.reported and args.shadow_property in response.state.reported:
            say(f"reported {response.state.reported[args.shadow_property]['hash']}")

    def on_update_rejected(self, error):
        say(f"update was rejected: {error.code} {error.message}")

    def change(self, changes):
        with self.lock:
            value = {**self.value, **changes}
            if value == self.value:
                return
            download(value["url"])
            actual = sha256_of(args.path)
            if actual != value["hash"]:
                say(f"wrong hash: {actual}")
                return
            self.value = value
        section = {args.shadow_property: value}
        self.client.publish_update_shadow(
            iotshadow.UpdateShadowRequest(
                thing_name=args.thing_name,
                state=iotshadow.ShadowState(reported=section, desired=section),
            ),
            mqtt.QoS.AT_LEAST_ONCE,
        )


def credentials():
    context = ssl.create_default_context(cafile=args.ca_file)
    context.load_cert_chain(args.cert, args.key)
    headers = {"x-amzn-iot-thingname": args.thing_name}
    request = urllib.request.Request(f"https://{args.credential_endpoint}", headers=headers)
    with urllib.request.urlopen(request, context=context) as response:
        return json.load(response)["credentials"]


def download(url):
    keys = credentials()
    s3 = boto3.client(
        "s3",
        aws_access_key_id=keys["accessKeyId"],
        aws_secret_access_key=keys["secretAccessKey"],
        aws_session_token=keys["sessionToken"],
        region_name=args.s3_region,
        endpoint_url=args.s3_endpoint,
        verify=args.s3_ca,
    )
    bucket, key = url.removeprefix("s3://").split("/", 1)
    s3.download_file(bucket, key, args.path)


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


connection = mqtt_connection_builder.mtls_from_path(
    endpoint=args.endpoint,
    port=args.port,
    cert_filepath=args.cert,
    pri_key_filepath=args.key,
    ca_filepath=args.ca_file,
    client_id=args.client_id,
    clean_session=False,
    keep_alive_secs=30,
)
connection.connect().result()
client = iotshadow.IotShadowClient(connection)
device = Device(client)
thing = {"thing_name": args.thing_name}
once = mqtt.QoS.AT_LEAST_ONCE
for subscribe, request, callback in [
    (client.subscribe_to_update_shadow_accepted, iotshadow.UpdateShadowSubscriptionRequest, device.on_update_accepted),
    (client.subscribe_to_update_shadow_rejected, iotshadow.UpdateShadowSubscriptionRequest, device.on_update_rejected),
    (client.subscribe_to_get_shadow_accepted, iotshadow.GetShadowSubscriptionRequest, device.on_get_accepted),
    (client.subscribe_to_get_shadow_rejected, iotshadow.GetShadowSubscriptionRequest, device.on_get_rejected),
    (
        client.subscribe_to_shadow_delta_updated_events,
        iotshadow.ShadowDeltaUpdatedSubscriptionRequest,
        device.on_delta,
    ),
]:
    subscribe(request(**thing), once, callback)[0].result()
client.publish_get_shadow(iotshadow.GetShadowRequest(**thing), once).result()

sys.stdin.read()
connection.disconnect().result()
