import { describe, expect, test } from 'bun:test';
import { editDistance, nearest } from '../../src/core/nearest.ts';

describe('nearest()', () => {
  const keys = ['thingName', 'clientId', 'stateDir', 'ca', 'key', 'keepPrevious'];

  test.each([
    ['thing_name', 'thingName'],
    ['THINGNAME', 'thingName'],
    ['clientIdd', 'clientId'],
    ['stateDirectory', undefined],
    ['keeprevius', 'keepPrevious'],
    ['cA', 'ca'],
    ['x', undefined],
    ['', undefined],
    ['x'.repeat(1_000_000), undefined],
  ])('of %p is %p', (name, expected) => {
    expect(nearest(name, keys)).toBe(expected);
  });
});

describe('editDistance()', () => {
  test.each([
    ['', '', 0],
    ['', 'abc', 3],
    ['kitten', 'sitting', 3],
    ['ab', 'ba', 2],
  ])('between %p and %p is %p', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
    expect(editDistance(b, a)).toBe(distance);
  });
});
