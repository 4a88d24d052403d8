import { expect, test } from 'bun:test';
import { Throttle } from '../../src/io/throttle.ts';
import { FakeClock } from '../support/io-fake-clock.ts';
import { settle } from '../support/io-helpers.ts';

const never = new AbortController().signal;

test('bytes are waited for as long as they take at the limit', async () => {
  const clock = new FakeClock();
  const throttle = new Throttle(clock, 1000);
  const passed = pass(throttle, 500, never);
  expect(clock.sleeps).toEqual([500]);
  clock.advance(499);
  expect(await isSettled(passed)).toBe(false);
  clock.advance(1);
  expect(await isSettled(passed)).toBe(true);
});

test('several that take at the same time share the limit', async () => {
  const clock = new FakeClock();
  const throttle = new Throttle(clock, 1000);
  const startedMs = clock.nowMs();
  const ended: number[] = [];
  const take = async (chunks: number) => {
    for (let turn = 0; turn < chunks; turn += 1) await pass(throttle, 100, never);
    ended.push(clock.nowMs() - startedMs);
  };
  const all = Promise.all([take(10), take(10), take(5)]);
  for (let turn = 0; turn < 400 && ended.length < 3; turn += 1) {
    clock.advance(10);
    await settle();
  }
  await all;
  expect(Math.max(...ended)).toBe(2500);
});

test('time in which nothing came is not saved up', async () => {
  const clock = new FakeClock();
  const throttle = new Throttle(clock, 1000);
  const first = pass(throttle, 100, never);
  clock.advance(60_000);
  await first;
  void pass(throttle, 300, never);
  expect(clock.sleeps).toEqual([100, 300]);
});

test('time that passed between two chunks is taken off the wait', async () => {
  const clock = new FakeClock();
  const throttle = new Throttle(clock, 1000);
  void pass(throttle, 500, never);
  clock.advance(200);
  void pass(throttle, 500, never);
  expect(clock.sleeps).toEqual([500, 800]);
});

test('an abort ends the wait, and what came is paid for all the same', async () => {
  const clock = new FakeClock();
  const throttle = new Throttle(clock, 1000);
  const abort = new AbortController();
  const passed = pass(throttle, 10_000, abort.signal);
  expect(await isSettled(passed)).toBe(false);
  clock.advance(4_000);
  abort.abort();
  await passed;
  void pass(throttle, 100, never);
  expect(clock.sleeps).toEqual([10_000, 6_100]);
});

test('bytes that nobody waits for are paid for by those who come next', async () => {
  const clock = new FakeClock();
  const throttle = new Throttle(clock, 1000);
  throttle.charge(2_000);
  void pass(throttle, 100, never);
  expect(clock.sleeps).toEqual([2_100]);
});

test('an abort of one spares nobody else what is to be paid for before', async () => {
  const clock = new FakeClock();
  const throttle = new Throttle(clock, 1000);
  const abort = new AbortController();
  const first = pass(throttle, 3_000, abort.signal);
  void pass(throttle, 2_000, never);
  abort.abort();
  await first;
  void pass(throttle, 100, never);
  expect(clock.sleeps).toEqual([3_000, 5_000, 5_100]);
});

function pass(throttle: Throttle, bytes: number, signal: AbortSignal): Promise<void> {
  throttle.charge(bytes);
  return throttle.wait(signal);
}

async function isSettled(promise: Promise<void>): Promise<boolean> {
  let settled = false;
  void promise.then(() => {
    settled = true;
  });
  await settle();
  return settled;
}
