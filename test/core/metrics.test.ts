import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Counters } from '../../src/core/counters.ts';
import { lastAnswerIn, metricsText } from '../../src/core/metrics.ts';
import type { Outcome, Snapshot } from '../../src/core/reconcile.ts';
import type { AgentStatus } from '../../src/core/status.ts';
import { program, toolTest } from '../support/tools.ts';

const promtool = program('promtool', 'prometheus');
const [old, wanted] = ['a', 'b'].map((digit) => digit.repeat(64)) as [string, string];
const file = {
  path: '/tmp/f',
  status: 'failed' as const,
  installed: old,
  desired: { url: 's3://b/k', hash: wanted, versionId: null, size: null },
  progress: null,
  error: { code: 'INSTALL' as const, message: 'm', hint: null },
  attempt: null,
  retryAt: null,
};
const status: AgentStatus = {
  version: '0.1.0',
  pid: 1,
  startedAt: '2026-11-25T10:00:00Z',
  thing: 'test-thing',
  shadow: null,
  configHash: null,
  link: { connected: true, since: null, lastAnswerAt: '2026-11-25T10:00:05Z', error: null },
  certificate: { notAfter: '2027-11-25T10:00:00Z' },
  warnings: [],
  files: { s3: file, 'a"b\\': { ...file, installed: null, desired: null, error: null } },
};

const value = { hash: wanted };
const pending = { step: 'apply', sha256: wanted, value, keep: true, runs: 1 } as const;
const installed: Outcome = { kind: 'installed', value, installed: { sha256: wanted } };
const failed = (code: 'NETWORK' | 'INSTALL'): Outcome => ({
  kind: 'failed',
  value,
  error: { code, message: 'm', retry: 'soon' },
  gained: false,
});
const before: Snapshot = { desired: { kind: 'unknown' } };
const afterFailure = (of = value): Snapshot => ({
  ...before,
  failure: { value: of, code: 'NETWORK', message: 'm', retry: 'soon', attempt: 1 },
});

function played(): Counters {
  const counters = new Counters(Object.keys(status.files));
  counters.receive(4000);
  counters.receive(711);
  counters.count('s3', before, failed('NETWORK'));
  counters.count('s3', afterFailure(), failed('NETWORK'));
  counters.count('s3', afterFailure(), failed('INSTALL'));
  counters.count('s3', afterFailure(), { kind: 'waited' });
  counters.count('s3', afterFailure(), { kind: 'superseded' });
  counters.count('s3', afterFailure(), installed);
  counters.count('s3', afterFailure({ hash: old }), installed);
  counters.failLink('MQTT');
  return counters;
}

test('counts installs, failures by code, and each further attempt at a value that has failed as a retry', () => {
  const counters = played();
  expect(counters.installs.get('s3')).toBe(2);
  expect([...(counters.failures.get('s3') ?? [])]).toEqual([
    ['NETWORK', 2],
    ['INSTALL', 1],
  ]);
  expect(counters.retries.get('s3')).toBe(3);
});

test('a file with a hook counts as installed once its hook has taken it, and what it refuses as failed and put back', () => {
  const counters = new Counters(['s3']);
  const figures = () => [counters.installs, counters.rollbacks].map((counts) => counts.get('s3'));
  counters.count('s3', before, { ...installed, pending: { ...pending, runs: 0 } });
  expect(figures()).toEqual([0, 0]);
  counters.count('s3', { ...before, pending }, { kind: 'hooked' });
  expect(figures()).toEqual([1, 0]);
  const refused = { message: 'The hook exited with 1' };
  counters.count('s3', { ...before, pending }, { kind: 'hooked', failed: refused });
  counters.count('s3', { ...before, pending: { ...pending, step: 'back' } }, { kind: 'put-back' });
  counters.count('s3', { ...before, pending: { ...pending, step: 'reapply' } }, { kind: 'hooked' });
  expect(figures()).toEqual([1, 1]);
  expect([...(counters.failures.get('s3') ?? [])]).toEqual([['HOOK_FAILED', 1]]);
});

test('counts desired values that are refused', () => {
  const counters = new Counters(['s3']);
  counters.refuse('s3', 'DESIRED_INVALID');
  counters.refuse('s3', 'NOT_ALLOWED');
  counters.refuse('s3', 'DESIRED_INVALID');
  expect([...(counters.failures.get('s3') ?? [])]).toEqual([
    ['DESIRED_INVALID', 2],
    ['NOT_ALLOWED', 1],
  ]);
});

test('is told in the text format of Prometheus, labels escaped and times in seconds', () => {
  const lines = metricsText(played(), status).split('\n');
  const samples = lines.filter((line) => line !== '' && !line.startsWith('#'));
  expect(samples).toEqual([
    'shadow_agent_build_info{version="0.1.0"} 1',
    'shadow_agent_start_time_seconds 1795600800',
    'shadow_agent_link_up 1',
    'shadow_agent_last_answer_timestamp_seconds 1795600805',
    'shadow_agent_certificate_not_after_timestamp_seconds 1827136800',
    'shadow_agent_link_failures_total{code="MQTT"} 1',
    'shadow_agent_installs_total{property="s3"} 2',
    'shadow_agent_installs_total{property="a\\"b\\\\"} 0',
    'shadow_agent_failures_total{property="s3",code="NETWORK"} 2',
    'shadow_agent_failures_total{property="s3",code="INSTALL"} 1',
    'shadow_agent_retries_total{property="s3"} 3',
    'shadow_agent_retries_total{property="a\\"b\\\\"} 0',
    'shadow_agent_rollbacks_total{property="s3"} 0',
    'shadow_agent_rollbacks_total{property="a\\"b\\\\"} 0',
    'shadow_agent_received_bytes_total 4711',
    'shadow_agent_file_up_to_date{property="s3"} 0',
    'shadow_agent_file_error{property="s3",code="INSTALL"} 1',
    `shadow_agent_file_info{property="s3",sha256="${old}"} 1`,
  ]);
});

test('says of each counter that it begins with the run', () => {
  const text = metricsText(played(), status);
  const names = [...text.matchAll(/^# TYPE (\S+) counter$/gm)].map(([, name]) => name);
  expect(names.length).toBe(6);
  for (const name of names) expect(text).toMatch(new RegExp(`^# HELP ${name} .*since the start`, 'm'));
});

test('leaves out what is not known yet', () => {
  const text = metricsText(new Counters([]), { ...status, link: null, files: {} });
  expect(text).toContain('shadow_agent_link_up 0\n');
  for (const name of ['failures', 'file_']) expect(text).not.toContain(`shadow_agent_${name}`);
});

test('always tells the last answer: that of an earlier run as long as there is none, and 0 where nobody knows of one', () => {
  const silent = { ...status, link: null };
  const first = metricsText(new Counters([]), silent);
  expect(first).toContain('shadow_agent_last_answer_timestamp_seconds 0\n');
  const answered = metricsText(new Counters([]), status, lastAnswerIn(first));
  expect(answered).toContain('shadow_agent_last_answer_timestamp_seconds 1795600805\n');
  const restarted = metricsText(new Counters([]), silent, lastAnswerIn(answered));
  expect(restarted).toContain('shadow_agent_last_answer_timestamp_seconds 1795600805\n');
  for (const rubbish of ['', 'shadow_agent_last_answer_timestamp_seconds 1e99\n', '\0\0'])
    expect(lastAnswerIn(rubbish)).toBe(0);
});

toolTest([promtool], 'promtool finds nothing to say against the names', () => {
  const {
    status: code,
    stdout,
    stderr,
  } = spawnSync(promtool.path, ['check', 'metrics'], {
    input: metricsText(played(), status),
    encoding: 'utf8',
  });
  expect([code, stdout, stderr]).toEqual([0, '', '']);
});

toolTest(
  [promtool],
  'promtool takes the queries of the README, and each metric in them is there',
  async () => {
    const rows = readFileSync('README.md', 'utf8').matchAll(/^\| .* \| `(.*shadow_agent_.*)`.*\|$/gm);
    const queries = [...rows].map(([, query = '']) => query.replaceAll('\\|', '|'));
    expect(queries.length).toBe(4);
    const rules = queries.map((expr, index) => ({ alert: `Alert${index}`, expr }));
    const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-rules-'));
    try {
      const path = join(dir, 'rules.yml');
      await writeFile(path, JSON.stringify({ groups: [{ name: 'device', rules }] }));
      const check = spawnSync(promtool.path, ['check', 'rules', path], { encoding: 'utf8' });
      expect([check.status, check.stderr]).toEqual([0, '']);
    } finally {
      await rm(dir, { recursive: true });
    }
    const text = metricsText(played(), status);
    for (const [name] of queries.join(' ').matchAll(/shadow_agent_\w+/g))
      expect(text).toContain(`# TYPE ${name} `);
  },
);
