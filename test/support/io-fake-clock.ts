import type { Clock } from '../../src/io/clock.ts';

interface Sleeper {
  untilMs: number;
  wake: () => void;
}

/** A clock that stands still until a test moves it. */
export class FakeClock implements Clock {
  #nowMs = 1_000_000;
  #wallOffsetMs: number;
  readonly #sleepers = new Set<Sleeper>();
  #whenAsleep: Array<() => void> = [];
  /** The length of each sleep, in ms, in order. */
  readonly sleeps: number[] = [];

  constructor(wallMs = Date.now()) {
    this.#wallOffsetMs = wallMs - this.#nowMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  /** Steps the wall clock alone, as NTP does. */
  stepWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    this.sleeps.push(ms);
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper: Sleeper = {
        untilMs: this.#nowMs + ms,
        wake: () => {
          this.#sleepers.delete(sleeper);
          signal.removeEventListener('abort', sleeper.wake);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal.addEventListener('abort', sleeper.wake);
      for (const told of this.#whenAsleep.splice(0)) told();
    });
  }

  /** Resolves as soon as somebody sleeps. */
  asleep(): Promise<void> {
    if (this.#sleepers.size > 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenAsleep.push(resolve));
  }

  /** Moves both clocks on and wakes those whose time has come. */
  advance(ms: number): void {
    this.#nowMs += ms;
    for (const sleeper of [...this.#sleepers]) if (sleeper.untilMs <= this.#nowMs) sleeper.wake();
  }
}
