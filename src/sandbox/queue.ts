import { createHash, randomUUID } from 'node:crypto';
import type { JsonObject } from '../core/json.ts';

export interface Message {
  messageId: string;
  body: string;
}

interface Stored extends Message {
  receives: number;
}

export interface QueueOptions {
  /** Takes batches as Lambda does; yields the ids of messages that are to come again, and throws for all of them. */
  consume: (event: JsonObject) => Promise<readonly string[]>;
  /** How long a failed message stays away. */
  visibilityMs?: number;
  /** After so many receives a message goes to the dead letters. */
  maxReceives?: number;
  /** Every so many-th message is delivered once more, as SQS's standard queues may. */
  duplicateEvery?: number;
  /** Batches under way at once: MaximumConcurrency of an event source mapping. */
  concurrency?: number;
}

// Lambda's event source mapping for SQS: ten unless told.
const maxBatch = 10;

/**
 * A standard queue of SQS with a Lambda behind it: each message at least once, in no certain order, in batches of
 * which parts may fail (ReportBatchItemFailures), the hopeless ones to the dead letters.
 */
export class Queue {
  readonly deadLetters: Message[] = [];
  readonly #options: Required<QueueOptions>;
  #visible: Stored[] = [];
  #sent = 0;
  /** Messages that are visible, under way or away for a while. */
  #pending = 0;
  #running = 0;
  #closed = false;
  #idle: Array<() => void> = [];
  readonly #away = new Set<NodeJS.Timeout>();

  constructor(options: QueueOptions) {
    const defaults = { visibilityMs: 200, maxReceives: 5, duplicateEvery: 7, concurrency: 2 };
    this.#options = { ...defaults, ...options };
  }

  send(body: string): Message {
    const message = { messageId: randomUUID(), body };
    this.#sent += 1;
    const copies = this.#sent % this.#options.duplicateEvery === 0 ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) this.#visible.push({ ...message, receives: 0 });
    this.#pending += copies;
    queueMicrotask(() => this.#deliver());
    return message;
  }

  /** Resolves when every message is done with or dead. */
  async idle(): Promise<void> {
    if (this.#pending > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Drops what is left; batches under way end by themselves. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#away) clearTimeout(timer);
    this.#settle(this.#pending);
  }

  #deliver(): void {
    while (!this.#closed && this.#running < this.#options.concurrency && this.#visible.length > 0) {
      const batch = this.#visible.splice(0, maxBatch);
      this.#running += 1;
      void this.#consume(batch).finally(() => {
        this.#running -= 1;
        this.#deliver();
      });
    }
  }

  async #consume(batch: Stored[]): Promise<void> {
    const again = await this.#options
      .consume({ Records: batch.map(recordOf) })
      .catch(() => batch.map(({ messageId }) => messageId));
    if (this.#closed) return;
    for (const message of batch) {
      message.receives += 1;
      if (!again.includes(message.messageId)) this.#settle(1);
      else if (message.receives >= this.#options.maxReceives) {
        this.deadLetters.push({ messageId: message.messageId, body: message.body });
        this.#settle(1);
      } else this.#hide(message);
    }
  }

  #hide(message: Stored): void {
    const timer = setTimeout(() => {
      this.#away.delete(timer);
      this.#visible.push(message);
      this.#deliver();
    }, this.#options.visibilityMs);
    this.#away.add(timer);
  }

  #settle(count: number): void {
    this.#pending -= count;
    if (this.#pending > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** Source: Lambda developer guide, with-sqs, the example event. */
function recordOf({ messageId, body, receives }: Stored): JsonObject {
  return {
    messageId,
    receiptHandle: `${messageId}#${receives}`,
    body,
    attributes: { ApproximateReceiveCount: String(receives + 1) },
    messageAttributes: {},
    md5OfBody: md5(body),
    eventSource: 'aws:sqs',
    eventSourceARN: 'arn:aws:sqs:us-east-1:123456789012:shadow-agent',
    awsRegion: 'us-east-1',
  };
}

/** What SQS answers for a body, and clients compare. */
export function md5(body: string): string {
  return createHash('md5').update(body).digest('hex');
}
