import { connect } from 'node:net';

/** How long a server may take. Milliseconds. */
export interface AnswerLimits {
  /** After this long without an answer, the server must at least take a connection. */
  connectMs: number;
  /** How long that connection may take. */
  probeMs: number;
  /** After this long the headers of the answer must be there. */
  headerMs: number;
}

export interface Peer {
  host: string;
  port: number;
}

export const answerLimits: AnswerLimits = { connectMs: 10_000, probeMs: 5_000, headerMs: 30_000 };

/**
 * Ends a request that gets no answer. A fetch does not tell a connection that is not made from an answer that does not
 * come; so once the first limit has passed, another connection to the same server tells.
 */
export class AnswerDeadline {
  readonly #late = new AbortController();
  readonly #limits: AnswerLimits;
  readonly #timers: Array<ReturnType<typeof setTimeout>> = [];
  /** What was waited for in vain; undefined as long as there is time. */
  reason: string | undefined;

  /** @param peer what the request connects to: the server or the proxy before it */
  constructor(peer: Peer, limits: AnswerLimits = answerLimits) {
    this.#limits = limits;
    this.#after(limits.connectMs, () => this.#probe(peer));
    this.#after(limits.headerMs, () => this.#end(`no answer in ${limits.headerMs / 1000} s`));
  }

  /** Aborted when the time is up. */
  get signal(): AbortSignal {
    return this.#late.signal;
  }

  /** The answer is there. */
  clear(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #after(ms: number, act: () => void): void {
    this.#timers.push(setTimeout(act, ms));
  }

  #probe({ host, port }: Peer): void {
    const socket = connect({ host, port });
    const { connectMs, probeMs } = this.#limits;
    const timer = setTimeout(() => {
      socket.destroy();
      this.#end(`no connection in ${(connectMs + probeMs) / 1000} s`);
    }, probeMs);
    this.#timers.push(timer);
    socket.once('close', () => clearTimeout(timer));
    // What refuses the probe refuses the request as well, and that says so.
    socket.once('error', () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  }

  #end(reason: string): void {
    this.reason = reason;
    this.clear();
    this.#late.abort();
  }
}
