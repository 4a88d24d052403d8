import { afterAll, beforeAll, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type PartRecord, partRecord } from '../../src/io/part-record.ts';
import { Bench, linux } from '../support/durability-bench.ts';
import type { TracedCall } from '../support/durability-syscalls.ts';
import { type Downloads, useDownloads } from '../support/io-download-fixture.ts';
import { brokenOff, s3Answer } from '../support/io-object-server.ts';
import { toolTest } from '../support/tools.ts';
import { noise, World } from '../support/world.ts';

const fixture = useDownloads();

const synced = 120_000;
const inPart = 200_000;

/** A part of which only the first bytes outlasted a power cut: the rest has its length, and holds zeros. */
async function leavePart(at: Downloads, goodBytes: number): Promise<void> {
  const bytes = at.object.bytes.slice(0, inPart);
  await writeFile(at.partOf(), bytes.fill(0, goodBytes));
}

/** What the boot before this one stored. */
function recordOf(at: Downloads, changes: Partial<PartRecord> = {}): PartRecord {
  const { sha256, url } = at.artifact();
  const facts = { sha256, source: url, etag: at.object.etag, size: at.object.bytes.length };
  return partRecord({ ...facts, syncedBytes: synced, bootId: 'boot-1', ...changes });
}

test('after another boot the part is cut back to what was synced, and goes on from there', async () => {
  const at = fixture();
  await leavePart(at, synced);
  at.server.script = [s3Answer(at.object)];
  expect(await at.attempt({ record: recordOf(at), bootId: 'boot-2' })).toEqual(at.object.bytes);
  expect(at.asked()).toEqual([{ range: `bytes=${synced}-`, 'if-match': at.object.etag }]);
  expect(at.record).toMatchObject({ syncedBytes: synced, bootId: 'boot-2' });
});

test('within one boot a restart keeps the whole part, synced or not', async () => {
  const at = fixture();
  await leavePart(at, inPart);
  at.server.script = [s3Answer(at.object)];
  expect(await at.attempt({ record: recordOf(at), bootId: 'boot-1' })).toEqual(at.object.bytes);
  expect(at.asked()).toEqual([{ range: `bytes=${inPart}-`, 'if-match': at.object.etag }]);
});

test('after another boot a part of which nothing was synced starts from nothing', async () => {
  const at = fixture();
  await leavePart(at, 0);
  at.server.script = [s3Answer(at.object)];
  const record = recordOf(at, { syncedBytes: 0 });
  expect(await at.attempt({ record, bootId: 'boot-2' })).toEqual(at.object.bytes);
  expect(at.asked()).toEqual([{}]);
});

test('a device that no longer tells its boot trusts only what was synced', async () => {
  const at = fixture();
  await leavePart(at, synced);
  at.server.script = [s3Answer(at.object)];
  expect(await at.attempt({ record: recordOf(at), bootId: undefined })).toEqual(at.object.bytes);
  expect(at.asked()).toEqual([{ range: `bytes=${synced}-`, 'if-match': at.object.etag }]);
});

test('a part that is shorter than what was synced is taken as it is', async () => {
  const at = fixture();
  await leavePart(at, inPart);
  at.server.script = [s3Answer(at.object)];
  const record = recordOf(at, { syncedBytes: inPart + 1_000 });
  expect(await at.attempt({ record, bootId: 'boot-2' })).toEqual(at.object.bytes);
  expect(at.asked()).toEqual([{ range: `bytes=${inPart}-`, 'if-match': at.object.etag }]);
});

for (const end of ['a cut', 'a stop'] as const) {
  test(`after ${end} all that is kept is synced: another boot goes on at its end`, async () => {
    const at = fixture();
    at.server.script = [end === 'a cut' ? at.cut(inPart) : brokenOff(at.object, inPart), s3Answer(at.object)];
    const stop = new AbortController();
    const onProgress = (bytes: number) => {
      if (end === 'a stop' && bytes === inPart) stop.abort(new Error('stopped'));
    };
    const job = end === 'a cut' ? {} : { onProgress, signal: stop.signal };
    await expect(at.attempt({ bootId: 'boot-1', ...job })).rejects.toThrow();
    expect(at.record).toMatchObject({ syncedBytes: inPart, bootId: 'boot-1', etag: at.object.etag });
    expect(await at.attempt({ bootId: 'boot-2' })).toEqual(at.object.bytes);
    expect(at.asked()[1]).toEqual({ range: `bytes=${inPart}-`, 'if-match': at.object.etag });
  });
}

const mebibyte = 1024 * 1024;
const mostLostBytes = 32 * mebibyte;

/** How far the part was ahead, at most, of its last sync and of what the state file safely says of it. */
function lags(calls: TracedCall[], part: string, stateFile: string): { disk: number; state: number } {
  let written = 0;
  /** What was written when each call had ended. */
  const history: number[] = [];
  let synced = 0;
  let isMade = false;
  /** A part whose name is not on the disk is lost with all that is in it. */
  let isNamed = false;
  let staged = 0;
  let stored = 0;
  const most = { disk: 0, state: 0 };
  for (const { call, path, to, offset = 0, result, after, data = '' } of calls) {
    if (path === part && call === 'write') written = Math.max(written, offset + result);
    // What is written while a sync is under way need not be in it.
    if (path === part && ['sync', 'datasync'].includes(call)) synced = history[after - 1] ?? 0;
    isNamed ||= isMade && call === 'sync' && path === dirname(part);
    isMade ||= call === 'open' && path === part && result >= 0;
    history.push(written);
    const safe = isNamed ? synced : 0;
    if (path === `${stateFile}.new` && call === 'write') {
      staged = Number(/"syncedBytes": (\d+)/.exec(Buffer.from(data, 'base64').toString())?.[1] ?? 0);
      expect(staged).toBeLessThanOrEqual(safe);
    }
    if (call === 'rename' && path === part) break;
    if (call === 'rename' && to === stateFile) stored = staged;
    most.disk = Math.max(most.disk, written - safe);
    most.state = Math.max(most.state, written - stored);
  }
  return most;
}

let world: World;
beforeAll(async () => {
  world = await World.create();
});
afterAll(() => world.close());

toolTest([linux], 'a power cut costs at most 32 MiB of a download', async () => {
  const bytes = noise(80 * mebibyte);
  const bench = await Bench.create(world, 'large');
  await bench.desire(bytes);
  const { run, calls } = await bench.traced({ dataBytes: 4096 });
  expect(run.child.exitCode).toBe(0);
  const { disk, state } = lags(calls, bench.partOf(bytes), bench.stateFile);
  process.stdout.write(`80 MiB: at most ${disk} bytes not synced, ${state} beyond the record\n`);
  expect(disk).toBeGreaterThan(16 * mebibyte);
  expect(disk).toBeLessThanOrEqual(mostLostBytes);
  expect(state).toBeLessThanOrEqual(mostLostBytes);
});
