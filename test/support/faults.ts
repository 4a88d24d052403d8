/** The fault matrix: each test plays one fault with the executable, and tells in a line what became of it. */
import { test } from 'bun:test';
import { type Tool, toolTest } from './tools.ts';
import { type Run, scenario, until, type World, type WorldOptions } from './world.ts';

/** A bucket whose uploads desire nothing: a test says itself what is desired. */
export const quietBucket = 'quiet-bucket';
/** A file that may come from any bucket. */
export const anyBucket: WorldOptions = { files: [{ property: 's3', path: 'tmpfile' }] };

/**
 * Registers a scenario of one fault.
 * @param play gives back how many bytes had to be fetched
 */
export function faultTest(
  name: string,
  play: (world: World) => Promise<number>,
  options?: WorldOptions,
): void {
  register(test, name, play, options);
}

/** The same for a fault that takes long but is idle: it is played beside the others of its file. */
export function longFaultTest(
  name: string,
  play: (world: World) => Promise<number>,
  options?: WorldOptions,
  tools?: readonly Tool[],
): void {
  register(test.concurrent, name, play, options, 120_000, tools);
}

function register(
  run: typeof test | typeof test.concurrent,
  name: string,
  play: (world: World) => Promise<number>,
  options?: WorldOptions,
  timeoutMs?: number,
  tools: readonly Tool[] = [],
): void {
  const playIt = () =>
    scenario(async (world) => {
      world.sandbox.s3.store.createBucket(quietBucket);
      const bytes = await play(world);
      process.stdout.write(`  ${name} → ${toll(world, bytes)}\n`);
    }, options);
  toolTest(tools, name, playIt, timeoutMs, run);
}

/** What the device took for so many bytes: attempts, answers of S3, bytes that S3 sent, codes that were logged. */
function toll(world: World, bytes: number): string {
  const log = world.runs.map((run) => run.log).join('');
  const attempts = log.split(' Updating ').length - 1;
  const codes = [...log.matchAll(/WARNING .* code=(\w+)/g)].map(([, code]) => code ?? '');
  const fetched = bytesFetched(world);
  const ratio = bytes === 0 ? '' : ` (${(fetched / bytes).toFixed(2)})`;
  return [
    `${attempts} attempts`,
    `S3 ${folded(answers(world))}`,
    `credentials ${world.sandbox.credentials.requests.length}`,
    `${fetched} of ${bytes} bytes${ratio}`,
    folded(codes),
  ].join(', ');
}

function folded(words: ReadonlyArray<string | number>): string {
  const runs: Array<{ word: string | number; times: number }> = [];
  for (const word of words) {
    const last = runs.at(-1);
    if (last?.word === word) last.times += 1;
    else runs.push({ word, times: 1 });
  }
  return runs.map(({ word, times }) => (times === 1 ? `${word}` : `${times}×${word}`)).join(' ') || 'none';
}

/** What S3 has answered to each GET: its error code, else the status; 0 where it gave no answer. */
export function answers(world: World): Array<string | number> {
  return world.gets().map(({ code, status }) => code ?? status);
}

/** Bytes of objects that S3 has sent. */
export function bytesFetched(world: World): number {
  const bodies = world.gets().filter(({ status }) => status === 200 || status === 206);
  return bodies.reduce((sum, { bytesSent }) => sum + bytesSent, 0);
}

/** Waits until S3 has sent so many bytes in its newest answer. */
export async function sent(world: World, bytes: number): Promise<void> {
  await until(`${bytes} bytes sent`, () => (world.gets().at(-1)?.bytesSent ?? 0) >= bytes);
}

/** Seconds from each warning with a code to the try that follows it. */
export function waits(run: Run): number[] {
  return [...run.log.matchAll(/ retryInSeconds=([\d.]+)/g)].map(([, seconds]) => Number(seconds));
}
