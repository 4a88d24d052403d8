/** Figures of one download of 256 MiB, and of idling, that are the same on every machine: it fails where one gets worse. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildTarget, hostTarget } from '../../build.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { program } from '../support/tools.ts';
import { scenario, sha256, type World } from '../support/world.ts';
import { Bench, type Row } from './compare.ts';
import { idleCosts, monthBytes } from './idle.ts';
import { type Cost, costOf, idleBytes, median } from './measure.ts';
import { curlPipeline } from './rivals.ts';

const bytes = 2 ** 28;
const MB = 1e6;
/** Where others use the CPU the runtime receives ahead of the program and collects late: the least peak is ours. */
const runs = 5;
/** The program that hashes only. */
const work = join(import.meta.dir, 'work.ts');
/** BoringSSL takes bits of CPUID from it: this one of leaf 7's EBX is SHA. */
const withoutSha = { OPENSSL_ia32cap: ':~0x20000000' };
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
    const rounds: Round[] = [];
    while (rounds.length < runs) rounds.push(await round(bench, join(world.sandbox.dir, 'collections')));
    const least = (figure: (round: Round) => number) => Math.min(...rounds.map(figure));
    const slow = [program('strace').path, '-f', '-qq', '-o', '/dev/null', '-e', slowWrites];
    const onSlowDisk = await bench.ours(undefined, slow);
    return [
      { play: 'requests to S3 with one connection', ratio: least(({ one }) => one.requests), aim: 1 },
      { play: 'requests to S3 with four, slow disk', ratio: onSlowDisk.requests, aim: 75 },
      { play: 'answers of S3 without a part', ratio: least(({ four }) => four.emptyAnswers), aim: 0 },
      {
        play: 'bytes allocated by JavaScript / size',
        ratio: median(rounds.map(({ one }) => one.allocatedBytes)) / bytes,
        aim: 0.85,
      },
      { play: 'bytes on the wire / size', ratio: least(({ four }) => four.wireBytes) / bytes, aim: 1.001 },
      { play: 'bytes written / size', ratio: least(({ four }) => four.writtenBytes) / bytes, aim: 1.005 },
      ...(await calls(world, bench)),
      { play: 'peak RSS above idle, MB', ratio: (least(({ four }) => four.peakBytes) - idle) / MB, aim: 40 },
      { play: 'the same on a slow disk, MB', ratio: (onSlowDisk.peakBytes - idle) / MB, aim: 80 },
      {
        play: 'CPU time / that of curl | tee | openssl',
        ratio: least(({ four }) => cpuSeconds(four)) / least(({ curl }) => cpuSeconds(curl)),
        aim: 1.5,
      },
      ...hashes(least),
    ];
  } finally {
    await bench.stop();
  }
}

type Round = Awaited<ReturnType<typeof round>>;

/** One of each in turn, so that what else the machine does meets all alike. */
async function round(bench: Bench, log: string) {
  const hash = (env?: Record<string, string>) =>
    costOf([process.execPath, work, 'native', `${bytes / 2 ** 20}`], process.cwd(), env);
  const wrapper = ['env', ...Object.entries(withoutSha).map((pair) => pair.join('='))];
  return {
    four: await bench.ours(),
    curl: await bench.rival(curlPipeline),
    one: await allocating(bench, log),
    oneWithoutSha: await bench.ours(1, wrapper),
    hash: await hash(),
    hashWithoutSha: await hash(withoutSha),
  };
}

/** The engine's log of its collections tells what was allocated before each; a copy of what comes is above the aim. */
async function allocating(bench: Bench, log: string): Promise<Row & { allocatedBytes: number }> {
  const row = await bench.ours(1, ['env', 'BUN_JSC_logGC=1', 'sh', '-c', `exec "$0" "$@" 2>${log}`]);
  const cycles = [...readFileSync(log, 'utf8').matchAll(/bytes allocated this cycle: (\d+)/g)];
  if (cycles.length === 0) throw new Error('the engine tells of no collection any more');
  return { ...row, allocatedBytes: cycles.reduce((sum, [, count]) => sum + Number(count), 0) };
}

/**
 * How often each byte is hashed: the CPU time that a download takes more where the CPU's instructions for SHA are not
 * used, by what it takes more to hash once. Beside that all other noise is small.
 */
function hashes(least: (figure: (round: Round) => number) => number): Figure[] {
  const plain = least((round) => round.hash.userSeconds);
  const once = least((round) => round.hashWithoutSha.userSeconds) - plain;
  if (once < plain) {
    process.stderr.write('left out: hashes of each byte (this CPU has no instructions for SHA)\n');
    return [];
  }
  const own = least((round) => round.oneWithoutSha.userSeconds) - least((round) => round.one.userSeconds);
  return [{ play: 'hashes of each byte', ratio: own / once, aim: 1.6 }];
}

function cpuSeconds({ userSeconds, systemSeconds }: Cost): number {
  return userSeconds + systemSeconds;
}

/** What the kernel is asked for. Each time that a part is saved, it, its directory, its record and its directory are synced. */
async function calls(world: World, bench: Bench): Promise<Figure[]> {
  const log = join(world.sandbox.dir, 'calls');
  const traced = ['-f', '-y', '-qq', '-o', log, '-e', 'trace=pwrite64,fdatasync,fsync'];
  await bench.ours(undefined, [program('strace').path, ...traced]);
  const made = readFileSync(log, 'utf8').split('\n');
  const count = (call: RegExp) => made.filter((line) => call.test(line)).length;
  const saved = ['.part', 'test-thing', '/state.json.new', '/state'].map((end) =>
    count(new RegExp(`sync\\(\\d+<[^>]*${RegExp.escape(end)}>`)),
  );
  return [
    { play: 'writes a MB', ratio: count(/pwrite64\(/) / (bytes / MB), aim: 3 },
    { play: 'syncs', ratio: count(/sync\(/), aim: 90 },
    { play: 'MiB that a power cut may take', ratio: bytes / 2 ** 20 / Math.min(...saved), aim: 32 },
  ];
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
