import { AgentError } from '../../src/core/errors.ts';
import type { GetObject, ObjectAnswer } from '../../src/io/s3.ts';
import { sha256Of } from './io-helpers.ts';
import type { ClockView } from './property-clock.ts';

/** What becomes of one GET. */
export interface BucketFate {
  kind: 'ok' | 'network' | 'denied' | 'cut' | 'sizeless';
  /** Before the answer, and before each chunk. */
  delayMs: number;
}

const chunkBytes = 1000;

/** Objects in memory; each GET has its fate. */
export class FaultyBucket {
  readonly #objects = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #fate: () => BucketFate;
  readonly #waiting: ClockView;
  readonly counts = { requests: 0, failures: 0 };

  constructor(waiting: ClockView, fate: () => BucketFate) {
    this.#waiting = waiting;
    this.#fate = fate;
  }

  put(url: string, bytes: Uint8Array<ArrayBuffer>): void {
    this.#objects.set(url, bytes);
  }

  readonly getObject: GetObject = async ({ artifact, offset, ifMatch, ifNoneMatch }, signal) => {
    this.counts.requests += 1;
    const fate = this.#fate();
    await this.#waiting.sleep(fate.delayMs, signal);
    signal.throwIfAborted();
    const bytes = this.#objects.get(artifact.url);
    const isWrong = bytes === undefined || sha256Of(bytes) !== artifact.sha256;
    if (isWrong || fate.kind !== 'ok') this.counts.failures += 1;
    if (fate.kind === 'network') throw new AgentError('NETWORK', 'The connection to S3 was lost');
    if (fate.kind === 'denied') throw new AgentError('S3_DENIED', 'HTTP 403 AccessDenied');
    if (bytes === undefined) throw new AgentError('S3_NOT_FOUND', 'HTTP 404 NoSuchKey');
    const etag = `"${sha256Of(bytes)}"`;
    if (ifMatch !== undefined && ifMatch !== etag) return { kind: 'changed' };
    if (ifNoneMatch === etag) return { kind: 'unchanged' };
    if (offset > 0 && offset >= bytes.length) return { kind: 'past-end' };
    return this.#answer(bytes, offset, etag, fate, signal);
  };

  #answer(
    bytes: Uint8Array<ArrayBuffer>,
    offset: number,
    etag: string,
    { kind, delayMs }: BucketFate,
    signal: AbortSignal,
  ): ObjectAnswer {
    let at = offset;
    const end = kind === 'cut' ? Math.floor((offset + bytes.length) / 2) : bytes.length;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        pull: async (controller) => {
          if (delayMs > 0) await this.#waiting.sleep(delayMs, signal);
          if (signal.aborted) return controller.error(signal.reason);
          if (at >= end)
            return kind === 'cut' ? controller.error(new Error('ECONNRESET')) : controller.close();
          const chunk = bytes.slice(at, Math.min(at + chunkBytes, end));
          at += chunk.length;
          controller.enqueue(chunk);
        },
      },
      { highWaterMark: 0 },
    );
    const signature = { signature: null, sequence: null };
    const size = kind === 'sizeless' ? undefined : bytes.length;
    return { kind: offset > 0 ? 'rest' : 'full', body, first: offset, size, etag, signature };
  }
}
