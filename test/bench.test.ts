import { expect, test } from 'bun:test';
import { aboveAim } from './bench/aims.ts';

test('a bench fails for each ratio above its aim, and for no other figure', () => {
  const rows = [
    { play: 'cut', aim: 1.02, ratio: 1.0201, seconds: 3 },
    { play: 'kill', aim: 1.05, ratio: 1.05, seconds: 900 },
    { play: 'fleet', requests: 400 },
  ];
  expect(aboveAim(rows)).toEqual(['cut: the ratio 1.0201 is above the aim of 1.02']);
});
