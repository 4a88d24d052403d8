/** The Lambda behind the queue: writes one release into the shadows of many things, at a pace. */
import type { IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { isJsonObject, type JsonValue, member } from '../core/json.ts';
import { type Log, singleLines } from './log.ts';
import { type PaceClock, paceOf, paceRequests } from './pace.ts';
import { enqueue } from './queue.ts';
import { type Page, parsePage } from './release.ts';
import { publishTo } from './shadow.ts';

export interface WriterSettings {
  /** Requests to the shadow service that this instance makes, at most, repeated ones too. */
  requestsPerSecond: number;
  /** Of the queue that it reads. */
  queueUrl: string;
}

export interface WriterClients {
  /** The writer's own: its requests are held to the pace. */
  shadows: IoTDataPlaneClient;
  sqs: SQSClient;
}

/** What Lambda takes for messages that come again (ReportBatchItemFailures); the others are deleted. */
export interface BatchResponse {
  batchItemFailures: Array<{ itemIdentifier: string }>;
}

/** Things of a batch that are worked on at once: so many that the pace is held over answers that take their time. */
const concurrency = 50;

/**
 * Makes the handler of SQS batches. Whatever fails comes again: a page of which nothing was written as it is, and of
 * others the things that failed, each in a page of its own, so that one that always fails ends alone in the
 * dead-letter queue.
 */
export function createWriter(
  settings: WriterSettings,
  clients: WriterClients,
  rawLog: Log,
  clock?: PaceClock,
): (event: JsonValue) => Promise<BatchResponse> {
  const log = singleLines(rawLog);
  paceRequests(clients.shadows, paceOf(settings.requestsPerSecond, clock));
  const slot = slotsOf(concurrency);

  /** @returns the things that failed */
  async function write(page: Page): Promise<string[]> {
    const failed: string[] = [];
    const one = async (thing: string) => {
      try {
        await publishTo(clients.shadows, thing, page);
      } catch (error) {
        log(`thing ${thing}: failed: ${String(error)}`);
        failed.push(thing);
      }
    };
    await Promise.all(page.things.map((thing) => slot(() => one(thing))));
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
    const one = async ({ messageId, body }: Message) => {
      try {
        await deliver(body);
      } catch (error) {
        log(`message ${messageId}: comes again: ${String(error)}`);
        batchItemFailures.push({ itemIdentifier: messageId });
      }
    };
    await Promise.all(messagesOf(event).map(one));
    return { batchItemFailures };
  };
}

/** Runs at most so many at once, whoever asks, in the order in which they come. */
function slotsOf(count: number): (run: () => Promise<void>) => Promise<void> {
  let free = count;
  const waiting: Array<() => void> = [];
  return async (run) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      await run();
    } finally {
      const next = waiting.shift();
      if (next === undefined) free += 1;
      else next();
    }
  };
}

interface Message {
  messageId: string;
  body: string;
}

function messagesOf(event: JsonValue): Message[] {
  const records = isJsonObject(event) ? member(event, 'Records') : undefined;
  if (!Array.isArray(records)) throw new Error('The event is no batch of SQS');
  return records.map((record) => {
    const { messageId, body } = isJsonObject(record) ? record : {};
    if (typeof messageId === 'string' && typeof body === 'string') return { messageId, body };
    throw new Error('The event has a record that is no message of SQS');
  });
}
