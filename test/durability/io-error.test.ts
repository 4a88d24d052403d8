/** A sync that has failed once proves nothing when it succeeds: Linux may take the pages for written meanwhile. */
import { afterAll, beforeAll, expect } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bench, newMode, oldMode } from '../support/durability-bench.ts';
import { failing, strace } from '../support/durability-faults.ts';
import { benchAt, next, older, type Start, update } from '../support/durability-starts.ts';
import { toolTest } from '../support/tools.ts';
import { executable, noise, Run, scenario, World } from '../support/world.ts';

let world: World;
const benches: Bench[] = [];
beforeAll(async () => {
  world = await World.create();
});
afterAll(async () => {
  for (const bench of benches) bench.close();
  await world.close();
});

async function made(start: Start, thingName: string): Promise<Bench> {
  const bench = await benchAt(start, world, thingName);
  benches.push(bench);
  return bench;
}

/** Where each GET started; the bench's objects are named by their hashes, so that all of them count. */
function offsets(from: number): number[] {
  const gets = world.gets().slice(from);
  return gets.map(({ range }) => Number(/^bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0));
}

const large = noise(40 * 1024 * 1024);

interface Case {
  what: string;
  calls: string;
  bytes: Uint8Array;
}

const cases: Case[] = [
  { what: 'the sync of its bytes', calls: 'fdatasync', bytes: next },
  { what: 'the sync of its mode and owner', calls: 'fsync', bytes: next },
  { what: 'the sync in mid-download', calls: 'fdatasync', bytes: large },
];

for (const [index, { what, calls, bytes }] of cases.entries()) {
  toolTest(
    [strace],
    `a part of which ${what} fails is worth nothing: the next run asks S3 for the whole again`,
    async () => {
      const bench = await made(update, `sync-${index}`);
      await bench.desire(bytes);
      const { before = new Uint8Array() } = update;
      const run = await failing(bench, calls, bench.partOf(bytes), 'EIO');
      expect(run.child.exitCode, run.log).toBe(1);
      expect(run.log).toContain('to the disk: EIO');
      expect(bench.fault([before, oldMode])).toBeUndefined();
      expect(bench.isReported()).toBe(false);
      expect(bench.names(bench.dataDir)).toEqual(['app.bin']);
      const asked = world.gets().length;
      const second = await bench.once();
      expect(second.child.exitCode, second.log).toBe(0);
      expect(offsets(asked)[0]).toBe(0);
      expect(bench.fault([bytes, newMode])).toBeUndefined();
      expect(bench.isReported()).toBe(true);
    },
  );
}

toolTest(
  [strace],
  'where the rename fails, a rollback still leads to the file before the present one',
  async () => {
    const bench = await made(update, 'rename');
    const run = await failing(bench, 'rename', bench.partOf(next), 'EPERM');
    expect(run.child.exitCode, run.log).toBe(1);
    expect(bench.fault([update.before ?? new Uint8Array(), oldMode])).toBeUndefined();
    const back = new Run(
      await executable(),
      ['rollback', 's3', '--config', bench.device.configPath],
      bench.device.dir,
    );
    expect(await back.exit, back.log).toBe(0);
    expect(readFileSync(bench.target).equals(older)).toBe(true);
  },
);

toolTest(
  [strace],
  'a state file of which the sync fails is written anew, and what must be safe before the rename waits for it',
  async () => {
    const bench = await made({ ...update, file: { onInstall: { command: ['/bin/true'] } } }, 'state');
    const run = await failing(bench, 'fsync', `${bench.stateFile}.new`, 'EIO');
    expect(run.child.exitCode, run.log).toBe(1);
    expect(run.log).toContain('Cannot write the state file: EIO');
    expect(bench.fault([update.before ?? new Uint8Array(), oldMode])).toBeUndefined();
    const second = await bench.once();
    expect(second.child.exitCode, second.log).toBe(0);
    expect(bench.fault([next, newMode])).toBeUndefined();
  },
);

toolTest([strace], 'a kept file that cannot be read for now stays the way back', () =>
  scenario(async (world) => {
    for (const body of ['one\n', 'two\n']) {
      await world.put('test.txt', body);
      const run = await world.run(['--config', world.device.configPath, '--once']);
      expect(await run.exit, run.log).toBe(0);
    }
    const directory = join(world.device.dir, 'state', 'previous');
    const [name = ''] = readdirSync(directory);
    const calls = 'read,pread64';
    const inject = ['-e', `trace=${calls}`, '-e', `inject=${calls}:error=EIO`];
    const args = ['-f', '-qq', '-o', '/dev/null', '-P', join(directory, name), ...inject];
    const rollback = ['rollback', 's3', '--config', world.device.configPath];
    const failed = new Run(strace.path, [...args, await executable(), ...rollback], world.device.dir);
    expect(await failed.exit).toBe(1);
    expect(failed.log).toMatch(/^error: INSTALL: Cannot read \S+previous\S+: EIO$/m);
    const done = await world.run(rollback);
    expect(await done.exit, done.log).toBe(0);
    expect(world.file()).toBe('one\n');
  }),
);
