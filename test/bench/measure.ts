/** What one run of a program costs. */
import { readdirSync, readFileSync } from 'node:fs';
import type { World } from '../support/world.ts';

export interface Cost {
  wallSeconds: number;
  /** Of the program and all that it started. */
  userSeconds: number;
  systemSeconds: number;
  /** The most memory that any one of its processes had resident. */
  peakBytes: number;
  /** What went to the block layer. */
  writtenBytes: number;
}

const pollMs = 20;

/**
 * Runs a program to its end.
 * @throws Error with what it said, when it fails
 */
export async function costOf(
  command: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): Promise<Cost> {
  const startedMs = performance.now();
  const child = Bun.spawn([...command], {
    cwd,
    env: { ...process.env, ...env },
    stdout: 'pipe',
    stderr: 'pipe',
  });
  let peakBytes = 0;
  // A child that was forked by this process would show this one's memory in its rusage: the kernel's own mark is read.
  const poll = setInterval(() => {
    peakBytes = Math.max(peakBytes, peakOf(child.pid));
  }, pollMs);
  try {
    const [output, errors] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    const wallSeconds = (performance.now() - startedMs) / 1000;
    if (child.exitCode !== 0)
      throw new Error(`${command.join(' ')} ends with ${child.exitCode}:\n${output}${errors}`);
    const usage = child.resourceUsage();
    if (usage === undefined) throw new Error('there is no resource usage');
    return {
      wallSeconds,
      userSeconds: Number(usage.cpuTime.user) / 1e6,
      systemSeconds: Number(usage.cpuTime.system) / 1e6,
      peakBytes,
      // Blocks of 512 bytes. Source: getrusage(2).
      writtenBytes: usage.ops.out * 512,
    };
  } finally {
    clearInterval(poll);
  }
}

/** The high-water mark of the largest process of a tree. */
function peakOf(pid: number): number {
  try {
    const own = memoryOf(pid, 'VmHWM');
    const tasks = readdirSync(`/proc/${pid}/task`);
    const children = tasks.flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean),
    );
    return Math.max(own, ...children.map((child) => peakOf(Number(child))));
  } catch {
    // It has just ended.
    return 0;
  }
}

/** A line of /proc/PID/status, in bytes. @throws Error when the process has gone */
export function memoryOf(pid: number, name: 'VmHWM' | 'VmRSS' | 'RssAnon'): number {
  const line = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1] ?? 0) * 1024;
}

/** The middle one; of an even number the mean of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = Number.NaN, high = Number.NaN] =
    sorted.length % 2 === 1 ? [sorted[middle], sorted[middle]] : [sorted[middle - 1], sorted[middle]];
  return (low + high) / 2;
}

/** Of the line through the points that is nearest to all. */
export function slopeOf(points: ReadonlyArray<readonly [x: number, y: number]>): number {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const mx = mean(points.map(([x]) => x));
  const my = mean(points.map(([, y]) => y));
  const over = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0);
  const under = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  return under === 0 ? 0 : over / under;
}

/** Each contender in turn, round after round, so that what else the machine does meets all alike. */
export async function inTurn<T>(
  rounds: number,
  contenders: ReadonlyMap<string, () => Promise<T>>,
): Promise<Map<string, T[]>> {
  const results = new Map<string, T[]>();
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, run] of contenders) {
      process.stderr.write(`round ${round} of ${rounds}: ${name}\n`);
      results.set(name, [...(results.get(name) ?? []), await run()]);
    }
  }
  return results;
}

/** Median and range, as `1.23 (1.10-1.41)`. */
export function spread(values: readonly number[], digits = 2): string {
  const text = (value: number) => value.toFixed(digits);
  return `${text(median(values))} (${text(Math.min(...values))}-${text(Math.max(...values))})`;
}

/** What the agent has resident when it has nothing to do. */
export async function idleBytes(world: World): Promise<number> {
  const run = await world.start();
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const idle = memoryOf(run.child.pid ?? 0, 'VmRSS');
  await run.stop();
  return idle;
}
