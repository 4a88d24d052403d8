import type { Stall } from './stall.ts';

const pieceBytes = 1024 * 1024;

/**
 * Reads a body ahead of the disk: what comes while a write is under way goes with the next one, so that a fast link
 * gets long writes and a slow one no delay. It holds two pieces, whatever the size of the body.
 */
export class Intake {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  readonly #stall: Stall;
  #filling = new Uint8Array(pieceBytes);
  #spare = new Uint8Array(pieceBytes);
  #filled = 0;
  #ended: { error?: unknown } | undefined;
  #wake = Promise.withResolvers<void>();

  constructor(body: ReadableStream<Uint8Array<ArrayBuffer>>, stall: Stall) {
    this.#reader = body.getReader();
    this.#stall = stall;
    void this.#pump();
  }

  /**
   * All that has come since the last time, at least a byte; it is good until the next call. Undefined at the end.
   * @throws AgentError TIMEOUT, NETWORK once all that came before is taken; the signal's reason when it is aborted
   */
  async take(): Promise<Uint8Array | undefined> {
    while (this.#filled === 0 && this.#ended === undefined) await this.#next();
    if (this.#filled === 0 && this.#ended !== undefined) {
      if ('error' in this.#ended) throw this.#ended.error;
      return undefined;
    }
    const piece = this.#filling.subarray(0, this.#filled);
    [this.#filling, this.#spare] = [this.#spare, this.#filling];
    this.#filled = 0;
    this.#wake.resolve();
    return piece;
  }

  /** Ends the body where it is. */
  cancel(): void {
    this.#ended ??= {};
    this.#wake.resolve();
    this.#reader.cancel().catch(() => undefined);
  }

  async #pump(): Promise<void> {
    try {
      while (this.#ended === undefined) {
        const { done, value } = await this.#stall.guard(this.#reader.read());
        if (done) break;
        await this.#fill(value);
        release(value);
      }
      this.#ended ??= {};
    } catch (error) {
      this.#ended ??= { error };
    }
    this.#wake.resolve();
  }

  async #fill(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length; ) {
      while (this.#filled === pieceBytes && this.#ended === undefined) await this.#next();
      if (this.#ended !== undefined) return;
      const some = chunk.subarray(done, done + pieceBytes - this.#filled);
      this.#filling.set(some, this.#filled);
      this.#filled += some.length;
      done += some.length;
      this.#wake.resolve();
    }
  }

  /** One side waits at a time: the taker for a first byte, the pump for a taker. */
  async #next(): Promise<void> {
    this.#wake = Promise.withResolvers();
    await this.#wake.promise;
  }
}

/**
 * Gives the memory of a chunk back at once: the collector sees only the small head of each, and would let tens of MB
 * of them pile up.
 */
function release({ buffer, byteLength }: Uint8Array<ArrayBuffer>): void {
  // A view of something larger is not ours to give back.
  if (byteLength === buffer.byteLength) buffer.transfer(0);
}
