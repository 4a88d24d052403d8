import { expect, test } from 'bun:test';
import { aboveAim } from './bench/aims.ts';
import { Growth } from './bench/growth.ts';
import { secondsOf, UsageError } from './bench/usage.ts';

test('a bench fails for each ratio above its aim, and for no other figure', () => {
  const rows = [
    { play: 'cut', aim: 1.02, ratio: 1.0201, seconds: 3 },
    { play: 'kill', aim: 1.05, ratio: 1.05, seconds: 900 },
    { play: 'fleet', requests: 400 },
  ];
  expect(aboveAim(rows)).toEqual(['cut: the ratio 1.0201 is above the aim of 1.02']);
});

/** Rounds of 10 s, each with some samples of a program that had 30 MB at first. */
function watched(rounds: number, kBPerMinute: number, descriptors = (_seconds: number) => 11) {
  const growth = new Growth();
  for (let seconds = 0; seconds < rounds * 10; seconds += 1) {
    // A runtime that fills its pools, what is grown, and garbage that comes and goes.
    const kB = 30_000 * (1 - Math.exp(-seconds / 10)) + (kBPerMinute * seconds) / 60 + (seconds % 5) * 4_000;
    growth.add({ seconds, bytes: kB * 1_000, descriptors: descriptors(seconds) });
    if (seconds % 10 === 9) growth.endRound();
  }
  const { rows, verdict } = growth.judge();
  return { misses: aboveAim(rows), verdict };
}

test('a soak of two minutes fails where memory grows by 8 MB a minute, and not for garbage or pools that fill', () => {
  expect(watched(12, 0)).toEqual({ misses: [], verdict: expect.stringContaining('Verdict: no growth (') });
  const { misses, verdict } = watched(12, 8_000);
  expect(misses).toEqual([expect.stringContaining('growth of anonymous memory, kB a minute: the ratio ')]);
  expect(verdict).toContain('Verdict: it grows (growth of anonymous memory, kB a minute: ');
});

test('a soak of an hour fails where memory grows by half a megabyte a minute', () => {
  expect(watched(360, 100).misses).toEqual([]);
  expect(watched(360, 500).misses.length).toBe(1);
});

test('a soak fails where descriptors grow', () => {
  const leak = (seconds: number) => 11 + Math.floor(seconds / 10);
  expect(watched(12, 0, leak).verdict).toContain('it grows (growth of descriptors a minute: 6');
});

test('a soak that is too short for a verdict says so', () => {
  const { misses, verdict } = watched(5, 8_000);
  expect(misses).toEqual([]);
  expect(verdict).toBe(
    'Verdict: none on growth, 2 rounds after the warm-up are too few (--seconds 120 is enough)',
  );
});

test('--seconds takes a whole number of seconds, and says so', () => {
  expect(secondsOf('120')).toBe(120);
  for (const text of ['2m', '', '0', '-5', '1e3', '1.5', ' 7']) {
    expect(() => secondsOf(text)).toThrow(UsageError);
    expect(() => secondsOf(text)).toThrow(`a whole number of seconds, not ${JSON.stringify(text)}`);
  }
});
