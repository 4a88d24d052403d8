/** The Lambda behind the queue: writes one release into the shadows of many things, at a pace. */
import type { IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { isJsonObject, type JsonValue, member } from '../core/json.ts';
import { paceOf } from './pace.ts';
import { enqueue } from './queue.ts';
import { type Page, parsePage } from './release.ts';
import { publishTo } from './shadow.ts';

export interface WriterSettings {
  /** Requests to the shadow service that this instance makes, at most. */
  requestsPerSecond: number;
  /** Of the queue that it reads. */
  queueUrl: string;
}

export interface WriterClients {
  shadows: IoTDataPlaneClient;
  sqs: SQSClient;
}

/** What Lambda takes for messages that come again (ReportBatchItemFailures); the others are deleted. */
export interface BatchResponse {
  batchItemFailures: Array<{ itemIdentifier: string }>;
}

/** So many requests are under way at once that the pace is held over slow answers. */
const concurrency = 16;

/**
 * Makes the handler of SQS batches. Whatever fails comes again: a page of which nothing was written as it is, and of
 * others the things that failed, each in a page of its own, so that one that always fails ends alone in the
 * dead-letter queue.
 */
export function createWriter(
  settings: WriterSettings,
  clients: WriterClients,
  log: (line: string) => void,
): (event: JsonValue) => Promise<BatchResponse> {
  const pace = paceOf(settings.requestsPerSecond);

  async function write(page: Page): Promise<string[]> {
    const failed: string[] = [];
    const queue = page.things.values();
    const work = async () => {
      for (const thing of queue) {
        try {
          await publishTo(clients.shadows, thing, page, pace);
        } catch (error) {
          log(`thing ${thing}: failed: ${String(error)}`);
          failed.push(thing);
        }
      }
    };
    await Promise.all(Array.from({ length: concurrency }, work));
    return failed;
  }

  async function deliver(body: string): Promise<void> {
    const page = parsePage(body);
    const failed = await write(page);
    log(`${page.release.url}: ${page.things.length - failed.length} of ${page.things.length} things written`);
    if (failed.length === 0) return;
    if (failed.length === page.things.length) throw new Error(`no shadow of ${failed.length} was written`);
    const alone = failed.map((thing) => ({ ...page, things: [thing] }));
    await enqueue(clients.sqs, settings.queueUrl, alone);
  }

  return async (event) => {
    const batchItemFailures: BatchResponse['batchItemFailures'] = [];
    for (const { messageId, body } of messagesOf(event)) {
      try {
        await deliver(body);
      } catch (error) {
        log(`message ${messageId}: comes again: ${String(error)}`);
        batchItemFailures.push({ itemIdentifier: messageId });
      }
    }
    return { batchItemFailures };
  };
}

function messagesOf(event: JsonValue): Array<{ messageId: string; body: string }> {
  const records = isJsonObject(event) ? member(event, 'Records') : undefined;
  if (!Array.isArray(records)) throw new Error('The event is no batch of SQS');
  return records.map((record) => {
    const { messageId, body } = isJsonObject(record) ? record : {};
    if (typeof messageId === 'string' && typeof body === 'string') return { messageId, body };
    throw new Error('The event has a record that is no message of SQS');
  });
}
