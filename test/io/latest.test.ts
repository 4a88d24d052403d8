import { expect, test } from 'bun:test';
import { Latest } from '../../src/io/latest.ts';

test('a replacement aborts the signal of the value before, and only that', () => {
  const latest = new Latest('a');
  const first = latest.replaced;
  expect(latest.value).toBe('a');
  expect(first.aborted).toBe(false);
  latest.set('b');
  expect(latest.value).toBe('b');
  expect(first.aborted).toBe(true);
  expect(latest.replaced.aborted).toBe(false);
});

test('whoever is woken by the signal already sees the new value and a fresh signal', () => {
  const latest = new Latest(1);
  const seen: Array<[number, boolean]> = [];
  latest.replaced.addEventListener('abort', () => seen.push([latest.value, latest.replaced.aborted]));
  latest.set(2);
  expect(seen).toEqual([[2, false]]);
});

test('a listener may set the next value at once', () => {
  const latest = new Latest(1);
  latest.replaced.addEventListener('abort', () => latest.set(3));
  latest.set(2);
  expect(latest.value).toBe(3);
  expect(latest.replaced.aborted).toBe(false);
});

test('the same value set again counts as a replacement', () => {
  const latest = new Latest<undefined>(undefined);
  const { replaced } = latest;
  latest.set(undefined);
  expect(replaced.aborted).toBe(true);
});
