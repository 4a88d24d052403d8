import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type BackoffRange, backoffMs, reconnect, slow, soon } from '../../src/core/backoff.ts';

const hourMs = 3_600_000;
const ranges: Array<[string, BackoffRange]> = [
  ['soon', soon],
  ['slow', slow],
  ['reconnect', reconnect],
];
/** The largest random number below 1. */
const almostOne = 1 - Number.EPSILON / 2;

describe('the ranges', () => {
  test('soon starts at 1 s, slow at 60 s, and both go up to an hour', () => {
    expect(soon).toEqual({ firstMs: 1_000, maxMs: hourMs });
    expect(slow).toEqual({ firstMs: 60_000, maxMs: hourMs });
  });

  test('a reconnect waits up to 2 minutes', () => {
    expect(reconnect.maxMs).toBe(120_000);
  });
});

describe.each(ranges)('backoffMs() of range %s', (_, range) => {
  test('stays between half of the first delay and the longest', () => {
    const random = fc.double({ min: 0, max: almostOne, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000 }), random, (attempt, at) => {
        const delay = backoffMs(range, attempt, at);
        expect(Number.isInteger(delay)).toBe(true);
        expect(delay).toBeGreaterThanOrEqual(range.firstMs / 2);
        expect(delay).toBeLessThanOrEqual(range.maxMs);
      }),
    );
  });

  test('its ceiling doubles with each attempt until it is the longest delay', () => {
    for (let attempt = 1; attempt <= 20; attempt += 1) {
      const ceiling = Math.min(range.firstMs * 2 ** (attempt - 1), range.maxMs);
      expect(backoffMs(range, attempt, almostOne)).toBe(ceiling);
    }
  });

  test('the jitter is full: a delay is that share of the ceiling', () => {
    for (const [random, attempt] of [
      [0.5, 3],
      [0.25, 5],
      [0.75, 2],
    ] as const) {
      const ceiling = Math.min(range.firstMs * 2 ** (attempt - 1), range.maxMs);
      expect(backoffMs(range, attempt, random)).toBe(Math.round(random * ceiling));
    }
  });

  test('the least delay is half of the first, at every attempt', () => {
    for (const attempt of [1, 2, 10, 100]) expect(backoffMs(range, attempt, 0)).toBe(range.firstMs / 2);
  });

  test.each([31, 32, 33, 64, 1025, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY])(
    'attempt %p waits no longer than the longest delay',
    (attempt) => {
      expect(backoffMs(range, attempt, almostOne)).toBe(range.maxMs);
      expect(backoffMs(range, attempt, 0)).toBe(range.firstMs / 2);
    },
  );
});
