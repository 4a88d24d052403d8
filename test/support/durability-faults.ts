/** Runs of the agent in which the kernel refuses what it is asked for. */
import { expect } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from './durability-bench.ts';
import { program } from './tools.ts';
import type { Run } from './world.ts';

export const strace = program('strace');

/** Runs the agent while some calls on a path fail: all of them, or those that `when` tells (strace(1), inject). */
export async function failing(
  bench: Bench,
  calls: string,
  path: string,
  errno: 'ENOSPC' | 'EIO' | 'EPERM',
  when = '1+',
): Promise<Run> {
  const log = join(bench.device.dir, 'strace');
  const inject = ['-e', `trace=${calls}`, '-e', `inject=${calls}:error=${errno}:when=${when}`];
  const run = await bench.once([strace.path, '-f', '-qq', '-o', log, '-P', path, ...inject]);
  expect(readFileSync(log, 'utf8')).toContain('(INJECTED)');
  return run;
}
