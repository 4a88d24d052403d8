/** What it costs to wait for an update, and how soon a small one is there: beside the tutorial's program and an empty one. */
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildTarget, hostTarget } from '../../build.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { quietBucket } from '../support/faults.ts';
import { type Run, scenario, sha256, until, type World } from '../support/world.ts';
import { extent } from './extent.ts';
import { latency } from './latency.ts';
import { memoryOf, slopeOf, spread } from './measure.ts';

// What a start leaves to do, the runtime's collections too, is done by then.
const settleSeconds = extent(65, 0);
const idleSeconds = extent(60, 2);
const deltas = extent(10_000, 100);
const sampleEvery = extent(200, 20);
// The agent ends a link that brings more than 1,000 packets a second; each delta is some.
const batch = 20;
const batchMs = 100;
const files = [{ property: 's3', path: 'tmpfile' }];

/** A figure, what it is held against, and their ratio or difference with its aim. */
export type Row = {
  figure: string;
  ours: string;
  beside: string;
  'ours / its': string;
  aim: string;
  rounds?: JsonValue;
};

export async function footprint(): Promise<JsonObject[]> {
  const rows: Row[] = [];
  await scenario(async (world) => void rows.push(...(await latency(world))), { files });
  await scenario(async (world) => void rows.push(...(await idle(world))), { files });
  await scenario(async (world) => void rows.push(await growth(world)), { files });
  rows.push(await size());
  return rows;
}

async function idle(world: World): Promise<Row[]> {
  const dir = await mkdtemp(join(tmpdir(), 'empty-'));
  const entry = join(dir, 'empty.ts');
  // Nobody can hear from a broker without a connection, which the runtime looks at each second.
  await writeFile(entry, "require('node:net').connect(Number(process.argv[2]), '127.0.0.1');\n");
  const peer = createServer().listen(0, '127.0.0.1');
  await once(peer, 'listening');
  const { path } = await buildTarget(hostTarget(), dir, { entry });
  const empty = Bun.spawn([path, String(portOf(peer))], { cwd: dir });
  try {
    const run = await world.start();
    const pid = pidOf(run);
    await new Promise((resolve) => setTimeout(resolve, settleSeconds * 1000));
    const before = [switches(pid), switches(empty.pid)] as const;
    await new Promise((resolve) => setTimeout(resolve, idleSeconds * 1000));
    const [ours, its] = [wakeUps(before[0], switches(pid)), wakeUps(before[1], switches(empty.pid))];
    const MB = (bytes: number) => `${Math.round(bytes / 1e6)}`;
    const memory = (figure: string, name: 'VmRSS' | 'RssAnon'): Row => ({
      figure,
      ours: MB(memoryOf(pid, name)),
      beside: `${MB(memoryOf(empty.pid, name))}, a program with a connection`,
      'ours / its': `+${MB(memoryOf(pid, name) - memoryOf(empty.pid, name))}`,
      aim: '',
    });
    return [
      memory('idle RSS, MB', 'VmRSS'),
      memory('of it anonymous, MB', 'RssAnon'),
      {
        figure: `wake-ups in ${idleSeconds} s`,
        ours: `${ours}`,
        beside: `${its}, a program with a connection`,
        'ours / its': `${ours - its}`,
        aim: '5 more',
      },
    ];
  } finally {
    empty.kill();
    peer.close();
    await rm(dir, { recursive: true, force: true });
  }
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('it does not listen');
  return address.port;
}

function pidOf({ child }: Run): number {
  if (child.pid === undefined) throw new Error('the executable does not run');
  return child.pid;
}

/** How often each thread of a process has gone to sleep, which is how often it was woken. */
function switches(pid: number): Map<string, number> {
  const count = (task: string) =>
    /^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8'))?.[1];
  return new Map(readdirSync(`/proc/${pid}/task`).map((task) => [task, Number(count(task) ?? 0)]));
}

/** Of the threads that live at the end; one that has begun since counts from then. */
function wakeUps(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): number {
  return [...after].reduce((sum, [task, count]) => sum + count - (before.get(task) ?? 0), 0);
}

/** Memory over many deltas: single samples stand a collection apart, so that the line through all of them tells. */
async function growth(world: World): Promise<Row> {
  const run = await world.start();
  const { sandbox } = world;
  sandbox.s3.store.createBucket(quietBucket);
  await sandbox.s3.store.put(quietBucket, 'same', 'same\n');
  const value = { url: `s3://${quietBucket}/same`, hash: sha256('same\n'), size: 5 };
  const samples: Array<readonly [deltas: number, bytes: number]> = [];
  for (let count = 1; count <= deltas; count += 1) {
    sandbox.desire('test-thing', { s3: { ...value, count } });
    if (count % batch === 0) {
      await new Promise((resolve) => setTimeout(resolve, batchMs));
      await until('the report', () =>
        JSON.stringify(world.reported('s3') ?? null).includes(`"count":${count}`),
      );
    }
    if (count % sampleEvery === 0) samples.push([count, memoryOf(pidOf(run), 'VmRSS') / 1e6]);
  }
  const settled = samples.slice(samples.length / 10);
  const values = settled.map(([, MB]) => MB);
  return {
    figure: `RSS over ${deltas} deltas, MB`,
    ours: spread(values, 0),
    beside: '',
    'ours / its': `${(slopeOf(settled) * 10_000).toFixed(1)} for 10,000`,
    aim: 'no growth',
  };
}

async function size(): Promise<Row> {
  const { bytes, runtimeBytes } = await buildTarget(hostTarget(), 'dist');
  const MB = (value: number) => (value / 1e6).toFixed(2);
  return {
    figure: 'executable, MB',
    ours: MB(bytes),
    beside: `${MB(runtimeBytes)}, Bun`,
    'ours / its': `+${MB(bytes - runtimeBytes)}`,
    aim: '+2.5',
  };
}
