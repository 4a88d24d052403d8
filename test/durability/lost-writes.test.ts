import { afterAll, beforeAll, expect } from 'bun:test';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Bench, linux } from '../support/durability-bench.ts';
import { type Loss, losses, type Recording, record, reportIn } from '../support/durability-power.ts';
import { benchAt, copied, first, half, next, type Start, update } from '../support/durability-starts.ts';
import type { TracedCall } from '../support/durability-syscalls.ts';
import { root, type Tool, toolTest } from '../support/tools.ts';
import { World } from '../support/world.ts';

const starts = [first, update, copied, half];

let world: World;
const benches = new Map<Start, Bench>();
const recordings = new Map<Start, Recording>();

beforeAll(async () => {
  world = await World.create();
  if (!linux.found) return;
  for (const [index, start] of starts.entries()) {
    const bench = await benchAt(start, world, `thing-${index}`);
    benches.set(start, bench);
    recordings.set(start, await record(bench, next));
  }
}, 60_000);
afterAll(async () => {
  for (const bench of benches.values()) bench.close();
  await world.close();
});

function of<T>(found: Map<Start, T>, start: Start): T {
  const one = found.get(start);
  if (one === undefined) throw new Error(`nothing was recorded of: ${start.name}`);
  return one;
}

function broken(promise: Loss['promise'], found: Loss[]): string[] {
  return [...new Set(found.filter((loss) => loss.promise === promise).map(({ what }) => what))];
}

for (const start of starts) {
  toolTest([linux], `${start.name}: a power cut after any call leaves the target as it was or new`, () => {
    const recording = of(recordings, start);
    const files = recording.calls.filter(({ call }) => call !== 'send').length;
    process.stdout.write(`${start.name}: power cut at ${files} points\n`);
    expect(files).toBeGreaterThan(20);
    expect(broken('target', losses(recording))).toEqual([]);
  });

  toolTest([linux], `${start.name}: a power cut after any call leaves the state file whole`, () => {
    expect(broken('state', losses(of(recordings, start)))).toEqual([]);
  });

  toolTest([linux], `${start.name}: no power cut undoes what is reported`, () => {
    expect(broken('reported', losses(of(recordings, start)))).toEqual([]);
  });

  toolTest([linux], `${start.name}: the previous file is safe before the target can be new`, () => {
    expect(broken('previous', losses(of(recordings, start)))).toEqual([]);
  });

  toolTest(
    [linux],
    `${start.name}: the state file knows of the new file before the target can be new`,
    () => {
      expect(broken('intent', losses(of(recordings, start)))).toEqual([]);
    },
  );
}

/** The last call that changes a file: the link may send meanwhile. */
function lastChange(calls: TracedCall[]): TracedCall | undefined {
  return calls.findLast(({ call }) => call !== 'send');
}

toolTest([linux], 'what a killed run renamed is synced by the next one before that reports it', async () => {
  const bench = of(benches, update);
  const { calls: _, ...recording } = of(recordings, update);
  bench.restore();
  const killBefore = { step: `sync ${bench.dataDir}`, nth: 1 };
  const killed = await bench.traced({ killBefore, dataBytes: next.length });
  expect(lastChange(killed.calls)?.to).toBe(bench.target);
  const second = await bench.traced({ dataBytes: next.length });
  expect(second.run.child.exitCode).toBe(0);
  const both = [...killed.calls, ...second.calls];
  const report = reportIn(bench, second.calls, next);
  expect(broken('reported', losses({ ...recording, calls: both, report }))).toEqual([]);
});

toolTest(
  [linux],
  'a directory that a killed run made is synced by the next one before that reports',
  async () => {
    const bench = of(benches, first);
    const { calls: _, ...recording } = of(recordings, first);
    bench.restore();
    // The first sync is for the state directory, which is beside that of the target.
    const killBefore = { step: `sync ${bench.device.dir}`, nth: 2 };
    const killed = await bench.traced({ killBefore, dataBytes: next.length });
    const made = killed.calls.findIndex(
      (call) => call.call === 'mkdir' && call.path === bench.dataDir && call.result === 0,
    );
    expect(made).toBeGreaterThanOrEqual(0);
    const isSynced = ({ call, path }: TracedCall) => syncs.includes(call) && path === bench.device.dir;
    expect(killed.calls.slice(made).filter(isSynced)).toEqual([]);
    const second = await bench.traced({ dataBytes: next.length });
    expect(second.run.child.exitCode).toBe(0);
    const both = [...killed.calls, ...second.calls];
    const report = reportIn(bench, second.calls, next);
    expect(broken('reported', losses({ ...recording, calls: both, report }))).toEqual([]);
  },
);

toolTest([linux], 'a file that somebody else put there is synced before it is reported', async () => {
  const bench = await benchAt(first, world, 'thing-there');
  mkdirSync(bench.dataDir);
  writeFileSync(bench.target, next);
  const { calls } = await bench.traced();
  const report = calls.indexOf(reportIn(bench, calls, next));
  const places = [bench.target, bench.dataDir].map((path) =>
    calls.findIndex((call) => syncs.includes(call.call) && call.path === path),
  );
  for (const place of places) expect(place).toBeGreaterThanOrEqual(0);
  for (const place of places) expect(place).toBeLessThan(report);
});

interface Spoilt {
  what: string;
  breaks: Loss['promise'];
  /** What it needs besides. */
  tools?: readonly Tool[];
  /** The recorded calls with this mistake in them. */
  calls: (recording: Recording, bench: Bench) => TracedCall[];
}

const syncs = ['sync', 'datasync'];

function without(calls: TracedCall[], kinds: string[], path: string): TracedCall[] {
  return calls.filter((call) => !kinds.includes(call.call) || call.path !== path);
}

/** The calls with one put right before the first of others. */
function before(calls: TracedCall[], added: TracedCall, isIt: (call: TracedCall) => boolean): TracedCall[] {
  const rest = calls.filter((call) => call !== added);
  return rest.toSpliced(rest.findIndex(isIt), 0, added);
}

const spoilt: Spoilt[] = [
  {
    what: 'the part is not synced before the rename',
    breaks: 'target',
    calls: ({ calls }, bench) => without(calls, syncs, bench.partOf(next)),
  },
  {
    what: 'the mode is set after the last sync of the part',
    breaks: 'target',
    calls: ({ calls, target }, bench) => {
      const part = bench.partOf(next);
      const late = calls.filter(({ call, path }) => call === 'chmod' && path === part);
      return late.reduce(
        (all, chmod) => before(all, chmod, ({ call, to }) => call === 'rename' && to === target),
        calls,
      );
    },
  },
  {
    what: 'the owner is set after the rename',
    breaks: 'target',
    tools: [root],
    calls: ({ calls, target }, bench) => {
      const late = calls.filter(({ call, path }) => call === 'chown' && path === bench.partOf(next));
      const renamed = calls.findIndex(({ call, to }) => call === 'rename' && to === target);
      const chowns = late.map((chown) => ({ ...chown, path: target }));
      return calls.toSpliced(renamed + 1, 0, ...chowns).filter((call) => !late.includes(call));
    },
  },
  {
    what: 'the target is removed before the rename',
    breaks: 'target',
    calls: ({ calls, target }) =>
      before(calls, { call: 'unlink', path: target, result: 0, after: 0 }, ({ to }) => to === target),
  },
  {
    what: 'the state file is not synced before its rename',
    breaks: 'state',
    calls: ({ calls, stateFile }) => without(calls, syncs, `${stateFile}.new`),
  },
  {
    what: 'the directory of the target is not synced',
    breaks: 'reported',
    calls: ({ calls }, bench) => without(calls, syncs, bench.dataDir),
  },
  {
    what: 'the report goes out before the directory is synced',
    breaks: 'reported',
    calls: ({ calls, report }, bench) =>
      before(calls, report, ({ call, path }) => call === 'sync' && path === bench.dataDir),
  },
  {
    what: 'the directory of the previous file is not synced',
    breaks: 'previous',
    calls: ({ calls, previous }) => without(calls, syncs, dirname(previous)),
  },
];

for (const { what, breaks, tools = [], calls } of spoilt) {
  toolTest([linux, ...tools], `the model tells when ${what}`, () => {
    const recording = of(recordings, update);
    const wrong = calls(recording, of(benches, update));
    expect(wrong).not.toEqual(recording.calls);
    expect(broken(breaks, losses(recording, wrong))).not.toEqual([]);
  });
}
