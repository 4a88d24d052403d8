import { AgentError } from '../core/errors.ts';
import { networkError } from './http.ts';

/** Ends an attempt whose connection has gone quiet: progress is required, not speed. */
export class Stall {
  readonly #silent = new AbortController();
  readonly #timeoutMs: number;
  readonly #outer: AbortSignal;
  readonly signal: AbortSignal;

  constructor(timeoutMs: number, outer: AbortSignal) {
    this.#timeoutMs = timeoutMs;
    this.#outer = outer;
    this.signal = AbortSignal.any([outer, this.#silent.signal]);
  }

  /** Waits for one read. @throws AgentError TIMEOUT when it takes too long, NETWORK when it fails */
  async guard<T>(read: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#silent.abort(), this.#timeoutMs);
    try {
      return await read;
    } catch (error) {
      if (this.#outer.aborted) throw this.#outer.reason;
      if (this.#silent.signal.aborted) {
        throw new AgentError('TIMEOUT', `No byte from S3 for ${this.#timeoutMs / 1000} s`, { cause: error });
      }
      throw networkError(error, 'The connection to S3 was lost', this.#outer);
    } finally {
      clearTimeout(timer);
    }
  }
}
