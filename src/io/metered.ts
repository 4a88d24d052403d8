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
    const metered = new MeteredObject(shared, request, signal);
    const answer = await metered.get({ ...request, length: pieceBytes });
    if (answer.kind === 'past-end' && request.offset === 0) return await getObject(request, signal);
    if (!('body' in answer)) return answer;
    const isStart = request.offset === 0 && answer.first === 0;
    return { ...answer, kind: isStart ? 'full' : answer.kind, body: metered.body(answer) };
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

  get(request: ObjectRequest): Promise<ObjectAnswer> {
    return this.#shared.getObject({ ...request, pool: this.#pool }, this.#signal);
  }

  body(first: Answer): Answer['body'] {
    const chunks = this.#chunks(first);
    return new ReadableStream<Chunk>(
      {
        pull: async (controller) => {
          const { done, value } = await chunks.next();
          if (done === true) controller.close();
          else controller.enqueue(value);
        },
        cancel: () => {
          this.#ended.abort();
        },
      },
      { highWaterMark: 0 },
    );
  }

  async *#chunks(first: Answer): AsyncGenerator<Chunk, void> {
    try {
      const { etag, size } = first;
      if (first.kind === 'full' || etag === undefined || size === undefined) yield* this.#whole(first);
      else yield* this.#pieces(first, etag, size);
    } finally {
      this.#pool.close();
    }
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
      for await (const chunk of answer.body) {
        at += chunk.length;
        if (at > end) throw rangeFault('longer');
        yield chunk;
      }
      if (at < end) throw new AgentError('NETWORK', 'The connection to S3 ended within a piece');
      await this.#pay(at - start);
      if (at === size) return;
      const ahead = onAhead === undefined ? {} : { onAhead };
      const next = await this.get({ artifact, offset: at, length: pieceBytes, ifMatch: etag, ...ahead });
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
