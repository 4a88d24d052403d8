import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { firstSpans, nextSpan, type Span } from '../../src/core/ranges.ts';

const mebibyte = 1024 * 1024;

/** All ranges of an object, as they are asked for one after the other. */
function spansOf(size: number, connections: number): Span[] {
  const spans = firstSpans(size, connections);
  for (let at = spans.at(-1)?.end ?? 0; at < size; at = spans.at(-1)?.end ?? size) {
    spans.push(nextSpan(at, size, connections));
  }
  return spans;
}

test('ranges cover an object in order, without a gap and without a byte twice', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 * mebibyte }),
      fc.integer({ min: 2, max: 16 }),
      (size, connections) => {
        const spans = spansOf(size, connections);
        expect(spans[0]?.start).toBe(0);
        expect(spans.at(-1)?.end).toBe(size);
        for (const [index, { start, end }] of spans.entries()) {
          expect(start).toBe(spans[index - 1]?.end ?? 0);
          expect(end - start).toBeGreaterThan(0);
          expect(end - start).toBeLessThanOrEqual(4 * mebibyte);
        }
      },
    ),
  );
});

test('ranges are short at the start, and shorter towards the end', () => {
  const lengths = spansOf(64 * mebibyte, 4).map(({ start, end }) => (end - start) / mebibyte);
  expect(lengths.slice(0, 6)).toEqual([1, 1, 1, 1, 4, 4]);
  expect(lengths.slice(-3, -1)).toEqual([2, 2]);
});

test('a range ends where something is known already', () => {
  expect(nextSpan(0, 100 * mebibyte, 4, 1000)).toEqual({ start: 0, end: 1000 });
});
