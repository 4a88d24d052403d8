import type { LogFields, Logger } from './log.ts';

const intervalMs = 60_000;

/** Warnings that others can cause as often as they like: one a minute, which counts those before it that were not shown. */
export class Seldom {
  readonly #log: Logger;
  readonly #nowMs: () => number;
  #shownMs = Number.NEGATIVE_INFINITY;
  #unshown = 0;

  /** @param nowMs monotonic milliseconds */
  constructor(log: Logger, nowMs: () => number = () => performance.now()) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  /** Warns, or counts and leaves a line for those who debug. */
  warning(message: string, fields: LogFields): void {
    if (this.#nowMs() - this.#shownMs < intervalMs) {
      this.#unshown += 1;
      this.#log.debug(message, fields);
      return;
    }
    const more = this.#unshown === 0 ? {} : { moreBefore: this.#unshown };
    this.#log.warning(message, { ...fields, ...more });
    this.#shownMs = this.#nowMs();
    this.#unshown = 0;
  }
}
