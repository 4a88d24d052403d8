import { expect, test } from 'bun:test';
import { ServerTime } from '../../src/io/server-time.ts';
import { FakeClock } from '../support/io-fake-clock.ts';

const nowMs = Date.UTC(2026, 0, 1, 12);
const yearMs = 365 * 86_400_000;
const date = new Date(nowMs).toUTCString();

test('is the clock of the device as long as nothing better is known', () => {
  const clock = new FakeClock(nowMs);
  const time = new ServerTime(clock);
  clock.stepWall(5000);
  expect(time.nowMs()).toBe(nowMs + 5000);
});

test.each([-yearMs, yearMs])(
  'is that of AWS once an answer was seen, by a clock that is wrong by %i ms',
  (wrongMs) => {
    const clock = new FakeClock(nowMs + wrongMs);
    const time = new ServerTime(clock);
    time.learn(date);
    expect(time.nowMs()).toBe(nowMs);
    clock.advance(60_000);
    clock.stepWall(yearMs);
    expect(time.nowMs()).toBe(nowMs + 60_000);
    time.learn(new Date(nowMs + 90_000).toISOString());
    expect(time.nowMs()).toBe(nowMs + 90_000);
  },
);

test.each([null, '', 'soon', '{}'])('learns nothing from %p', (text) => {
  const time = new ServerTime(new FakeClock(nowMs));
  time.learn(text);
  expect(time.nowMs()).toBe(nowMs);
});
