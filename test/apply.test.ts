/** The begin of a rollback, and of a hook, on a state file and kept files on disk. */
import { expect, test } from 'bun:test';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Applier } from '../src/apply.ts';
import type { Pending } from '../src/core/pending.ts';
import type { Snapshot } from '../src/core/reconcile.ts';
import { hookNotePath } from '../src/io/hook-note.ts';
import { KeptFiles } from '../src/io/kept.ts';
import { fileId } from '../src/io/part.ts';
import { State } from '../src/io/state.ts';
import { Target } from '../src/io/target.ts';
import { caught, RecordingLog, sha256Of, useTempDir } from './support/io-helpers.ts';

const dir = useTempDir();
const hash = { one: sha256Of('one'), two: sha256Of('two'), three: sha256Of('three') };
const signal = new AbortController().signal;

/** A device on which `two` replaced `one`, and `three` is about to replace `two`. */
async function device({ command = ['true'] } = {}) {
  const [stateDir, path, property] = [join(dir(), 'state'), join(dir(), 'file'), 's3'];
  const log = new RecordingLog();
  const kept = new KeptFiles(stateDir, property, path);
  await mkdir(kept.directory, { recursive: true });
  const state = await State.open(stateDir, log);
  const target = new Target({ property, path, digest: 'native', state, log });
  const onInstall = { command, timeoutSeconds: 10 };
  const file = { property, path, keepPrevious: true, onInstall };
  const applier = new Applier({ file, target, kept, stateDir, digest: 'native', log });
  const previous = { sha256: hash.one };
  const before = { sha256: hash.two };
  const pending: Pending = { step: 'apply', sha256: hash.three, before, keep: true, runs: 1 };
  await writeFile(path, 'three');
  await writeFile(kept.pathOf(previous), 'one');
  await writeFile(kept.pathOf(before), 'two');
  await target.store({ previous, pending });
  const snapshot: Snapshot = {
    desired: { kind: 'unknown' },
    installed: { sha256: hash.three },
    previous,
    pending,
  };
  const stored = async () => JSON.parse(await readFile(join(stateDir, 'state.json'), 'utf8')).files[0];
  const notePath = hookNotePath(stateDir, fileId(property, path));
  return { applier, kept, notePath, pending, snapshot, stored };
}

test('what was kept leads back, and the state file says so first', async () => {
  const { applier, snapshot, stored } = await device();
  const { pending, held } = await applier.begin(snapshot, signal);
  expect([pending?.step, pending?.before?.sha256, held?.sha256]).toEqual(['back', hash.two, hash.three]);
  expect(await stored()).toMatchObject({ pending: { step: 'back' }, held: { sha256: hash.three } });
});

const failed = { message: 'The hook exited with 1' };

test('a way back that a failed hook has begun is a rollback once somebody asks for one', async () => {
  const { applier, snapshot, pending, stored } = await device();
  const begun: Snapshot = { ...snapshot, pending: { ...pending, step: 'back', failed } };
  await applier.begin(begun, signal);
  const { pending: now, held } = await stored();
  expect(now).toMatchObject({ step: 'back', before: { sha256: hash.two }, runs: 0 });
  expect([now.failed, held]).toEqual([undefined, { sha256: hash.three }]);
});

test('what is back already is held, whatever has become of the kept file, and nothing older is a way back', async () => {
  const { applier, kept, snapshot, pending, stored } = await device();
  await writeFile(kept.pathOf({ sha256: hash.two }), 'spoilt');
  await applier.begin({ ...snapshot, pending: { ...pending, step: 'reapply', failed } }, signal);
  expect(await stored()).toMatchObject({ pending: { step: 'reapply' }, held: { sha256: hash.three } });
  expect(await stored()).not.toHaveProperty('previous');
});

test('a kept file that is spoilt does not take the way back of an older one with it', async () => {
  const { applier, kept, snapshot, stored } = await device();
  await writeFile(kept.pathOf({ sha256: hash.two }), 'spoilt');
  const error = await caught(applier.begin(snapshot, signal));
  expect(error.message).toContain('is not what was kept');
  expect(await stored()).toMatchObject({ previous: { sha256: hash.one }, pending: { step: 'apply' } });
});

test('a kept file that is spoilt is no way back, and a refusal leaves all as it is stored', async () => {
  const { applier, kept, snapshot, stored } = await device();
  const before = await stored();
  const { pending: _, ...settled } = snapshot;
  await writeFile(kept.pathOf({ sha256: hash.one }), 'spoilt');
  expect((await caught(applier.wayBack(settled, signal))).message).toContain('is not what was kept');
  expect((await caught(applier.begin(settled, signal))).message).toContain('is not what was kept');
  expect(await stored()).toEqual(before);
});

test('a rollback that is stopped while the kept file is read has changed nothing', async () => {
  const { applier, snapshot, stored } = await device();
  const before = await stored();
  await expect(applier.begin(snapshot, AbortSignal.abort())).rejects.toThrow('abort');
  expect(await stored()).toEqual(before);
});

test('a hook that could not be noted has not run, and does not count as one that was cut short', async () => {
  const { applier, notePath, pending, stored } = await device();
  await mkdir(notePath);
  const step = { do: 'hook', pending: { ...pending, runs: 2 } } as const;
  const outcome = await applier.perform(step, signal);
  expect(outcome).toMatchObject({ kind: 'failed', error: { code: 'INSTALL', retry: 'slow' } });
  expect(await stored()).toMatchObject({ pending: { runs: 1 } });
  await rmdir(notePath);
  expect(await applier.perform(step, signal)).toEqual({ kind: 'hooked' });
  expect(await stored()).toMatchObject({ pending: { runs: 2 } });
});

test('a run counts as cut short where the agent ends, not where a rollback has stopped it', async () => {
  const { applier, pending, stored } = await device({ command: ['sleep', '300'] });
  const step = { do: 'hook', pending: { ...pending, runs: 2 } } as const;
  for (const isEnd of [false, true]) {
    const stop = new AbortController();
    const run = applier.perform(step, stop.signal, isEnd ? stop.signal : signal);
    while ((await stored()).pending.runs !== 2) await setImmediate();
    stop.abort();
    expect(await run).toEqual({ kind: 'superseded' });
    expect(await stored()).toMatchObject({ pending: { runs: isEnd ? 2 : 1 } });
  }
});
