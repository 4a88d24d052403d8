/** What node_exporter is told of the agent, in the text format of Prometheus. */
import type { ErrorCode } from './errors.ts';
import type { Outcome } from './reconcile.ts';
import type { AgentStatus } from './status.ts';

/** What has happened since the start; it only grows. */
export class Counters {
  readonly installs = new Map<string, number>();
  /** By property, then by code. */
  readonly failures = new Map<string, Map<ErrorCode, number>>();
  readonly retries = new Map<string, number>();
  /** Files whose last attempt has failed: the next one is a retry. */
  readonly #failing = new Set<string>();

  constructor(properties: readonly string[]) {
    // A series that begins at 0 shows the first increase, too.
    for (const property of properties) {
      this.installs.set(property, 0);
      this.retries.set(property, 0);
    }
  }

  /** Takes note of how an attempt at a file has ended. */
  count(property: string, outcome: Outcome): void {
    if (outcome.kind !== 'installed' && outcome.kind !== 'failed') return;
    if (this.#failing.delete(property)) increase(this.retries, property);
    if (outcome.kind === 'installed') {
      increase(this.installs, property);
      return;
    }
    this.#failing.add(property);
    const codes = this.failures.get(property) ?? new Map<ErrorCode, number>();
    this.failures.set(property, codes);
    increase(codes, outcome.error.code);
  }
}

function increase<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

interface Sample {
  labels: Record<string, string>;
  value: number;
}

/** All metrics of one moment. Times are seconds since 1970, as Prometheus advises: an age is for the query to work out. */
export function metricsText(counters: Counters, receivedBytes: number, status: AgentStatus): string {
  const { version, startedAt, link, certificate, files } = status;
  const perFile = (value: (file: AgentStatus['files'][string]) => number | undefined): Sample[] =>
    Object.entries(files).flatMap(([property, file]) => {
      const figure = value(file);
      return figure === undefined ? [] : [{ labels: { property }, value: figure }];
    });
  const families = [
    family('build_info', 'gauge', 'Version of the running agent.', [
      { labels: { version: version ?? '' }, value: 1 },
    ]),
    family('start_time_seconds', 'gauge', 'When the agent was started.', at(startedAt)),
    family('link_up', 'gauge', 'Whether the agent is connected to AWS IoT.', [
      { labels: {}, value: link?.connected === true ? 1 : 0 },
    ]),
    family(
      'last_answer_timestamp_seconds',
      'gauge',
      'When the shadow service last told the full document.',
      at(link?.lastAnswerAt ?? null),
    ),
    family(
      'certificate_not_after_timestamp_seconds',
      'gauge',
      'When the certificate of the device expires.',
      at(certificate.notAfter),
    ),
    family('installs_total', 'counter', 'Files that were installed.', perProperty(counters.installs)),
    family('failures_total', 'counter', 'Attempts that have failed.', failuresOf(counters)),
    family('retries_total', 'counter', 'Attempts that followed a failed one.', perProperty(counters.retries)),
    family('received_bytes_total', 'counter', 'Bytes of objects that came from S3.', [
      { labels: {}, value: receivedBytes },
    ]),
    family(
      'file_up_to_date',
      'gauge',
      'Whether the file is what the shadow desires; absent where it desires nothing.',
      perFile(({ desired, installed }) =>
        desired === null ? undefined : desired.hash === installed ? 1 : 0,
      ),
    ),
    family(
      'file_info',
      'gauge',
      'SHA-256 of what is installed.',
      Object.entries(files).flatMap(([property, { installed }]) =>
        installed === null ? [] : [{ labels: { property, sha256: installed }, value: 1 }],
      ),
    ),
  ];
  return families.join('');
}

function at(time: string | null): Sample[] {
  return time === null ? [] : [{ labels: {}, value: Date.parse(time) / 1000 }];
}

function perProperty(counts: ReadonlyMap<string, number>): Sample[] {
  return [...counts].map(([property, value]) => ({ labels: { property }, value }));
}

function failuresOf({ failures }: Counters): Sample[] {
  return [...failures].flatMap(([property, codes]) =>
    [...codes].map(([code, value]) => ({ labels: { property, code }, value })),
  );
}

/** Source: Prometheus, exposition formats; a family without samples is left out. */
function family(name: string, type: 'gauge' | 'counter', help: string, samples: Sample[]): string {
  if (samples.length === 0) return '';
  const full = `shadow_agent_${name}`;
  const lines = samples.map(({ labels, value }) => `${full}${labelsText(labels)} ${value}`);
  return [`# HELP ${full} ${help}`, `# TYPE ${full} ${type}`, ...lines, ''].join('\n');
}

function labelsText(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(value: string): string {
  return value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n');
}
