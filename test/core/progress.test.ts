import { expect, test } from 'bun:test';
import { Progress } from '../../src/core/progress.ts';

test('a download is told of after 2 s, and then every 30 s', () => {
  const progress = new Progress(1_000, 0);
  const dueAt = [1_500, 2_999, 3_000, 3_001, 32_999, 33_000, 62_999, 63_000].filter((nowMs, index) =>
    progress.isDue(index + 1, nowMs),
  );
  expect(dueAt).toEqual([3_000, 33_000, 63_000]);
});

test('only bytes beyond the best so far are a gain: a server that starts over each time gains nothing', () => {
  const progress = new Progress(0, 1_000);
  progress.isDue(1_000, 1);
  expect(progress.gained).toBe(false);
  progress.isDue(1_001, 2);
  expect(progress.gained).toBe(true);
  expect(progress.bestBytes).toBe(1_001);
});
