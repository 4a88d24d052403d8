/** How a device may stand before an update. */
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import type { JsonObject } from '../../src/core/json.ts';
import { Bench, oldMode } from './durability-bench.ts';
import { noise, until, type World } from './world.ts';

/** What the target held before that. */
export const older: Uint8Array = noise(1_000);
const old = noise(100_000);
/** What the update brings, in a few chunks. */
export const next: Uint8Array = noise(300_000);

export interface Start {
  name: string;
  /** What the target holds; undefined for no target, no directory of it, and no state. */
  before: Uint8Array | undefined;
  /** Where the state is, if not beside the target: on another file system, which has no links to the target. */
  stateRoot?: string;
  /** Further keys of the file in agent.json. */
  file?: JsonObject;
  prepare: (bench: Bench) => Promise<void>;
  /** What has been done of the update itself. */
  begin?: (bench: Bench) => Promise<void>;
}

export const first: Start = {
  name: 'first install',
  before: undefined,
  prepare: async () => undefined,
};

export const update: Start = {
  name: 'update',
  before: old,
  prepare: async (bench) => {
    for (const bytes of [older, old]) {
      await bench.desire(bytes);
      const run = await bench.once();
      if (run.child.exitCode !== 0) throw new Error(run.log);
    }
    chmodSync(bench.target, oldMode);
    // With another owner than the agent's the update has a chown in it; only root can give files away.
    if (process.geteuid?.() === 0) chownSync(bench.target, 1000, 1000);
  },
};

const halfBytes = 150_000;

/** A run that was killed in mid-download. */
export const half: Start = {
  ...update,
  name: 'update of which half is there',
  begin: async (bench) => {
    const { faults } = bench.world.sandbox;
    faults.set('s3-stall', halfBytes, 1);
    const run = await bench.start();
    await until('half a part', () => sizeOf(bench.partOf(next)) === halfBytes);
    await run.stop('SIGKILL');
  },
};

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

export const copied: Start = {
  name: 'update with the state on another file system',
  before: old,
  stateRoot: '/dev/shm',
  prepare: async (bench) => {
    mkdirSync(bench.dataDir);
    writeFileSync(bench.target, old);
    chmodSync(bench.target, oldMode);
  },
};

/** A device that stands so, and desires the update. */
export async function benchAt(start: Start, world: World, thingName: string): Promise<Bench> {
  const bench = await Bench.create(world, thingName, start.stateRoot, start.file);
  await start.prepare(bench);
  await bench.desire(next);
  await start.begin?.(bench);
  bench.save();
  return bench;
}
