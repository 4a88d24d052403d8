import { afterAll, beforeAll, expect } from 'bun:test';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Bench, linux, newMode } from '../support/durability-bench.ts';
import { type Judge, killAtEachCall } from '../support/durability-kill.ts';
import { copied, first, half, next, older, update } from '../support/durability-starts.ts';
import { makeKey, metadataOf } from '../support/signing.ts';
import { toolTest } from '../support/tools.ts';
import { noise, World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.create();
});
afterAll(() => world.close());

/** An update that was killed is ended by the run that follows. */
const ends =
  (before: Uint8Array | undefined): Judge =>
  (bench, second) => [
    ...(second.child.exitCode === 0 ? [] : [`the second run failed: ${second.log}`]),
    bench.fault([next, newMode]),
    ...leftovers(bench, before),
    ...(bench.isReported() ? [] : ['it is not reported']),
  ];

/** Nothing but the target, the state file and the previous file may stay. */
function leftovers(bench: Bench, before: Uint8Array | undefined): string[] {
  const previous = before === undefined ? [] : ['previous', join('previous', basename(bench.previous))];
  const expected = [basename(bench.target), ...previous, 'state.json'];
  const names = [...bench.names(bench.dataDir), ...bench.names(bench.stateDir)];
  const litter = names.filter((name) => !expected.includes(name)).map((name) => `left behind: ${name}`);
  const missing = expected.filter((name) => !names.includes(name)).map((name) => `missing: ${name}`);
  const isKept = before === undefined || missing.length > 0 || readFileSync(bench.previous).equals(before);
  return [...litter, ...missing, ...(isKept ? [] : ['another file is kept as the previous one'])];
}

const limitMs = 180_000;

toolTest(
  [linux],
  'a first install that is killed before any of its calls leaves the target absent or new, and the next run ends it',
  () => killAtEachCall(world, first, 'first', ends(first.before)),
  limitMs,
);

toolTest(
  [linux],
  'an update that is killed before any of its calls leaves the target old or new, and the next run ends it',
  () => killAtEachCall(world, update, 'update', ends(update.before)),
  limitMs,
);

toolTest(
  [linux],
  'an update whose previous file must be copied may be killed before any of its calls as well',
  () => killAtEachCall(world, copied, 'copied', ends(copied.before)),
  limitMs,
);

toolTest(
  [linux],
  'an update of which half is there may be killed before any of its calls as well',
  () => killAtEachCall(world, half, 'half', ends(half.before)),
  limitMs,
);

toolTest(
  [linux],
  'wherever an update was killed, a rollback leads to the file before the one that is there',
  async () => {
    const there = new Map<Bench, Buffer>();
    const wayBack: Judge = (bench, run) => {
      const expected = there.get(bench)?.equals(next) === true ? update.before : older;
      const isBack = expected !== undefined && readFileSync(bench.target).equals(expected);
      return [isBack ? undefined : `it is not back: ${run.log}`];
    };
    await killAtEachCall(world, update, 'rollback', wayBack, (bench) => {
      there.set(bench, readFileSync(bench.target));
      return bench.rollback();
    });
  },
  limitMs,
);

toolTest(
  [linux],
  'a signed update that was killed before its rename counts as taken: no older release is installed after it',
  async () => {
    const { dir } = world.sandbox;
    const publicKey = await makeKey(dir, 'release.key');
    const bench = await Bench.create(world, 'signed', undefined, { verify: { publicKeys: [publicKey] } });
    const release = async (bytes: Uint8Array, sequence: number) => {
      const metadata = await metadataOf(dir, bytes, { key: 'release.key', sequence });
      await bench.desire(bytes, { metadata });
    };
    await release(older, 3);
    await bench.once();
    await release(next, 10);
    const killed = await bench.traced({ killBefore: { step: `rename ${bench.partOf(next)}`, nth: 1 } });
    expect(await killed.run.exit).toBe(137);
    expect(bench.fault([older, newMode])).toBeUndefined();
    await release(noise(1_000), 5);
    const run = await bench.once();
    expect(run.log).toContain('its sequence 5 is lower than 10');
    expect(bench.fault([older, newMode])).toBeUndefined();
    bench.close();
  },
);
