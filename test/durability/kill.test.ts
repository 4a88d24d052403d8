import { afterAll, beforeAll, expect } from 'bun:test';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Bench, linux, newMode, oldMode } from '../support/durability-bench.ts';
import { benchAt, copied, first, half, next, type Start, update } from '../support/durability-starts.ts';
import { stepOf } from '../support/durability-syscalls.ts';
import { toolTest } from '../support/tools.ts';
import { World } from '../support/world.ts';

const killed = 137;
const devices = 2;

let world: World;
beforeAll(async () => {
  world = await World.create();
});
afterAll(() => world.close());

interface Step {
  step: string;
  nth: number;
}

/** The calls of a whole update, each with how often it has come by then. */
async function stepsOf(bench: Bench): Promise<Step[]> {
  bench.restore();
  const { run, calls } = await bench.traced();
  if (run.child.exitCode !== 0) throw new Error(run.log);
  const counts = new Map<string, number>();
  return calls
    .filter(({ call }) => call !== 'send')
    .map((call) => {
      const step = stepOf(call);
      const nth = (counts.get(step) ?? 0) + 1;
      counts.set(step, nth);
      return { step, nth };
    });
}

/** Kills the update before each of its calls in turn, on two devices, and has the next run end it. */
async function killAtEachCall(start: Start, thing: string): Promise<void> {
  const bad: string[] = [];
  let points = 0;
  let hasFailed = false;
  const benches: Bench[] = [];
  for (let device = 0; device < devices; device += 1) {
    benches.push(await benchAt(start, world, `${thing}-${device}`));
  }
  const play = async (bench: Bench, device: number): Promise<void> => {
    try {
      const steps = await stepsOf(bench);
      for (const step of steps.filter((_, index) => index % devices === device)) {
        if (hasFailed) return;
        bad.push(...(await killOnce(bench, start.before, step)));
        points += 1;
      }
    } finally {
      bench.close();
    }
  };
  const startedMs = performance.now();
  await Promise.all(benches.map(play)).catch((error) => {
    hasFailed = true;
    throw error;
  });
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  process.stdout.write(`${start.name}: killed at ${points} points in ${seconds} s, ${bad.length} bad\n`);
  expect(bad).toEqual([]);
  expect(points).toBeGreaterThanOrEqual(20);
}

/** One kill: what was wrong before it, after it, and after the run that follows. */
async function killOnce(bench: Bench, before: Uint8Array | undefined, killBefore: Step): Promise<string[]> {
  const old = before === undefined ? 'absent' : ([before, oldMode] as const);
  const updated = [next, newMode] as const;
  bench.restore();
  const faults = [bench.fault(old)];
  const { run } = await bench.traced({ killBefore });
  const code = await run.exit;
  // An object may come in fewer chunks than it did the first time.
  const mayEnd = killBefore.step === `write ${bench.partOf(next)}`;
  if (code !== killed && !(mayEnd && code === 0)) throw new Error(`the run ended with ${code}: ${run.log}`);
  faults.push(bench.fault(old, updated));
  const second = await bench.once();
  if ((await second.exit) !== 0) faults.push(`the second run failed: ${second.log}`);
  faults.push(bench.fault(updated), ...leftovers(bench, before));
  if (!bench.isReported()) faults.push('it is not reported');
  const where = `killed before ${killBefore.step}, time ${killBefore.nth}`;
  return faults.filter((fault) => fault !== undefined).map((fault) => `${fault} (${where})`);
}

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
  () => killAtEachCall(first, 'first'),
  limitMs,
);

toolTest(
  [linux],
  'an update that is killed before any of its calls leaves the target old or new, and the next run ends it',
  () => killAtEachCall(update, 'update'),
  limitMs,
);

toolTest(
  [linux],
  'an update whose previous file must be copied may be killed before any of its calls as well',
  () => killAtEachCall(copied, 'copied'),
  limitMs,
);

toolTest(
  [linux],
  'an update of which half is there may be killed before any of its calls as well',
  () => killAtEachCall(half, 'half'),
  limitMs,
);
