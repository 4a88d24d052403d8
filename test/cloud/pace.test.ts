import { expect, test } from 'bun:test';
import { paceOf } from '../../src/cloud/pace.ts';

test('turns come evenly, at most so many a second, and lost ones are not made up for', async () => {
  let now = 0;
  const waits: number[] = [];
  const pace = paceOf(10, {
    nowMs: () => now,
    sleep: async (milliseconds) => {
      waits.push(milliseconds);
    },
  });
  await Promise.all([pace(), pace(), pace()]);
  expect(waits).toEqual([100, 200]);
  now = 5000;
  waits.length = 0;
  await Promise.all([pace(), pace()]);
  expect(waits).toEqual([100]);
});
