import { describe, expect, test } from 'bun:test';
import * as v from 'valibot';
import { parseDesired } from '../../src/core/artifact.ts';
import { painter } from '../../src/core/paint.ts';
import { Progress } from '../../src/core/progress.ts';
import type { Failure, Snapshot } from '../../src/core/reconcile.ts';
import {
  type AgentStatus,
  agentStatusSchema,
  isWell,
  statusOfFile,
  statusOfWarning,
  warningsOf,
} from '../../src/core/status.ts';
import { statusText } from '../../src/core/status-text.ts';
import { timeText } from '../../src/core/words.ts';

const [old, wanted] = ['a', 'b'].map((digit) => digit.repeat(64)) as [string, string];
const value = { url: 's3://bucket/key', hash: wanted };
const desired = parseDesired(value, {});
const moment = { nowMs: 10_000, wallMs: Date.UTC(2026, 10, 25, 10) };
const failure: Failure = {
  value,
  code: 'S3_NOT_FOUND',
  message: 'Cannot get it',
  hint: 'upload it',
  retry: 'slow',
  attempt: 3,
  retryAtMs: 250_000,
};

function of(snapshot: Snapshot, progress?: Progress) {
  return statusOfFile('/tmp/f', snapshot, progress, moment);
}

describe('the status of a file', () => {
  test('is unknown, none, pending, current, waiting or failed', () => {
    const installed = { sha256: wanted };
    expect(of({ desired: { kind: 'unknown' } }).status).toBe('unknown');
    expect(of({ desired: { kind: 'absent', noShadow: false } }).status).toBe('none');
    expect(of({ desired }).status).toBe('pending');
    expect(of({ desired, installed }).status).toBe('current');
    expect(of({ desired, failure }).status).toBe('failed');
    expect(of({ desired, failure: { ...failure, retry: 'soon' } }).status).toBe('waiting');
    const pending = { step: 'apply', sha256: wanted, value, keep: true, runs: 0 } as const;
    expect(of({ desired, installed, pending }).status).toBe('waiting');
    expect(of({ desired, pending, failure }).status).toBe('failed');
    expect(of({ desired: parseDesired({ url: 7 }, {}) })).toMatchObject({
      status: 'failed',
      desired: null,
      error: { code: 'DESIRED_INVALID' },
    });
  });

  test('tells what is installed and wanted, the error, and when it is tried again', () => {
    expect(of({ desired, installed: { sha256: old }, failure })).toEqual({
      path: '/tmp/f',
      status: 'failed',
      installed: old,
      desired: { url: 's3://bucket/key', hash: wanted, versionId: null, size: null },
      progress: null,
      error: { code: 'S3_NOT_FOUND', message: 'Cannot get it', hint: 'upload it' },
      attempt: 3,
      retryAt: '2026-11-25T10:04:00Z',
    });
  });

  test('has the progress of a download that runs, and the error of the attempt before it', () => {
    const progress = new Progress(0, 0);
    progress.take(100, 1_000, 5_000);
    expect(of({ desired, failure }, progress)).toMatchObject({
      status: 'downloading',
      progress: { bytes: 100, size: 1_000, bytesPerSecond: 0 },
      error: { code: 'S3_NOT_FOUND' },
      retryAt: null,
    });
  });

  test('tells the error that an earlier run has left for as long as the shadow has not answered', () => {
    const unknown = { kind: 'unknown' } as const;
    expect(of({ desired: unknown, failure })).toMatchObject({
      status: 'unknown',
      error: { code: 'S3_NOT_FOUND' },
      attempt: 3,
    });
    expect(of({ desired: unknown, held: { sha256: wanted } }).error?.code).toBe('HELD');
  });

  test('tells what was desired last for as long as the shadow has not answered', () => {
    if (desired.kind !== 'artifact') throw new Error('nothing is desired');
    const last = { value: desired.value, artifact: desired.artifact };
    expect(of({ desired: { kind: 'unknown', last }, installed: { sha256: old } })).toMatchObject({
      status: 'unknown',
      installed: old,
      desired: { url: 's3://bucket/key', hash: wanted },
    });
    expect(of({ desired: { kind: 'unknown' } }).desired).toBeNull();
  });

  test('says nothing of a failure that answers another desired value', () => {
    expect(of({ desired, failure: { ...failure, value: { url: 'other' } } }).error).toBeNull();
  });
});

const running: AgentStatus = {
  version: '0.1.0',
  pid: 4711,
  startedAt: '2026-11-25T06:48:00Z',
  thing: 'test-thing',
  shadow: null,
  configHash: null,
  link: { connected: true, since: '2026-11-25T09:59:00Z', lastAnswerAt: '2026-11-25T09:59:30Z', error: null },
  certificate: { notAfter: '2049-12-31T23:59:59Z' },
  warnings: [],
  files: { s3: of({ desired, installed: { sha256: wanted } }) },
};

test('all is well while an agent is connected and no file has an error', () => {
  expect(isWell(running)).toBe(true);
  expect(isWell({ ...running, files: { s3: of({ desired, failure }) } })).toBe(false);
  expect(isWell({ ...running, link: null })).toBe(false);
  const link = { connected: false, since: null, lastAnswerAt: null, error: null };
  expect(isWell({ ...running, link })).toBe(false);
});

test('what the agent answers is what the command reads', () => {
  expect(v.parse(agentStatusSchema, JSON.parse(JSON.stringify(running)))).toEqual(running);
});

test('what an agent answers that knows of no warnings is read all the same', () => {
  const { warnings: _, ...older } = running;
  expect(v.parse(agentStatusSchema, older)).toEqual(running);
});

test('a certificate that ends within 30 days is a warning in words, in the text and for programs', () => {
  const { wallMs } = moment;
  const ending = (days: number): AgentStatus => ({
    ...running,
    certificate: { notAfter: timeText(wallMs + days * 86_400_000) },
  });
  const warned = (days: number) => warningsOf(ending(days), wallMs).map(({ message }) => message);
  expect([30.5, 29.5, 1.5, 0.5, -1].map(warned)).toEqual([
    [],
    ['the certificate expires in 29 days'],
    ['the certificate expires in 1 day'],
    ['the certificate expires within a day'],
    ['the certificate has expired'],
  ]);
  const text = statusText(ending(11.5), { wallMs, paint: painter(false), columns: undefined });
  expect(text).toContain('\nwarning      the certificate expires in 11 days\nhint         make another one');
  expect(isWell(ending(11.5))).toBe(true);
});

test('a warning of the agent says since when', () => {
  const told = { code: 'IDENTITY_INVALID', message: 'the key is refused', sinceMs: 4_000 } as const;
  const status = { ...running, warnings: [statusOfWarning(told, moment)] };
  const { wallMs } = moment;
  const text = statusText(status, { wallMs, paint: painter(false), columns: undefined });
  expect(text).toContain('\nwarning      since 2026-11-25T09:59:54Z: the key is refused\n\ns3\n');
});

test('the text is aligned, folded, coloured where asked for, and has nothing of a control character', () => {
  const evil = { ...failure, message: 'bad\u001b[2J\nerror: forged' };
  const status = { ...running, files: { s3: of({ desired, installed: { sha256: old }, failure: evil }) } };
  const { wallMs } = moment;
  const plain = statusText(status, { wallMs, paint: painter(false), columns: undefined });
  expect(
    plain,
  ).toBe(`agent        version 0.1.0, running for 3 h 12 min (since 2026-11-25T06:48:00Z, pid 4711)
thing        test-thing
link         connected for 1 min (since 2026-11-25T09:59:00Z); last answer 30 s ago
certificate  valid until 2049-12-31T23:59:59Z (8,437 days left)

s3
  status       failed: somebody has to mend it
  path         /tmp/f
  installed    ${old}
  wanted       ${wanted}
  from         s3://bucket/key
  error        S3_NOT_FOUND: bad [2J error: forged
  hint         upload it
  attempts     3 in a row
  next try     in 4 min (2026-11-25T10:04:00Z)
`);
  const coloured = statusText(status, { wallMs, paint: painter(true), columns: 60 });
  expect(coloured).toContain('\u001b[31mfailed: somebody has to mend it\u001b[0m');
  expect(coloured).toContain(' (since\n             2026-11-25T06:48:00Z, pid 4711)\n');
});

test.each([
  ['a hook that runs', null, 'waiting: for its hook'],
  ['a rollback', 'HELD', 'waiting: rolled back here, held until another hash is desired'],
  ['an error', 'NETWORK', 'waiting: an error that is likely to pass'],
] as const)('for people, a file that waits for %s says so', (_name, code, words) => {
  const error = code === null ? null : { code, message: 'why', hint: null };
  const file = { ...of({ desired }), status: 'waiting' as const, error };
  const agent = { ...running, files: { s3: file } };
  expect(statusText(agent, { wallMs: moment.wallMs, paint: painter(false), columns: undefined })).toContain(
    words,
  );
});
