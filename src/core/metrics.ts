/** What node_exporter is told of the agent, in the text format of Prometheus. */
import type { Counters } from './counters.ts';
import type { AgentStatus } from './status.ts';

interface Sample {
  labels: Record<string, string>;
  value: number;
}

const lastAnswer = 'last_answer_timestamp_seconds';

/** When the shadow service last answered, by the metrics of an earlier run; 0 where they do not tell. */
export function lastAnswerIn(text: string): number {
  const [, seconds = '0'] = new RegExp(`^shadow_agent_${lastAnswer} (\\d{1,10})$`, 'm').exec(text) ?? [];
  return Number(seconds);
}

/**
 * All metrics of one moment. Times are seconds since 1970, as Prometheus advises: an age is for the query to work out.
 *
 * @param formerAnswer when the shadow service last answered an earlier run. There is always a value: a query finds no
 * age in a series that is not there, and none would tell of a device that was started while it was cut off
 */
export function metricsText(counters: Counters, status: AgentStatus, formerAnswer = 0): string {
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
      lastAnswer,
      'gauge',
      'When the shadow service last told the full document, also before the start; 0 where that is not known.',
      [{ labels: {}, value: formerAnswer }, ...at(link?.lastAnswerAt ?? null)].slice(-1),
    ),
    family(
      'certificate_not_after_timestamp_seconds',
      'gauge',
      'When the certificate of the device expires.',
      at(certificate.notAfter),
    ),
    family(
      'link_failures_total',
      'counter',
      'Connections to AWS IoT that could not be made or were lost, and refused reads of the shadow, since the start.',
      [...counters.linkFailures].map(([code, value]) => ({ labels: { code }, value })),
    ),
    family(
      'installs_total',
      'counter',
      'Files that were installed since the start; of a file with a hook, those that it took.',
      perProperty(counters.installs),
    ),
    family(
      'failures_total',
      'counter',
      'What has failed since the start: attempts, runs of hooks, desired values that are refused.',
      failuresOf(counters),
    ),
    family(
      'retries_total',
      'counter',
      'Attempts since the start that followed a failed one at the same desired value.',
      perProperty(counters.retries),
    ),
    family(
      'rollbacks_total',
      'counter',
      'Files that were put back since the start, by a failed hook or by hand.',
      perProperty(counters.rollbacks),
    ),
    family('received_bytes_total', 'counter', 'Bytes of objects that came from S3 since the start.', [
      { labels: {}, value: counters.receivedBytes },
    ]),
    family(
      'file_up_to_date',
      'gauge',
      'Whether the file is what the shadow desires; absent where it desires nothing.',
      perFile(({ desired, installed, error, status }) => {
        if (desired === null) return undefined;
        // Before the shadow has answered it is what it was when it last did.
        const isAsLast = status === 'unknown' && error === null && desired.hash === installed;
        return status === 'current' || isAsLast ? 1 : 0;
      }),
    ),
    family(
      'file_error',
      'gauge',
      'Why the file is not what the shadow desires, also over restarts; absent where nothing is wrong.',
      Object.entries(files).flatMap(([property, { error }]) =>
        error === null ? [] : [{ labels: { property, code: error.code }, value: 1 }],
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
