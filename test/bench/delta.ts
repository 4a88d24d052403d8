/**
 * Where the time of a small update goes, from the write to the desired state to the report, beside the tutorial's program;
 * and what would be left of it without syncs, and with JavaScript that has long been compiled.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import type { BrokerMessage } from '../../src/sandbox/broker.ts';
import { pythonClients } from '../support/clients-python.ts';
import { quietBucket } from '../support/faults.ts';
import { program } from '../support/tools.ts';
import { TutorialDevice, tutorialThing } from '../support/tutorial-device.ts';
import { scenario, sha256, type World } from '../support/world.ts';
import { extent } from './extent.ts';
import { median, spread } from './measure.ts';

const rounds = extent(9, 1);
/** JavaScript that has run so often is compiled. */
const between = extent(50, 1);
const longestMs = 30_000;
const quietMs = 300;

/** A program that installs what is desired of its thing at a path. */
export interface Contender {
  thing: string;
  path: string;
  pid: number;
}

/** What can be seen of an update from outside. */
interface Seen {
  /** What the broker has carried. */
  messages: BrokerMessage[];
  /** By status: those that S3 was asked for the object. */
  gets: number[];
  isThere: boolean;
}

const carried = ({ messages }: Seen, end: string) => messages.some(({ topic }) => topic.endsWith(end));
const there = 'the file is there';
const done = 'it is reported';
/** Each is the end of a part of the way. */
const stages: ReadonlyArray<readonly [stage: string, isOver: (seen: Seen) => boolean]> = [
  ['the delta is sent', (seen) => carried(seen, '/update/delta')],
  ['the shadow is read again', (seen) => carried(seen, '/get/accepted')],
  ['S3 is asked', ({ gets }) => gets.length > 0],
  ['S3 has answered', ({ gets }) => gets.some((status) => status === 200)],
  [there, ({ isThere }) => isThere],
  [done, (seen) => seen.isThere && carried(seen, '/shadow/update')],
];

/** Milliseconds, by stage since the write to the desired state, and of CPU time by kind of thread until all is quiet. */
interface Update {
  at: Map<string, number>;
  cpu: Map<string, number>;
}

/** Milliseconds from the write to the desired state until the file is there. */
export async function installedMs(world: World, contender: Contender, round: number): Promise<number> {
  return installed(await update(world, contender, round)) ?? Number.NaN;
}

/** One small update, looked at every millisecond. */
async function update(world: World, { thing, path, pid }: Contender, round: number): Promise<Update> {
  const { broker, s3 } = world.sandbox;
  const content = `${String(round).padStart(4, '0')}\n`;
  const key = `${thing}/${round}`;
  const hash = sha256(content);
  await s3.store.put(quietBucket, key, content);
  const before = new Set(broker.messages);
  const look = (): Seen => ({
    messages: broker.messages.filter(
      (message) => !before.has(message) && (message.direction === 'out' || message.payload.includes(hash)),
    ),
    gets: s3.requests.flatMap((request) =>
      request.method === 'GET' && request.key === key ? request.status : [],
    ),
    isThere: contentOf(path) === content,
  });
  const cpuBefore = cpuOf(pid);
  const at = new Map<string, number>();
  const startedMs = performance.now();
  world.sandbox.desire(thing, { s3: { url: `s3://${quietBucket}/${key}`, hash, size: content.length } });
  while (!at.has(done)) {
    const ms = performance.now() - startedMs;
    if (ms > longestMs) throw new Error(`waited ${longestMs} ms in vain for ${thing}`);
    const seen = look();
    for (const [stage, isOver] of stages) if (!at.has(stage) && isOver(seen)) at.set(stage, ms);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await new Promise((resolve) => setTimeout(resolve, quietMs));
  return { at, cpu: spent(cpuBefore, cpuOf(pid)) };
}

function contentOf(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

type ThreadTimes = ReadonlyMap<string, { kind: string; ms: number }>;

function cpuOf(pid: number): ThreadTimes {
  const times = readdirSync(`/proc/${pid}/task`).map((task) => {
    const read = (name: string) => readFileSync(`/proc/${pid}/task/${task}/${name}`, 'utf8');
    const kind = task === `${pid}` ? 'JavaScript' : read('comm').trim().replace(/ \d+$/, '');
    return [task, { kind, ms: Number(read('schedstat').split(' ')[0]) / 1e6 }] as const;
  });
  return new Map(times);
}

/** Of the threads that live at the end. */
function spent(before: ThreadTimes, after: ThreadTimes): Map<string, number> {
  const times = new Map<string, number>();
  for (const [task, { kind, ms }] of after) {
    const more = ms - (before.get(task)?.ms ?? 0);
    for (const name of ['all', kind]) times.set(name, (times.get(name) ?? 0) + more);
  }
  return times;
}

interface Played {
  /** Of ours and the tutorial's: the first updates of a run, and later ones. */
  first: Update[][];
  later: Update[][];
  /** Milliseconds that S3 takes with a refusal, which costs a connection and a request and no more. */
  refusals: number[];
}

async function play(python: string): Promise<Played> {
  const all: Update[][] = [[], []];
  const refusals: number[] = [];
  await scenario(
    async (world) => {
      const { sandbox } = world;
      sandbox.s3.store.createBucket(quietBucket);
      const run = await world.start();
      const tutorial = new TutorialDevice(python, world, await sandbox.device(tutorialThing));
      await tutorial.said('the thing has no shadow yet');
      const contenders = [
        { thing: 'test-thing', path: world.path(), pid: run.child.pid ?? 0 },
        { thing: tutorialThing, path: tutorial.path, pid: tutorial.pid },
      ];
      for (let round = 0; round < rounds + between + rounds; round += 1) {
        for (const [nth, each] of contenders.entries()) all[nth]?.push(await update(world, each, round));
        if (round < rounds) refusals.push(await refusalMs(world));
      }
      await tutorial.stop();
    },
    { files: [{ property: 's3', path: 'tmpfile' }] },
  );
  const part = (from: number, to?: number) => all.map((updates) => updates.slice(from, to));
  return { first: part(0, rounds), later: part(-rounds), refusals };
}

async function refusalMs({ sandbox }: World): Promise<number> {
  const args = ['-sS', '-o', '/dev/null', '-w', '%{time_total}', '--cacert', join(sandbox.dir, 'ca.pem')];
  const { stdout } = Bun.spawn([program('curl').path, ...args, `${sandbox.s3.url}/${quietBucket}/none`]);
  return Number(await new Response(stdout).text()) * 1000;
}

export async function delta(): Promise<JsonObject[]> {
  const [python] = await pythonClients();
  if (python?.found !== true) throw new Error('boto3 is missing (apt-get install python3-venv)');
  const onDisk = await play(python.path);
  const inMemory = await onTmpfs(() => play(python.path));
  const cpu = (what: string, kind: string, updates: Update[][]) =>
    row(`CPU time, ${what}`, updates, (each) => each.cpu.get(kind));
  const ours = onDisk.first.slice(0, 1);
  return [
    ...stages.map(([stage]) => row(`until ${stage}`, onDisk.first, ({ at }) => at.get(stage))),
    { what: 'a request that S3 refuses, by curl', 'ours ms': spread(onDisk.refusals, 1) },
    cpu('all', 'all', onDisk.first),
    cpu('JavaScript', 'JavaScript', ours),
    cpu('its compiler', 'JITWorker', ours),
    cpu('calls for files', 'Bun Pool', ours),
    row(`until ${there}, after ${rounds + between} others`, onDisk.later, installed),
    row(`until ${there}, on tmpfs, where syncs cost nothing`, inMemory.first, installed),
    row('both', inMemory.later, installed),
  ];
}

async function onTmpfs<T>(work: () => Promise<T>): Promise<T> {
  const { TMPDIR } = process.env;
  process.env['TMPDIR'] = '/dev/shm';
  try {
    return await work();
  } finally {
    if (TMPDIR === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = TMPDIR;
  }
}

function installed({ at }: Update): number | undefined {
  return at.get(there);
}

/** Of updates by ours and by the tutorial's program; what does not come with one of them is left empty. */
function row(what: string, updates: Update[][], figure: (update: Update) => number | undefined): JsonObject {
  const [ours = [], its = []] = updates.map((all) => all.flatMap((each) => figure(each) ?? []));
  const text = (values: number[]) => (values.length === 0 ? '' : spread(values, 1));
  const ratio = its.length === 0 ? '' : (median(ours) / median(its)).toFixed(2);
  return { what, 'ours ms': text(ours), 'tutorial ms': text(its), 'ours / its': ratio };
}
