import { expect, test } from 'bun:test';
import { otherConfiguration } from '../../src/core/other-configuration.ts';
import type { AgentStatus } from '../../src/core/status.ts';

const file = {
  path: '/a',
  status: 'none',
  installed: null,
  desired: null,
  progress: null,
  error: null,
} as const;
const running: AgentStatus = {
  version: '0.1.0',
  pid: 4711,
  startedAt: null,
  thing: 'test-thing',
  shadow: null,
  configHash: 'abc',
  link: null,
  certificate: { notAfter: '2049-12-31T23:59:59Z' },
  warnings: [],
  files: { s3: { ...file, attempt: null, retryAt: null } },
};
const now = { thingName: 'test-thing', files: [{ property: 's3', path: '/a' }], sourceHash: 'abc' };

test('the same configuration is no other one, and neither is one of which no more is known', () => {
  expect(otherConfiguration(running, now)).toBeUndefined();
  expect(otherConfiguration({ ...running, configHash: null }, now)).toBeUndefined();
  const { sourceHash: _, ...flags } = now;
  expect(otherConfiguration(running, flags)).toBeUndefined();
});

test('an agent that does not run has none', () => {
  expect(otherConfiguration({ ...running, pid: null, files: {} }, now)).toBeUndefined();
});

test.each([
  [
    { thingName: 'other' },
    'follows the classic shadow of test-thing; this configuration says the classic shadow of other',
  ],
  [
    { shadowName: 'files' },
    'follows the classic shadow of test-thing; this configuration says shadow files of test-thing',
  ],
  [{ files: [] }, 'has another configuration: it keeps a file "s3" besides'],
  [{ files: [{ property: 's3', path: '/b' }] }, 'has another configuration: it keeps "s3" at /a, not at /b'],
  [
    { files: [{ property: 't', path: '/b' }] },
    'has another configuration: it keeps no file "t"; it keeps a file "s3" besides',
  ],
  [
    { sourceHash: 'def' },
    'has another configuration: the file says something else than when the agent was started',
  ],
])('with %j: %s', (changes, text) => {
  expect(otherConfiguration(running, { ...now, ...changes })?.message).toBe(
    `the running agent (pid 4711) ${text}`,
  );
});
