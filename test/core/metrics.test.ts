import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { Counters, metricsText } from '../../src/core/metrics.ts';
import type { Outcome } from '../../src/core/reconcile.ts';
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
  error: null,
  attempt: null,
  retryAt: null,
};
const status: AgentStatus = {
  version: '0.1.0',
  pid: 1,
  startedAt: '2026-11-25T10:00:00Z',
  thing: 'test-thing',
  shadow: null,
  link: { connected: true, since: null, lastAnswerAt: '2026-11-25T10:00:05Z', error: null },
  certificate: { notAfter: '2027-11-25T10:00:00Z' },
  files: { s3: file, 'a"b\\': { ...file, installed: null, desired: null } },
};

const installed: Outcome = { kind: 'installed', value: {}, installed: { sha256: old } };
const failed = (code: 'NETWORK' | 'INSTALL'): Outcome => ({
  kind: 'failed',
  value: {},
  error: { code, message: 'm', retry: 'soon' },
  gained: false,
});

function played(): Counters {
  const counters = new Counters(Object.keys(status.files));
  for (const outcome of [
    installed,
    failed('NETWORK'),
    failed('NETWORK'),
    failed('INSTALL'),
    installed,
    installed,
  ])
    counters.count('s3', outcome);
  counters.count('s3', { kind: 'waited' });
  counters.count('s3', { kind: 'superseded' });
  return counters;
}

test('counts installs, failures by code, and each attempt after a failed one as a retry', () => {
  const counters = played();
  expect(counters.installs.get('s3')).toBe(3);
  expect([...(counters.failures.get('s3') ?? [])]).toEqual([
    ['NETWORK', 2],
    ['INSTALL', 1],
  ]);
  expect(counters.retries.get('s3')).toBe(3);
});

test('is told in the text format of Prometheus, labels escaped and times in seconds', () => {
  const lines = metricsText(played(), 4711, status).split('\n');
  const samples = lines.filter((line) => line !== '' && !line.startsWith('#'));
  expect(samples).toEqual([
    'shadow_agent_build_info{version="0.1.0"} 1',
    'shadow_agent_start_time_seconds 1795600800',
    'shadow_agent_link_up 1',
    'shadow_agent_last_answer_timestamp_seconds 1795600805',
    'shadow_agent_certificate_not_after_timestamp_seconds 1827136800',
    'shadow_agent_installs_total{property="s3"} 3',
    'shadow_agent_installs_total{property="a\\"b\\\\"} 0',
    'shadow_agent_failures_total{property="s3",code="NETWORK"} 2',
    'shadow_agent_failures_total{property="s3",code="INSTALL"} 1',
    'shadow_agent_retries_total{property="s3"} 3',
    'shadow_agent_retries_total{property="a\\"b\\\\"} 0',
    'shadow_agent_received_bytes_total 4711',
    'shadow_agent_file_up_to_date{property="s3"} 0',
    `shadow_agent_file_info{property="s3",sha256="${old}"} 1`,
  ]);
});

test('leaves out what is not known yet', () => {
  const text = metricsText(new Counters([]), 0, { ...status, link: null, files: {} });
  expect(text).toContain('shadow_agent_link_up 0\n');
  for (const name of ['last_answer', 'failures', 'file_']) expect(text).not.toContain(`shadow_agent_${name}`);
});

toolTest([promtool], 'promtool finds nothing to say against the names', () => {
  const {
    status: code,
    stdout,
    stderr,
  } = spawnSync(promtool.path, ['check', 'metrics'], {
    input: metricsText(played(), 4711, status),
    encoding: 'utf8',
  });
  expect([code, stdout, stderr]).toEqual([0, '', '']);
});
