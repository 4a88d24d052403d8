import { expect, test } from 'bun:test';
import { Seldom } from '../../src/io/seldom.ts';
import { RecordingLog } from '../support/io-helpers.ts';

test('of many warnings one is shown a minute, with the number of those that were not', () => {
  const log = new RecordingLog();
  let nowMs = 5;
  const seldom = new Seldom(log, () => nowMs);
  for (let count = 0; count < 1_000; count += 1) seldom.warning('Dropped', { count });
  nowMs += 59_999;
  seldom.warning('Dropped', { count: 1_000 });
  nowMs += 1;
  seldom.warning('Dropped', { count: 1_001 });
  nowMs += 60_000;
  seldom.warning('Dropped', { count: 1_002 });
  expect(log.of('warning').map(({ fields }) => fields)).toEqual([
    { count: 0 },
    { count: 1_001, moreBefore: 1_000 },
    { count: 1_002 },
  ]);
  expect(log.of('debug').length).toBe(1_000);
});
