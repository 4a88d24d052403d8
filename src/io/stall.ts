import { AgentError } from '../core/errors.ts';
import { networkError } from './http.ts';

// Source: RFC 8446, section 5.2: nothing of a record is to be had before the whole of it is there.
const hint =
  'the attempt goes on by itself; a link that brings less than 16 KiB in that time, a TLS record, needs a larger "stallSeconds"';

/** Ends an attempt whose connection has gone quiet: progress is required, not speed. */
export class Stall {
  readonly #silent = new AbortController();
  readonly #timeoutMs: number;
  readonly #outer: AbortSignal;
  /** Aborted with an AgentError TIMEOUT after a silence, else as the outer one. */
  readonly signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(timeoutMs: number, outer: AbortSignal) {
    this.#timeoutMs = timeoutMs;
    this.#outer = outer;
    this.signal = AbortSignal.any([outer, this.#silent.signal]);
  }

  /** Bytes have come, though not yet those that are waited for. */
  alive(): void {
    if (this.#timer !== undefined) this.#start();
  }

  /** Waits for one read. @throws AgentError TIMEOUT when it takes too long, NETWORK when it fails */
  async guard<T>(read: Promise<T>): Promise<T> {
    this.#start();
    try {
      return await read;
    } catch (error) {
      if (this.#outer.aborted) throw this.#outer.reason;
      if (this.#silent.signal.aborted) throw this.#silent.signal.reason;
      throw networkError(error, 'The connection to S3 was lost', this.#outer);
    } finally {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
  }

  #start(): void {
    clearTimeout(this.#timer);
    const seconds = this.#timeoutMs / 1000;
    const message = `No byte from S3 for ${seconds} s`;
    const end = () => this.#silent.abort(new AgentError('TIMEOUT', message, { hint }));
    this.#timer = setTimeout(end, this.#timeoutMs);
  }
}
