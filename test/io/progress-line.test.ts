import { expect, test } from 'bun:test';
import type { StatusOfFile } from '../../src/core/status.ts';
import { progressLine } from '../../src/io/progress-line.ts';

function downloading(progress: StatusOfFile['progress']): StatusOfFile {
  const nothing = { installed: null, desired: null, error: null, attempt: null, retryAt: null };
  return { path: '/x', status: 'downloading', ...nothing, progress };
}

const files = {
  a: downloading({ bytes: 2_500_000, size: 10_000_000, bytesPerSecond: 500_000 }),
  b: downloading({ bytes: 1_200_000, size: null, bytesPerSecond: 100 }),
  new: downloading({ bytes: 1, size: 10, bytesPerSecond: null }),
  idle: downloading(null),
};

test('the line tells of each download how far, how fast and how long, from its second on', () => {
  expect(progressLine(files, 80)).toBe(
    'a: 2.5 MB of 10.0 MB (25 %), 500.0 kB/s, 15 s left | b: 1.2 MB, 100 B/s',
  );
});

test('where it does not fit either, several downloads are told in one', () => {
  const three = {
    a: files.a,
    b: downloading({ bytes: 500_000, size: 5_000_000, bytesPerSecond: 100_000 }),
    c: files.a,
  };
  expect(progressLine(three, 60)).toBe('a: 25 %, 15 s left | b: 10 %, 45 s left | c: 25 %, 15 s left');
  expect(progressLine(three, 57)).toBe('3 downloads: 22 %, 18 s left');
  expect(progressLine(files, 20)).toBe('2 downloads: 3.7 MB');
});

test('where it does not fit, how far and how long remain', () => {
  expect(progressLine(files, 60)).toBe('a: 25 %, 15 s left | b: 1.2 MB');
  expect(progressLine({ a: downloading({ bytes: 1, size: 4, bytesPerSecond: 0 }) }, 5)).toBe('a: 25 %');
});
