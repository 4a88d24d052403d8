/** Figures of one download of 256 MiB, and of idling, that are the same on every machine: it fails where one gets worse. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildTarget, hostTarget } from '../../build.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { program } from '../support/tools.ts';
import { scenario, sha256, type World } from '../support/world.ts';
import { Bench, type Row } from './compare.ts';
import { idleCosts, monthBytes } from './idle.ts';
import { idleBytes } from './measure.ts';
import { curlPipeline } from './rivals.ts';

const bytes = 2 ** 28;
const MB = 1e6;
/** Where others use the CPU the runtime receives ahead of the program and collects late: the least peak is ours. */
const downloads = 5;
/** 25 MB/s: ranges run ahead of it. */
const slowWrites = 'inject=pwrite64:delay_enter=40ms';
const mostExecutableMB = 2.5;
/** What an update without a hook makes safe, each with its directory where it is new or renamed. */
const mostSyncs = 12;
/** By `resyncSeconds`: its default, and what the README says to take for less than 1 MB. */
const monthAimsMB = [
  [3_600, 2.25],
  [43_200, 1],
] as const;

/** A figure, and what it may be at most; main.ts fails where it is more. */
interface Figure {
  play: string;
  ratio: number;
  aim: number;
}

export async function check(): Promise<JsonObject[]> {
  const figures: Figure[] = [];
  await scenario(async (world) => void figures.push(...(await download(world))));
  await scenario(async (world) => void figures.push(...(await smallUpdate(world))));
  const costs = await idleCosts();
  for (const [resyncSeconds, aim] of monthAimsMB) {
    const play = `idle month with resyncSeconds ${resyncSeconds}, MB`;
    figures.push({ play, ratio: monthBytes(costs, resyncSeconds) / MB, aim });
  }
  const { bytes: size, runtimeBytes } = await buildTarget(hostTarget(), 'dist');
  figures.push({
    play: 'executable, MB more than Bun',
    ratio: (size - runtimeBytes) / MB,
    aim: mostExecutableMB,
  });
  return figures.map(({ ratio, ...rest }) => ({ ...rest, ratio: Number(ratio.toFixed(3)) }));
}

async function download(world: World): Promise<Figure[]> {
  const idle = await idleBytes(world);
  const bench = await Bench.start(world, bytes);
  try {
    const { wireBytes, writtenBytes, peakBytes, requests, cpuSeconds } = await least(() => bench.ours());
    const curl = await least(() => bench.rival(curlPipeline));
    const one = await leastAllocated(bench, join(world.sandbox.dir, 'collections'));
    const log = join(world.sandbox.dir, 'calls');
    const calls = 'trace=pwrite64,fdatasync,fsync';
    await bench.ours(undefined, [program('strace').path, '-f', '-qq', '-o', log, '-e', calls]);
    const made = readFileSync(log, 'utf8').split('\n');
    const slow = [program('strace').path, '-f', '-qq', '-o', '/dev/null', '-e', slowWrites];
    const onSlowDisk = await bench.ours(undefined, slow);
    const count = (...names: string[]) =>
      made.filter((line) => names.some((name) => line.includes(`${name}(`))).length;
    const syncs = count('fdatasync', 'fsync');
    return [
      { play: 'requests to S3 with one connection', ratio: one.requests, aim: 1 },
      { play: 'requests to S3 with four connections', ratio: requests, aim: 40 },
      { play: 'bytes allocated by JavaScript / size', ratio: one.allocatedBytes / bytes, aim: 0.8 },
      { play: 'bytes on the wire / size', ratio: wireBytes / bytes, aim: 1.001 },
      { play: 'bytes written / size', ratio: writtenBytes / bytes, aim: 1.005 },
      { play: 'writes a MB', ratio: count('pwrite64') / (bytes / MB), aim: 3 },
      { play: 'syncs', ratio: syncs, aim: 90 },
      { play: 'MB that a power cut may take, by syncs', ratio: bytes / MB / syncs, aim: 9 },
      { play: 'peak RSS above idle, MB', ratio: (peakBytes - idle) / MB, aim: 40 },
      { play: 'the same on a slow disk, MB', ratio: (onSlowDisk.peakBytes - idle) / MB, aim: 80 },
      { play: 'CPU time / that of curl | tee | openssl', ratio: cpuSeconds / curl.cpuSeconds, aim: 1.5 },
    ];
  } finally {
    await bench.stop();
  }
}

/** The third one of a run: the directories that the first two have made safe stay so. A sync costs a board's flash some milliseconds. */
async function smallUpdate(world: World): Promise<Figure[]> {
  const run = await world.start();
  const update = async (body: string) => {
    await world.put('small', body);
    await world.inSync(sha256(body));
  };
  await update('one');
  await update('two');
  const log = join(world.sandbox.dir, 'calls');
  const calls = 'trace=%file,fsync,fdatasync,ftruncate,pwrite64';
  const args = ['-f', '-o', log, '-e', calls, '-p', String(run.child.pid)];
  const tracer = Bun.spawn([program('strace').path, ...args], { stderr: 'pipe' });
  // It says so for each thread that it follows; the first is the process.
  for await (const _ of tracer.stderr) break;
  const gets = world.gets().length;
  await update('three');
  tracer.kill('SIGINT');
  await tracer.exited;
  const made = readFileSync(log, 'utf8');
  const count = (calls: RegExp) => made.match(calls)?.length ?? 0;
  const syncs = count(/\bf(?:data)?sync\(/g);
  return [
    { play: 'requests to S3 for a small update', ratio: world.gets().length - gets, aim: 1 },
    { play: 'syncs of a small update', ratio: syncs, aim: mostSyncs },
    { play: 'syncs that a small update lacks', ratio: mostSyncs - syncs, aim: 0 },
    { play: 'calls for files of a small update', ratio: count(/^\d+ +\w+\(/gm), aim: 110 },
  ];
}

/**
 * The engine's log of its collections tells what was allocated before each. Those that memory outside of its heap calls
 * for are not among them, and come as it likes: the least of several runs is ours, and a copy of what comes is above it.
 */
async function leastAllocated(
  bench: Bench,
  log: string,
): Promise<{ requests: number; allocatedBytes: number }> {
  const logged = ['env', 'BUN_JSC_logGC=1', 'sh', '-c', `exec "$0" "$@" 2>${log}`];
  const runs: Array<{ requests: number; allocatedBytes: number }> = [];
  while (runs.length < downloads) {
    const { requests } = await bench.ours(1, logged);
    const cycles = [...readFileSync(log, 'utf8').matchAll(/bytes allocated this cycle: (\d+)/g)];
    if (cycles.length === 0) throw new Error('the engine tells of no collection any more');
    runs.push({ requests, allocatedBytes: cycles.reduce((sum, [, count]) => sum + Number(count), 0) });
  }
  return {
    requests: Math.min(...runs.map((run) => run.requests)),
    allocatedBytes: Math.min(...runs.map((run) => run.allocatedBytes)),
  };
}

type Least = Pick<Row, 'wireBytes' | 'writtenBytes' | 'peakBytes' | 'requests'> & { cpuSeconds: number };

async function least(run: () => Promise<Row>): Promise<Least> {
  const rows: Row[] = [];
  while (rows.length < downloads) rows.push(await run());
  const of = (figure: (row: Row) => number) => Math.min(...rows.map(figure));
  return {
    wireBytes: of((row) => row.wireBytes),
    writtenBytes: of((row) => row.writtenBytes),
    peakBytes: of((row) => row.peakBytes),
    requests: of((row) => row.requests),
    cpuSeconds: of(({ userSeconds, systemSeconds }) => userSeconds + systemSeconds),
  };
}
