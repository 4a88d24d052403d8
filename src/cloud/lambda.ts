/** What AWS Lambda calls: `publish` for S3, `write` for the queue. Set up by the environment, see template.yaml. */
import { IoTClient } from '@aws-sdk/client-iot';
import { IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';
import type { JsonValue } from '../core/json.ts';
import { createPublisher } from './publisher.ts';
import { type BatchResponse, createWriter } from './writer.ts';

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`The environment variable ${name} is not set`);
  return value;
}

function numberIn(name: string): number {
  const number = Number(required(name));
  if (number > 0 && Number.isFinite(number)) return number;
  throw new Error(`The environment variable ${name} is no number above 0`);
}

function log(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Made at the first event and kept: its connections serve the next ones. */
function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** Throttling is the everyday error here; five tries outlast a burst. */
const retry = { maxAttempts: 5 };

const publisher = once(() => {
  const { SHADOW_NAME: shadowName, QUEUE_URL: queueUrl } = process.env;
  const settings = {
    ...{ target: required('TARGET'), property: required('PROPERTY') },
    ...(shadowName ? { shadowName } : {}),
    ...(queueUrl ? { queueUrl } : {}),
  };
  const clients = {
    // The body is hashed here; checking another checksum over it would only cost time.
    s3: new S3Client({ ...retry, responseChecksumValidation: 'WHEN_REQUIRED' }),
    shadows: new IoTDataPlaneClient(retry),
    iot: new IoTClient(retry),
    sqs: new SQSClient(retry),
  };
  return createPublisher(settings, clients, log);
});

const writer = once(() => {
  const settings = { requestsPerSecond: numberIn('REQUESTS_PER_SECOND'), queueUrl: required('QUEUE_URL') };
  const clients = { shadows: new IoTDataPlaneClient(retry), sqs: new SQSClient(retry) };
  return createWriter(settings, clients, log);
});

export async function publish(event: JsonValue): Promise<void> {
  await publisher()(event);
}

export async function write(event: JsonValue): Promise<BatchResponse> {
  return await writer()(event);
}
