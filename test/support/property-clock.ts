import type { Clock } from '../../src/io/clock.ts';

interface Timer {
  atMs: number;
  fire: () => void;
}

// A day of resyncs and retries is a few hundred timers.
const maxTimers = 20_000;

/** A clock that jumps from timer to timer; in between, all that can run does. */
export class VirtualClock {
  #nowMs = 1_000_000;
  readonly #wallOffsetMs = 1_700_000_000_000;
  readonly #timers = new Set<Timer>();
  /** Grows with everything that happens at this clock, so that whoever waits for quiet can tell. */
  activity = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  /** Calls back after some time; the returned function calls it off. Timers of one time fire in their order. */
  after(ms: number, callback: () => void): () => void {
    this.activity += 1;
    const timer: Timer = { atMs: this.#nowMs + Math.max(0, ms), fire: callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Goes on by `ms`, one timer at a time, and lets `settle` bring everything to rest before each. */
  async advance(ms: number, settle: () => Promise<void>): Promise<void> {
    const untilMs = this.#nowMs + ms;
    for (let fired = 0; fired < maxTimers; fired += 1) {
      await settle();
      const timer = this.#next();
      if (timer === undefined || timer.atMs > untilMs) {
        this.#nowMs = untilMs;
        return;
      }
      this.#timers.delete(timer);
      this.#nowMs = timer.atMs;
      this.activity += 1;
      timer.fire();
    }
    throw new Error(`More than ${maxTimers} timers in ${ms} ms: something goes round in circles`);
  }

  #next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) if (next === undefined || timer.atMs < next.atMs) next = timer;
    return next;
  }
}

/** A virtual clock as some part of the agent sees it, with a count of those who sleep by it. */
export class ClockView implements Clock {
  readonly #clock: VirtualClock;
  sleepers = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        cancel();
        signal.removeEventListener('abort', wake);
        this.sleepers -= 1;
        this.#clock.activity += 1;
        resolve();
      };
      this.sleepers += 1;
      const cancel = this.#clock.after(ms, wake);
      signal.addEventListener('abort', wake);
    });
  }
}
