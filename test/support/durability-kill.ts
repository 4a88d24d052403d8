/** Kills an update before each of its system calls in turn, and has the next run end it. */
import { expect } from 'bun:test';
import { type Bench, newMode, oldMode } from './durability-bench.ts';
import { benchAt, next, type Start } from './durability-starts.ts';
import { stepOf } from './durability-syscalls.ts';
import type { Run, World } from './world.ts';

const killed = 137;
const devices = 2;

/** What is wrong after what follows a kill. */
export type Judge = (bench: Bench, second: Run) => Array<string | undefined>;

interface Step {
  step: string;
  nth: number;
}

/** The calls of a whole update, each with how often it has come by then. */
async function stepsOf(bench: Bench): Promise<Step[]> {
  bench.restore();
  const { run, calls } = await bench.traced();
  if (run.child.exitCode === null) throw new Error(run.log);
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

/** Kills the update before each of its calls in turn, on two devices; by default the next run is to end it. */
export async function killAtEachCall(
  world: World,
  start: Start,
  thing: string,
  judge: Judge,
  follow = (bench: Bench): Promise<Run> => bench.once(),
): Promise<void> {
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
        bad.push(...(await killOnce(bench, start.before, step, judge, follow)));
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

/** One kill: what was wrong before it, after it, and after what follows. */
async function killOnce(
  bench: Bench,
  before: Uint8Array | undefined,
  killBefore: Step,
  judge: Judge,
  follow: (bench: Bench) => Promise<Run>,
): Promise<string[]> {
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
  faults.push(...judge(bench, await follow(bench)));
  const where = `killed before ${killBefore.step}, time ${killBefore.nth}`;
  return faults.filter((fault) => fault !== undefined).map((fault) => `${fault} (${where})`);
}
