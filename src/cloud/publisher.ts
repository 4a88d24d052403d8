/** The Lambda that S3 calls: finds out what was uploaded and writes it into the shadows of those whom it is for. */
import type { IoTClient } from '@aws-sdk/client-iot';
import type { IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';
import type { S3Client } from '@aws-sdk/client-s3';
import type { SQSClient } from '@aws-sdk/client-sqs';
import type { JsonValue } from '../core/json.ts';
import { type Upload, uploadsOf } from './events.ts';
import { queueGroup } from './group.ts';
import { type Log, singleLines } from './log.ts';
import { inspect } from './object.ts';
import { releaseOf } from './release.ts';
import { publishTo } from './shadow.ts';
import { targetOf } from './target.ts';

export interface PublisherSettings {
  /** `things/NAME`, `groups/NAME` or `key`; see `targetOf`. */
  target: string;
  /** Property of the shadow. */
  property: string;
  /** The classic shadow without it. */
  shadowName?: string;
  /** Of the queue to the writer; only for groups. */
  queueUrl?: string;
}

export interface PublisherClients {
  s3: S3Client;
  shadows: IoTDataPlaneClient;
  iot: IoTClient;
  sqs: SQSClient;
}

/**
 * Makes the handler. It throws when any upload of the event could not be published, so that Lambda tries the event
 * again: what was written already is left as it is then. Neither an upload nor a record that is malformed holds up
 * the others.
 */
export function createPublisher(
  settings: PublisherSettings,
  clients: PublisherClients,
  rawLog: Log,
): (event: JsonValue) => Promise<void> {
  const log = singleLines(rawLog);
  return async (event) => {
    const failures: unknown[] = [];
    const failed = (name: string, error: unknown) => {
      log(`${name}: failed: ${String(error)}`);
      failures.push(error);
    };
    for (const upload of uploadsOf(event, (error) => failed('a record of the event', error))) {
      const name = `s3://${upload.bucket}/${upload.key}`;
      try {
        log(`${name}: ${await publish(settings, clients, upload)}`);
      } catch (error) {
        failed(name, error);
      }
    }
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, `${failures.length} uploads failed`);
  };
}

/** @returns what came of it, for the log */
async function publish(
  { target: rule, property, shadowName, queueUrl }: PublisherSettings,
  clients: PublisherClients,
  upload: Upload,
): Promise<string> {
  const target = targetOf(rule, upload.key);
  if (target === undefined) return 'the key names no thing and no group';
  const object = await inspect(clients.s3, upload);
  // What is desired stays desired, whoever deletes objects; a newer upload has its own event.
  if (object === undefined) return 'the object is gone';
  // S3's console makes folders of them; a device would put an empty file in the place of its own.
  if (object.size === 0 && upload.key.endsWith('/')) return 'a folder, which is no file';
  const publication = {
    property,
    ...(shadowName === undefined ? {} : { shadowName }),
    release: releaseOf(upload, object),
  };
  if (target.kind === 'thing') {
    return `thing ${target.name} ${await publishTo(clients.shadows, target.name, publication)}`;
  }
  if (queueUrl === undefined) throw new Error(`There is no queue for the group ${target.name}`);
  const count = await queueGroup(clients, queueUrl, target.name, publication);
  return `${count} things of the group ${target.name} queued`;
}
