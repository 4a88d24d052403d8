/**
 * Objects piece by piece under a limit of bytes a second. Runtime and kernel receive megabytes ahead of whoever reads, so
 * a limit on the reader is none on the link: here the next piece is asked for only once what came is paid for.
 */
import { AgentError } from '../core/errors.ts';
import { otherRange, rangeFault } from '../core/object-faults.ts';
import type { Clock } from './clock.ts';
import { Pool } from './runtime.ts';
import type { GetObject, ObjectAnswer, ObjectRequest } from './s3.ts';
import { Throttle } from './throttle.ts';

type Answer = Extract<ObjectAnswer, { kind: 'full' | 'rest' }>;
type Chunk = Uint8Array<ArrayBuffer>;

const kibibyte = 1024;
/** Below this the headers would be a good part of the traffic. */
const leastPieceBytes = 64 * kibibyte;
const mostPieceBytes = 4 * kibibyte * kibibyte;
// Shorter than any silence that ends an attempt.
const beatMs = 250;

export interface MeteredOptions {
  getObject: GetObject;
  /** The limit, of all downloads together. */
  bytesPerSecond: number;
  clock: Clock;
}

/** A GET whose answer comes in pieces, all of the first one's ETag; one that cannot be pinned comes as it is. */
export function createMetered({ getObject, bytesPerSecond, clock }: MeteredOptions): GetObject {
  const throttle = new Throttle(clock, bytesPerSecond);
  // What may come in a second comes at once, for each download.
  const pieceBytes = Math.min(Math.max(Math.ceil(bytesPerSecond), leastPieceBytes), mostPieceBytes);
  const shared: Shared = { getObject, throttle, pieceBytes };
  return async (request, signal) => {
    // A range of nothing is none.
    if (request.length !== undefined || request.artifact.size === 0) return await getObject(request, signal);
    return await new MeteredObject(shared, request, signal).open();
  };
}

interface Shared {
  getObject: GetObject;
  throttle: Throttle;
  pieceBytes: number;
}

class MeteredObject {
  readonly #shared: Shared;
  readonly #request: ObjectRequest;
  readonly #ended = new AbortController();
  readonly #signal: AbortSignal;
  readonly #pool = new Pool();

  constructor(shared: Shared, request: ObjectRequest, signal: AbortSignal) {
    this.#shared = shared;
    this.#request = request;
    this.#signal = AbortSignal.any([signal, this.#ended.signal]);
  }

  /** @throws what the first request throws */
  async open(): Promise<ObjectAnswer> {
    const { offset } = this.#request;
    try {
      // A newcomer stands behind what the others owe: were it not so, many small objects would outrun the limit.
      await this.#pay();
      const answer = await this.#get({ ...this.#request, length: this.#shared.pieceBytes });
      if (!('body' in answer))
        return answer.kind === 'past-end' && offset === 0 ? await this.#odd() : this.#end(answer);
      const { kind, first, etag, size } = answer;
      if (kind === 'full') return { ...answer, body: this.#body(this.#whole(answer)) };
      if (etag !== undefined && size !== undefined) {
        const pieces = this.#body(this.#pieces(answer, etag, size));
        return { ...answer, kind: offset === 0 && first === 0 ? 'full' : kind, body: pieces };
      }
      answer.body.cancel().catch(() => undefined);
      return await this.#odd();
    } catch (error) {
      throw this.#end(error);
    }
  }

  /** An empty object has no range, and pieces that cannot be pinned are not to be put together. */
  async #odd(): Promise<ObjectAnswer> {
    const answer = await this.#get(this.#request);
    return 'body' in answer ? { ...answer, body: this.#body(this.#whole(answer)) } : this.#end(answer);
  }

  #get(request: ObjectRequest): Promise<ObjectAnswer> {
    return this.#shared.getObject({ ...request, pool: this.#pool }, this.#signal);
  }

  #end<T>(result: T): T {
    this.#ended.abort();
    this.#pool.close();
    return result;
  }

  #body(chunks: AsyncGenerator<Chunk, void>): Answer['body'] {
    return new ReadableStream<Chunk>(
      {
        pull: async (controller) => {
          try {
            const { done, value } = await chunks.next();
            if (done !== true) return controller.enqueue(value);
            controller.close();
            this.#end(undefined);
          } catch (error) {
            throw this.#end(error);
          }
        },
        cancel: () => this.#end(undefined),
      },
      { highWaterMark: 0 },
    );
  }

  /** It comes without an end to a piece. */
  async *#whole({ body, first, size = this.#request.artifact.size }: Answer): AsyncGenerator<Chunk, void> {
    let at = first;
    for await (const chunk of body) {
      at += chunk.length;
      this.#shared.throttle.charge(chunk.length);
      yield chunk;
      if (at !== size) await this.#pay();
    }
  }

  async *#pieces(first: Answer, etag: string, size: number): AsyncGenerator<Chunk, void> {
    const { artifact, onAhead } = this.#request;
    const { pieceBytes, throttle } = this.#shared;
    let at = first.first;
    for (let answer = first; ; ) {
      const end = Math.min(at + pieceBytes, size);
      try {
        for await (const chunk of answer.body) {
          at += chunk.length;
          throttle.charge(chunk.length);
          if (at > end) throw rangeFault('longer');
          yield chunk;
        }
      } finally {
        // Also for what came of a piece that was cut. What is whole need not wait: others pay for it.
        if (at !== size) await this.#pay();
      }
      if (at < end) throw new AgentError('NETWORK', 'The connection to S3 ended within a piece');
      if (at === size) return;
      const ahead = onAhead === undefined ? {} : { onAhead };
      const wanted = { artifact, offset: at, length: pieceBytes, ifMatch: etag, ...ahead };
      // Its headers have a time limit of their own, as those of the first piece.
      const next = await this.#heard(this.#get(wanted));
      if (next.kind !== 'rest') throw rangeFault(next.kind);
      const fault = otherRange(next, { first: at, etag, size });
      if (fault !== undefined) throw fault;
      answer = next;
    }
  }

  /** @throws the signal's reason */
  async #pay(): Promise<void> {
    await this.#heard(this.#shared.throttle.wait(this.#signal));
    this.#signal.throwIfAborted();
  }

  /** Meanwhile nothing can come: that is no silence of S3. */
  async #heard<T>(work: Promise<T>): Promise<T> {
    const beat = setInterval(() => this.#request.onAhead?.(), beatMs);
    try {
      return await work;
    } finally {
      clearInterval(beat);
    }
  }
}
