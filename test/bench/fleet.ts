/** What a fleet does to the services when one upload is for all of it: 1,000 agents in this process, on the sandbox. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runAgent } from '../../src/agent.ts';
import { type AgentConfig, loadConfig } from '../../src/config.ts';
import { isJsonObject, type JsonObject, type JsonValue, member } from '../../src/core/json.ts';
import type { Identity } from '../../src/io/identity.ts';
import { bucketName, Sandbox } from '../../src/sandbox/sandbox.ts';
import { noise, sha256, until } from '../support/world.ts';
import { extent } from './extent.ts';

const size = extent(1000, 20);
const jitters = extent([0, 60], [0, 1]);
const objectBytes = 20_000;
const binMs = 100;
/** So many agents start at once. */
const starters = extent(50, 10);
const timeoutMs = 180_000;

type Counter = 'broker' | 'credentials' | 's3' | 'current';

/** Counts things as they happen, in bins of 100 ms since the start. */
class Timeline {
  readonly #bins = new Map<Counter, number[]>();
  #startedMs = Number.POSITIVE_INFINITY;

  start(): void {
    this.#startedMs = performance.now();
  }

  count(counter: Counter): void {
    const bin = Math.floor((performance.now() - this.#startedMs) / binMs);
    if (bin < 0) return;
    const bins = this.#bins.get(counter) ?? [];
    bins[bin] = (bins[bin] ?? 0) + 1;
    this.#bins.set(counter, bins);
  }

  total(counter: Counter): number {
    return this.#within(counter, 0, Number.POSITIVE_INFINITY);
  }

  /** The most in any second. */
  peak(counter: Counter): number {
    const bins = this.#bins.get(counter) ?? [];
    const perSecond = 1000 / binMs;
    return Math.max(0, ...Array.from(bins, (_, from) => this.#within(counter, from, from + perSecond)));
  }

  /** Seconds until the last one. */
  get seconds(): number {
    return ((this.#bins.get('current')?.length ?? 0) * binMs) / 1000;
  }

  print(title: string): void {
    const counters: Counter[] = ['broker', 'credentials', 's3', 'current'];
    const lines = [`\n${title}\nsecond  ${counters.join('  ')}`];
    for (let second = 0; second < this.seconds; second += 1) {
      const from = (second * 1000) / binMs;
      const cells = counters.map((counter) =>
        String(this.#within(counter, from, from + 1000 / binMs)).padStart(counter.length),
      );
      lines.push(`${String(second).padStart(6)}  ${cells.join('  ')}`);
    }
    process.stdout.write(`${lines.join('\n')}\n`);
  }

  #within(counter: Counter, from: number, to: number): number {
    const bins = this.#bins.get(counter) ?? [];
    return bins.slice(from, to).reduce((sum, count) => sum + (count ?? 0), 0);
  }
}

/** Has each entry that a server adds to one of its lists counted. */
function watch<T>(list: readonly T[], seen: (entry: T) => void): void {
  const push = (...entries: T[]) => {
    for (const entry of entries) seen(entry);
    return Array.prototype.push.apply(list, entries);
  };
  Object.defineProperty(list, 'push', { value: push });
}

/** One upload to a group of 1,000, without jitter and with a minute of it. */
export async function fleet(): Promise<JsonObject[]> {
  const rows: JsonObject[] = [];
  for (const jitterSeconds of jitters) rows.push(await measure(jitterSeconds));
  return rows;
}

async function measure(jitterSeconds: number): Promise<JsonObject> {
  // The agents sync what they write: a thousand of them in memory, as a thousand boards would not share one disk.
  const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
  const sandbox = await Sandbox.start({ dir: await mkdtemp(join(base, 'fleet-')) });
  const stop = new AbortController();
  const agents: Array<Promise<unknown>> = [];
  try {
    const names = Array.from({ length: size }, (_, index) => `thing-${index}`);
    sandbox.groups.add('fleet', names);
    sandbox.lambdas.route({ bucket: bucketName, prefix: 'fleet/', target: 'groups/fleet', property: 's3' });
    const { config, identity } = await template(sandbox, names);
    const online = new Set<string>();
    const current = new Set<string>();
    const body = noise(objectBytes);
    const hash = sha256(body);
    const timeline = new Timeline();
    observe(sandbox, timeline, (thing, reported) => {
      online.add(thing);
      const value = member(reported, 's3');
      if (!isJsonObject(value) || value['hash'] !== hash || current.has(thing)) return;
      current.add(thing);
      timeline.count('current');
    });
    for (let start = 0; start < size; start += starters) {
      for (const name of names.slice(start, start + starters)) {
        const own = await configOf(config, name, sandbox.dir, jitterSeconds);
        agents.push(runAgent(own, identity, { once: false, signal: stop.signal, version: '0.0.0' }));
      }
      await until('agents to be online', () => online.size >= start + starters, timeoutMs);
    }
    timeline.start();
    await sandbox.s3.store.put(bucketName, 'fleet/model.bin', body);
    await until('the last device', () => current.size === size, timeoutMs);
    timeline.print(`${size} devices, jitterSeconds ${jitterSeconds}: requests in each second`);
    return {
      jitterSeconds,
      'broker peak/s': timeline.peak('broker'),
      'credentials peak/s': timeline.peak('credentials'),
      's3 peak/s': timeline.peak('s3'),
      'shadow requests by a device': timeline.total('broker') / size,
      'seconds to the last': timeline.seconds,
    };
  } finally {
    stop.abort();
    await Promise.allSettled(agents);
    await sandbox.close();
    await rm(sandbox.dir, { recursive: true, force: true });
  }
}

/** Counts what devices ask for, and tells of each report. */
function observe(
  sandbox: Sandbox,
  timeline: Timeline,
  onReport: (thing: string, reported: JsonObject) => void,
): void {
  watch(sandbox.broker.messages, ({ direction }) => {
    if (direction === 'in') timeline.count('broker');
  });
  watch(sandbox.credentials.requests, () => timeline.count('credentials'));
  watch(sandbox.s3.requests, ({ method }) => {
    if (method === 'GET') timeline.count('s3');
  });
  sandbox.shadows.onMessage(({ topic, body }) => {
    const [, thing = '', verb] = /^\$aws\/things\/([^/]+)\/shadow\/(update\/accepted)$/.exec(topic) ?? [];
    if (verb === undefined) return;
    const reported = inside(body, 'reported');
    if (reported !== undefined) onReport(thing, reported);
  });
}

function inside(body: JsonObject, section: string): JsonObject | undefined {
  const state: JsonValue | undefined = member(body, 'state');
  const value = isJsonObject(state) ? member(state, section) : undefined;
  return isJsonObject(value) ? value : undefined;
}

/** What all devices share: one certificate that is attached to every thing. */
async function template(
  sandbox: Sandbox,
  names: readonly string[],
): Promise<{ config: AgentConfig; identity: Identity }> {
  const device = await sandbox.device('fleet', { config: { log: { level: 'error', format: 'text' } } });
  for (const name of names) device.certificate.things.add(name);
  const loaded = await loadConfig({ configPath: device.configPath, flags: {}, env: {}, cwd: device.dir });
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  return loaded;
}

async function configOf(
  config: AgentConfig,
  thingName: string,
  base: string,
  jitterSeconds: number,
): Promise<AgentConfig> {
  const dir = join(base, 'fleet', thingName);
  await mkdir(join(dir, 'state'), { recursive: true, mode: 0o700 });
  const files = config.files.map((file) => ({ ...file, path: join(dir, 'file') }));
  return { ...config, thingName, clientId: thingName, stateDir: join(dir, 'state'), files, jitterSeconds };
}
