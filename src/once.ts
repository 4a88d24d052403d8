/** When a run with `--once` is over for one file. */
import { dueOf } from './core/pending.ts';
import type { Failure, Reason, Snapshot } from './core/reconcile.ts';
import { failureOf, settled } from './core/standing.ts';

const noAnswer = { code: 'TIMEOUT', message: 'The shadow service did not answer' } as const;
const retryMs = 60_000;

export class Once {
  #untilMs = Number.POSITIVE_INFINITY;

  /** Monotonic ms until which what is likely to pass is tried again. */
  get untilMs(): number {
    return this.#untilMs;
  }

  /**
   * A step that is due is ended first, as long as it can be.
   *
   * @param linkError why the shadow cannot be asked
   * @returns undefined where it goes on, else whether the file is as desired, or why it is not
   */
  endOf(
    snapshot: Snapshot,
    nowMs: number,
    linkError: Pick<Failure, 'code' | 'message' | 'hint' | 'retry'> | undefined,
  ): 'done' | Reason | undefined {
    const end = settled(snapshot);
    if (end !== 'pending') return end;
    const failure = failureOf(snapshot);
    if (dueOf(snapshot) !== undefined && failure === undefined) return undefined;
    // A step that has failed may be overtaken by what the shadow desires by now.
    const trouble = snapshot.desired.kind === 'unknown' ? linkError : failure;
    const isLate = nowMs >= this.#untilMs;
    if (trouble === undefined) return isLate ? (failure ?? noAnswer) : undefined;
    this.#untilMs = Math.min(this.#untilMs, nowMs + retryMs);
    return isLate || trouble.retry !== 'soon' ? trouble : undefined;
  }
}
