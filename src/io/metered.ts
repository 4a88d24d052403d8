/**
 * Objects piece by piece under a limit of bytes a second. Runtime and kernel receive megabytes ahead of whoever reads, so
 * a limit on the reader is none on the link: here the next piece is asked for only once what came is paid for.
 */
import { AgentError } from '../core/errors.ts';
import { rangeFault } from '../core/object-faults.ts';
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
  async *#whole({ body }: Answer): AsyncGenerator<Chunk, void> {
    for await (const chunk of body) {
      const { length } = chunk;
      yield chunk;
      await this.#pay(length);
    }
  }

  async *#pieces(first: Answer, etag: string, size: number): AsyncGenerator<Chunk, void> {
    const { artifact, onAhead } = this.#request;
    const { pieceBytes } = this.#shared;
    let at = first.first;
    for (let answer = first; ; ) {
      const end = Math.min(at + pieceBytes, size);
      const start = at;
      try {
        for await (const chunk of answer.body) {
          at += chunk.length;
          if (at > end) throw rangeFault('longer');
          yield chunk;
        }
      } finally {
        // Also what came of a piece that was cut.
        await this.#pay(at - start);
      }
      if (at < end) throw new AgentError('NETWORK', 'The connection to S3 ended within a piece');
      if (at === size) return;
      const ahead = onAhead === undefined ? {} : { onAhead };
      const next = await this.#get({ artifact, offset: at, length: pieceBytes, ifMatch: etag, ...ahead });
      if (next.kind !== 'rest') throw rangeFault(next.kind);
      if (next.first !== at || next.etag !== etag || next.size !== size) throw rangeFault('changed');
      answer = next;
    }
  }

  /** A wait of our own is no silence of S3. @throws the signal's reason */
  async #pay(bytes: number): Promise<void> {
    const beat = setInterval(() => this.#request.onAhead?.(), beatMs);
    try {
      await this.#shared.throttle.pass(bytes, this.#signal);
      this.#signal.throwIfAborted();
    } finally {
      clearInterval(beat);
    }
  }
}
