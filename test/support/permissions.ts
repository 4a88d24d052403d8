/** A directory with a configuration, made anew for each test, and what is found there that is open to others. */
import { afterEach, beforeEach } from 'bun:test';
import { join } from 'node:path';
import type { Problem } from '../../src/core/errors.ts';
import { type ConfigDir, createConfigDir } from './config.ts';

// Each is somebody else to a test that root runs; no account has these numbers.
export const joe = 12345;
export const svc = 23456;
export const strangers = 54321;

/** The directory of the test that runs. */
export function directoryOfEachTest(): {
  load: ConfigDir['load'];
  /** What a name stands for in it; the directory itself without one. */
  path(name?: string): string;
} {
  let at: ConfigDir;
  beforeEach(async () => {
    at = await createConfigDir();
  });
  afterEach(() => at.remove());
  return { load: (...config) => at.load(...config), path: (name = '') => join(at.dir, name) };
}

/** What a strict agent refuses, as one that is not would warn of it. */
export function asWarning(problem: Problem): Problem {
  return { ...problem, hint: problem.hint.replace(/; or set "strict": false.*/, '') };
}
