import { afterEach, beforeEach, expect, jest, test } from 'bun:test';
import { AgentError } from '../../src/core/errors.ts';
import type { MqttLink } from '../../src/io/mqtt.ts';
import { watched } from '../../src/io/watchdog.ts';
import { FakeLink } from '../support/io-fake-link.ts';
import { caught, settle } from '../support/io-helpers.ts';

const never = new AbortController().signal;

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

test('a client that does not connect is left after two minutes; should it come after all, it is ended', async () => {
  const late = Promise.withResolvers<MqttLink>();
  let given: AbortSignal | undefined;
  const connect = watched((signal) => {
    given = signal;
    return late.promise;
  });
  const failed = caught(connect(never));
  jest.advanceTimersByTime(119_999);
  expect(given?.aborted).toBe(false);
  jest.advanceTimersByTime(1);
  const error = await failed;
  expect([error.code, error.retry]).toEqual(['TIMEOUT', 'soon']);
  expect(given?.reason).toBe(error);
  const link = new FakeLink();
  late.resolve(link);
  jest.useRealTimers();
  await settle();
  expect(link.ends).toBe(1);
});

test('a client that connects, or fails by itself, is not disturbed', async () => {
  const link = new FakeLink();
  expect(await watched(async () => link)(never)).toBe(link);
  const reason = new AgentError('NETWORK', 'no');
  expect(await caught(watched(() => Promise.reject(reason))(never))).toBe(reason);
  jest.advanceTimersByTime(600_000);
  expect(link.ends).toBe(0);
});
