import { afterAll, beforeAll, expect } from 'bun:test';
import { lstatSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Bench, newMode, oldMode } from '../support/durability-bench.ts';
import { failing, strace } from '../support/durability-faults.ts';
import { benchAt, copied, next, type Start, update } from '../support/durability-starts.ts';
import { toolTest } from '../support/tools.ts';
import { World } from '../support/world.ts';

const updated = [next, newMode] as const;

let world: World;
const benches = new Map<Start, Bench>();
beforeAll(async () => {
  world = await World.create();
  for (const [index, start] of [update, copied].entries()) {
    benches.set(start, await benchAt(start, world, `thing-${index}`));
  }
}, 30_000);
afterAll(async () => {
  for (const bench of benches.values()) bench.close();
  await world.close();
});

interface Step {
  what: string;
  /** The calls that fail for want of room, each time they are made on this path. */
  calls: string;
  path: (bench: Bench) => string;
  /** The update fails with DISK_FULL, or it is done all the same. */
  ends: 'fails' | 'is done';
  /** A line of the log that tells of it. */
  logs: string;
  start?: Start;
}

const part = (bench: Bench) => bench.partOf(next);
const stagedState = (bench: Bench) => `${bench.stateFile}.new`;
const stagedPrevious = (bench: Bench) => `${bench.previous}.new`;

const steps: Step[] = [
  { what: 'making the part', calls: 'openat', path: part, ends: 'fails', logs: 'DISK_FULL' },
  { what: 'writing the part', calls: 'write,pwrite64', path: part, ends: 'fails', logs: 'DISK_FULL' },
  { what: 'syncing the part', calls: 'fsync,fdatasync', path: part, ends: 'fails', logs: 'DISK_FULL' },
  { what: 'setting the mode of the part', calls: 'fchmod', path: part, ends: 'fails', logs: 'DISK_FULL' },
  { what: 'renaming the part', calls: '/^rename', path: part, ends: 'fails', logs: 'DISK_FULL' },
  { what: 'making the state file', calls: 'openat', path: stagedState, ends: 'fails', logs: 'DISK_FULL' },
  { what: 'writing the state file', calls: 'write', path: stagedState, ends: 'fails', logs: 'DISK_FULL' },
  { what: 'syncing the state file', calls: 'fsync', path: stagedState, ends: 'fails', logs: 'DISK_FULL' },
  {
    what: 'renaming the state file',
    calls: '/^rename',
    path: stagedState,
    ends: 'fails',
    logs: 'DISK_FULL',
  },
  {
    what: 'syncing the state directory',
    calls: 'fsync',
    path: (bench) => bench.stateDir,
    ends: 'fails',
    logs: 'DISK_FULL',
  },
  {
    what: 'making the directory of the previous file',
    calls: 'mkdir',
    path: (bench) => dirname(bench.previous),
    ends: 'is done',
    logs: 'Installed',
    start: copied,
  },
  {
    what: 'linking the previous file',
    calls: '/^link',
    path: stagedPrevious,
    ends: 'is done',
    logs: 'Installed',
  },
  {
    what: 'making the copy of the previous file',
    calls: 'openat',
    path: stagedPrevious,
    ends: 'is done',
    logs: 'Installed',
    start: copied,
  },
  {
    what: 'writing the copy of the previous file',
    calls: 'copy_file_range,sendfile,write,pwrite64,ioctl',
    path: stagedPrevious,
    ends: 'is done',
    logs: 'Installed',
    start: copied,
  },
  {
    what: 'syncing the copy of the previous file',
    calls: 'fsync',
    path: stagedPrevious,
    ends: 'is done',
    logs: 'Installed',
    start: copied,
  },
  {
    what: 'renaming the previous file',
    calls: '/^rename',
    path: stagedPrevious,
    ends: 'is done',
    logs: 'Installed',
  },
  {
    what: 'syncing the directory of the previous file',
    calls: 'fsync',
    path: (bench) => dirname(bench.previous),
    ends: 'is done',
    logs: 'Installed',
  },
];

/** Bytes of the files that are there; one with two names counts once. */
function usedBytes(bench: Bench): number {
  const paths = [bench.dataDir, bench.stateDir].flatMap((dir) =>
    bench.names(dir).map((name) => join(dir, name)),
  );
  const files = new Map(paths.map((path) => [lstatSync(path).ino, lstatSync(path).size]));
  return [...files.values()].reduce((sum, size) => sum + size, 0);
}

/** Names of all that lies there. */
function namesAt(bench: Bench): string[] {
  return [...bench.names(bench.dataDir), ...bench.names(bench.stateDir)].sort();
}

function isLitter(name: string): boolean {
  return /\.(?:part|new)$/.test(name);
}

/** With room again, one run ends it. */
async function recovers(bench: Bench): Promise<void> {
  const run = await bench.once();
  expect(run.child.exitCode, run.log).toBe(0);
  expect(bench.fault(updated)).toBeUndefined();
  expect(bench.isReported()).toBe(true);
  expect(namesAt(bench).filter(isLitter)).toEqual([]);
}

function benchOf(start: Start): Bench {
  const bench = benches.get(start);
  if (bench === undefined) throw new Error(`no device for: ${start.name}`);
  bench.restore();
  return bench;
}

function oldOf({ before }: Start): readonly [Uint8Array, number] | 'absent' {
  return before === undefined ? 'absent' : [before, oldMode];
}

// The state file tells when the next attempt is due: that may have a digit more.
const slackBytes = 64;

for (const { what, calls, path, ends, logs, start = update } of steps) {
  toolTest(
    [strace],
    `no room when ${what}: the update ${ends}, nothing is left behind, and room ends it`,
    async () => {
      const bench = benchOf(start);
      const isDone = ends === 'is done';
      const used: number[] = [];
      const before = namesAt(bench);
      for (let attempt = 0; attempt < (isDone ? 1 : 3); attempt += 1) {
        const run = await failing(bench, calls, path(bench), 'ENOSPC');
        expect(run.log).toContain(logs);
        expect(run.child.exitCode, run.log).toBe(isDone ? 0 : 1);
        expect(bench.fault(isDone ? updated : oldOf(start))).toBeUndefined();
        expect(bench.isReported()).toBe(isDone);
        // Only the previous file may go.
        const isNew = (name: string) => (isDone ? isLitter(name) : !before.includes(name));
        expect(namesAt(bench).filter(isNew)).toEqual([]);
        used.push(usedBytes(bench));
      }
      const [first = 0, ...later] = used;
      expect(Math.max(first, ...later)).toBeLessThanOrEqual(first + slackBytes);
      await recovers(bench);
      process.stdout.write(`no room when ${what}: ${logs}, then well\n`);
    },
  );
}

toolTest(
  [strace],
  'as long as the directory of the target cannot be synced, the target is not reported as installed',
  async () => {
    const bench = benchOf(update);
    const run = await failing(bench, 'fsync', bench.dataDir, 'ENOSPC');
    expect(run.log).toContain('DISK_FULL');
    expect(bench.fault(oldOf(update), updated)).toBeUndefined();
    expect(bench.isReported()).toBe(false);
    await recovers(bench);
  },
);
