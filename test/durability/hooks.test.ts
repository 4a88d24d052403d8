/** A file with a hook through kills and power cuts: old or new at every look, and the hook is run for what stays. */
import { afterAll, beforeAll, expect } from 'bun:test';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Bench, linux, newMode, oldMode } from '../support/durability-bench.ts';
import { snapshot } from '../support/durability-disk.ts';
import { failing as failedBy, strace } from '../support/durability-faults.ts';
import { type Judge, killAtEachCall } from '../support/durability-kill.ts';
import { type Loss, losses, type Recording, record, updatedOf } from '../support/durability-power.ts';
import { benchAt, next, type Start, update } from '../support/durability-starts.ts';
import { toolTest } from '../support/tools.ts';
import { noise, sha256, World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await World.create();
});
afterAll(() => world.close());

const old = update.before ?? new Uint8Array();

/** Where a hook writes its runs down: beside the devices, so that its own calls are not counted as the agent's. */
function logOf(bench: Bench): string {
  return join(world.sandbox.dir, `${bench.device.thingName}.runs`);
}

/** An update of a file whose hook writes down each run, then does this. */
function hooked(name: string, script: string): Start {
  const hook = join(world.sandbox.dir, `hook-${name.replaceAll(' ', '-')}`);
  const log = '"$(dirname "$0")/$(basename "$(dirname "$(dirname "$SHADOW_AGENT_PATH")")").runs"';
  writeFileSync(hook, `#!/bin/sh\necho "$SHADOW_AGENT_HASH $SHADOW_AGENT_ROLLBACK" >>${log}\n${script}\n`, {
    mode: 0o755,
  });
  return { ...update, name, file: { onInstall: { command: [hook] } } };
}

const succeeding = () => hooked('update with a hook', 'exit 0');
const failing = () => hooked('update whose hook fails', `[ "$SHADOW_AGENT_HASH" != ${sha256(next)} ]`);

const bad: Uint8Array = noise(80_000);

/** What its hook has refused stands there: what was kept is away, so that it cannot be put back. */
function stuck(): Start {
  const away = '"$(dirname "$0")/$(basename "$SHADOW_AGENT_PREVIOUS")"';
  const refusing = `[ "$SHADOW_AGENT_HASH" != ${sha256(bad)} ] || { mv "$SHADOW_AGENT_PREVIOUS" ${away}; exit 1; }`;
  const start = hooked('update of a refused file', refusing);
  const prepare = async (bench: Bench) => {
    await update.prepare(bench);
    await bench.desire(bad);
    const run = await bench.once();
    if (!run.log.includes('The previous file is no longer in')) throw new Error(run.log);
    chmodSync(bench.target, oldMode);
  };
  return { ...start, before: bad, prepare };
}

/** The last run of the hook, of this kill and the run behind it. */
function lastRun(bench: Bench): string | undefined {
  const path = logOf(bench);
  const last = existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n').at(-1) : undefined;
  rmSync(path, { force: true });
  return last?.trim();
}

function leftovers(bench: Bench, kept: number): string[] {
  const names = [...bench.names(bench.dataDir), ...bench.names(bench.stateDir)];
  const previous = names.filter((name) => name.startsWith('previous/'));
  const others = names.filter(
    (name) => ![...previous, basename(bench.target), 'previous', 'state.json'].includes(name),
  );
  const litter = others.map((name) => `left behind: ${name}`);
  return previous.length === kept ? litter : [...litter, `${previous.length} files are kept`];
}

const applied: Judge = (bench, second) => {
  const run = lastRun(bench);
  return [
    second.child.exitCode === 0 ? undefined : `the second run failed: ${second.log}`,
    bench.fault([next, newMode]),
    bench.isReported() ? undefined : 'it is not reported',
    // The run that was killed may have ended the hook, and the state may have been stored by then.
    run === sha256(next) ? undefined : `the last run of the hook was for ${run}`,
    existsSync(bench.previous) ? undefined : 'the previous file is not kept',
    ...leftovers(bench, 1),
  ];
};

const refused: Judge = (bench, second) => {
  const run = lastRun(bench);
  return [
    second.child.exitCode === 1 ? undefined : `the second run ended with ${second.child.exitCode}`,
    second.log.includes('HOOK_FAILED') ? undefined : `the second run said otherwise: ${second.log}`,
    bench.fault([old, oldMode]),
    bench.isReported() ? 'it is reported' : undefined,
    run === `${sha256(old)} 1` ? undefined : `the last run of the hook was for ${run}`,
    ...leftovers(bench, 1),
  ];
};

const replaced: Judge = (bench, second) => {
  const run = lastRun(bench);
  const { pending, previous } = JSON.parse(readFileSync(bench.stateFile, 'utf8')).files[0];
  return [
    second.child.exitCode === 0 ? undefined : `the second run failed: ${second.log}`,
    bench.fault([next, newMode]),
    bench.isReported() ? undefined : 'it is not reported',
    run === sha256(next) ? undefined : `the last run of the hook was for ${run}`,
    pending === undefined ? undefined : `pending is ${JSON.stringify(pending)}`,
    previous?.sha256 === sha256(old) ? undefined : `the way back is to ${previous?.sha256}`,
    ...leftovers(bench, 0),
  ];
};

const limitMs = 240_000;

toolTest(
  [linux],
  'an update with a hook may be killed before any of its calls: the hook is run for what stays',
  () => killAtEachCall(world, succeeding(), 'hooked', applied),
  limitMs,
);

toolTest(
  [linux],
  'an update whose hook fails may be killed before any of its calls: the old file is back, and its hook has run',
  () => killAtEachCall(world, failing(), 'refused', refused),
  limitMs,
);

toolTest(
  [linux],
  'an update of a refused file that could not be put back may be killed before any of its calls: its way back is kept',
  () => killAtEachCall(world, stuck(), 'stuck', replaced),
  limitMs,
);

toolTest([linux], 'a power cut after any call of an update with a hook skips none', async () => {
  const bench = await benchAt(succeeding(), world, 'cut');
  const recording = await record(bench, next);
  expect(losses(recording)).toEqual([]);
  expect(intents(losses(recording, unannounced(recording)))).not.toEqual([]);
});

toolTest(
  [linux],
  'a power cut after any call of the way back leaves old or new, and the way back known',
  async () => {
    const bench = await benchAt(failing(), world, 'back');
    bench.restore();
    const start = bench.roots.flatMap(snapshot);
    const { run, calls } = await bench.traced({ dataBytes: next.length });
    expect(run.child.exitCode).toBe(1);
    const { target, stateFile, previous } = bench;
    const updated = updatedOf(bench, start, next);
    const nothing = { call: 'send', path: '', result: 0, after: 0 };
    const recording = { start, calls, report: nothing, target, stateFile, previous, updated };
    expect(calls.filter(({ call, to }) => call === 'rename' && to === target).length).toBe(2);
    expect(losses(recording)).toEqual([]);
  },
);

toolTest(
  [strace],
  'a file whose directory could not be synced behind the rename has its hook run once it can be',
  async () => {
    const bench = await benchAt(succeeding(), world, 'unsynced');
    bench.restore();
    const run = await failedBy(bench, 'fsync', bench.dataDir, 'ENOSPC');
    expect(run.child.exitCode, run.log).toBe(1);
    expect(bench.fault([next, newMode])).toBeUndefined();
    expect(lastRun(bench)).not.toBe(sha256(next));
    const second = await bench.once();
    expect(applied(bench, second).filter((fault) => fault !== undefined)).toEqual([]);
  },
);

function intents(found: Loss[]): Loss[] {
  return found.filter(({ promise }) => promise === 'intent');
}

/** The calls without the write of the state file that knows of the hook: a mistake that the model must tell. */
function unannounced({ calls, target, stateFile }: Recording) {
  const renamed = calls.findIndex(({ call, to }) => call === 'rename' && to === target);
  const before = calls.slice(0, renamed);
  const at = before.findLastIndex(({ call, to }) => call === 'rename' && to === stateFile);
  if (at < 0) throw new Error('nothing was announced');
  return calls.toSpliced(at, 1);
}
