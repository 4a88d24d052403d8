import { expect, test } from 'bun:test';
import { Progress } from '../../src/core/progress.ts';

test('the shadow is told of a download after 2 s, and then every 30 s', () => {
  const progress = new Progress(1_000, 0);
  const dueAt = [1_500, 2_999, 3_000, 3_001, 32_999, 33_000, 62_999, 63_000].filter((nowMs) =>
    progress.isReportDue(nowMs),
  );
  expect(dueAt).toEqual([3_000, 33_000, 63_000]);
});

test('only bytes beyond the best so far are a gain: a server that starts over each time gains nothing', () => {
  const progress = new Progress(0, 1_000);
  progress.take(1_000, undefined, 1);
  expect(progress.gained).toBe(false);
  progress.take(1_001, undefined, 2);
  expect(progress.gained).toBe(true);
  expect(progress.bestBytes).toBe(1_001);
});

/** The seconds at which the log is told, of a download that brings so many bytes each second. */
function loggedAt(bytesEachSecond: number, seconds: number, size: number | undefined, from = 0): number[] {
  const progress = new Progress(0, from);
  const told: number[] = [];
  for (let second = 1; second <= seconds; second += 1) {
    progress.take(from + second * bytesEachSecond, size, second * 1000);
    if (progress.isLogDue(second * 1000)) told.push(second);
  }
  return told;
}

test('the log is told after 30 s or a tenth of the object, whichever is sooner, but not within 2 s', () => {
  expect(loggedAt(100, 100, 10_000)).toEqual([10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
  expect(loggedAt(1, 100, 1_000)).toEqual([30, 60, 90]);
  expect(loggedAt(1, 100, undefined)).toEqual([30, 60, 90]);
  expect(loggedAt(1_000, 9, 9_000)).toEqual([2, 4, 6, 8]);
});

test('what earlier attempts brought is no progress of this one', () => {
  expect(loggedAt(10, 25, 1_000, 500)).toEqual([10, 20]);
});

test('the rate is that of the last ten seconds', () => {
  const progress = new Progress(0, 0);
  expect(progress.transfer(0)).toBeUndefined();
  progress.take(500, 100_000, 0);
  expect(progress.transfer(999)).toEqual({ bytes: 500, size: 100_000 });
  for (let second = 1; second <= 30; second += 1) progress.take(500 + second * 100, 100_000, second * 1000);
  expect(progress.transfer(30_000)).toEqual({ bytes: 3_500, size: 100_000, bytesPerSecond: 100 });
  for (let second = 31; second <= 50; second += 1)
    progress.take(3_500 + (second - 30) * 1_000, 100_000, second * 1000);
  expect(progress.transfer(50_000)?.bytesPerSecond).toBe(1_000);
  // A stall shows.
  expect(progress.transfer(70_000)?.bytesPerSecond).toBeLessThan(400);
});

test('a download that is begun anew has a rate from its new start on', () => {
  const progress = new Progress(0, 0);
  progress.take(90_000, undefined, 0);
  progress.take(100_000, undefined, 1_000);
  progress.take(0, undefined, 2_000);
  progress.take(500, undefined, 3_000);
  expect(progress.transfer(3_000)).toEqual({ bytes: 500, bytesPerSecond: 500 });
});
