const hourMs = 3_600_000;

/** First and longest delay of a kind of retry. */
export interface BackoffRange {
  firstMs: number;
  maxMs: number;
}

/** Attempts at a file whose failure is likely to pass by itself. */
export const soon: BackoffRange = { firstMs: 1_000, maxMs: hourMs };
/** Attempts at a file that somebody has to mend first. */
export const slow: BackoffRange = { firstMs: 60_000, maxMs: hourMs };
/** Connects to the broker. */
export const reconnect: BackoffRange = { firstMs: 1_000, maxMs: 120_000 };

/**
 * The delay before the next try, in ms: full jitter under a ceiling that doubles with each attempt, so that a fleet
 * that fails together does not come back together. Never under half of the first delay.
 * Source: AWS architecture blog, "Exponential backoff and jitter".
 *
 * @param attempt how many tries have failed, from 1
 * @param random from 0 to under 1
 */
export function backoffMs(range: BackoffRange, attempt: number, random: number): number {
  const ceiling = Math.min(range.maxMs, range.firstMs * 2 ** Math.min(attempt - 1, 30));
  return Math.round(Math.max(range.firstMs / 2, random * ceiling));
}
