/**
 * The agent's handling of the shadow under everything that can befall it: whatever happens, once it is quiet the files,
 * the reported section and the status are as desired, and it took no more requests than there was cause for.
 */
import { expect, test } from 'bun:test';
import { mkdir, readFile, rename, rmdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { member } from '../../src/core/json.ts';
import {
  closing,
  desiredOf,
  type Event,
  event,
  faults,
  happen,
  prompt,
  slowBucket,
  slowFate,
  urlOf,
} from '../support/property-events.ts';
import { runs } from '../support/property-runs.ts';
import {
  contents,
  type Faults,
  hashes,
  properties,
  resyncSeconds,
  World,
} from '../support/property-world.ts';

const story = {
  fileCount: fc.integer({ min: 1, max: properties.length }),
  faults,
  events: fc.array(event, { maxLength: 15, size: 'max' }),
  last: fc.array(closing, { maxLength: 4 }),
};

/** Puts every object in place that is desired. */
function place(world: World): void {
  for (const { property } of world.files) {
    const desired = desiredOf(world, property);
    const bytes = desired.kind === 'good' ? contents[desired.content] : undefined;
    if (desired.kind === 'good' && bytes !== undefined) world.bucket.put(urlOf(property, desired.key), bytes);
  }
}

// Its jitter is a quarter of it either way.
const longestResyncMs = resyncSeconds * 1250;

/** Ends all faults and waits for one resync. */
async function quiet(world: World): Promise<void> {
  world.heal();
  place(world);
  // A wait for the next resync may just have begun; what follows it takes seconds.
  await world.advance(longestResyncMs + 60_000);
}

async function expectAsDesired(world: World): Promise<void> {
  for (const file of world.files) {
    const { property } = file;
    const desired = desiredOf(world, property);
    if (desired.kind === 'good') {
      const hash = hashes[desired.content];
      expect(await world.held(file)).toBe(hash);
      expect(member(world.section('reported'), property)).toEqual(desired.value);
      expect(world.status(property)).toEqual({ status: 'current', hash: hash ?? '' });
      expect(member(world.section('delta'), property)).toBeUndefined();
    }
    if (desired.kind === 'malformed') {
      expect(world.status(property)).toMatchObject({ status: 'failed', code: 'DESIRED_INVALID' });
    }
  }
}

/** What there is to see of each file from outside. */
function seen(world: World) {
  return Promise.all(
    world.files.map(async (file) => ({
      held: await world.held(file),
      reported: member(world.section('reported'), file.property),
      status: world.status(file.property),
    })),
  );
}

type Seen = Awaited<ReturnType<typeof seen>>;

/** What is malformed changes no file, and what is no longer desired not even what is said of it. */
function expectUntouched(world: World, last: Event[], before: Seen, after: Seen): void {
  world.files.forEach((_, index) => {
    const kinds = last.filter((one) => one.file % world.files.length === index).map(({ kind }) => kind);
    if (kinds.every((kind) => kind === 'desire malformed' || kind === 'desire nothing')) {
      expect(after[index]?.held).toBe(before[index]?.held);
    }
    const isLeftAlone = last.every(({ kind }) => kind !== 'report on the agent');
    if (isLeftAlone && kinds.every((kind) => kind === 'desire nothing'))
      expect(after[index]).toEqual(before[index]);
  });
}

/** Nothing is left to do: one more resync reads the document and leaves all as it is. */
async function expectRest(world: World): Promise<void> {
  const look = async () => ({ files: await seen(world), version: world.version });
  const before = { ...(await look()), ...counts(world) };
  await world.advance(longestResyncMs);
  const { gets } = counts(world);
  expect({ ...(await look()), ...counts(world) }).toEqual({ ...before, gets });
  expect(gets - before.gets).toBeLessThanOrEqual(2);
}

function counts({ broker, bucket }: World) {
  return { gets: broker.counts.get, updates: broker.counts.update, objects: bucket.counts.requests };
}

/** Each request has a cause: something that happened, something that failed, or an hour that has passed. */
function expectFewRequests(world: World, events: number): void {
  const { connects, faults } = world.broker.counts;
  const causes = 4 + events + connects + faults + world.bucket.counts.failures + world.hours;
  const { gets, updates, objects } = counts(world);
  // A failed attempt rings and reports at once: what is read meanwhile is in doubt, and read once more.
  expect(gets).toBeLessThanOrEqual(3 * causes);
  expect(updates).toBeLessThanOrEqual(2 * causes);
  expect(objects).toBeLessThanOrEqual(2 * causes);
  expect(world.broker.violations).toEqual([]);
}

/** Plays in a world of its own; where it fails, the last lines of the agent's log are part of the error. */
async function inWorld(fileCount: number, faults: Faults, play: (world: World) => Promise<void>) {
  const world = await World.start(fileCount, faults);
  try {
    await play(world);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${world.lastLog()}`, {
      cause: error,
    });
  } finally {
    await world.close();
  }
}

test('whatever befell it, one quiet resync later the agent has what is desired, says so, and rests', async () => {
  const property = fc.asyncProperty(fc.record(story), ({ fileCount, faults, events, last }) =>
    inWorld(fileCount, faults, async (world) => {
      for (const one of events) await happen(world, one);
      await quiet(world);
      await expectAsDesired(world);
      const before = await seen(world);
      for (const one of last) await happen(world, one);
      await quiet(world);
      await expectAsDesired(world);
      expectUntouched(world, last, before, await seen(world));
      await expectRest(world);
      expectFewRequests(world, events.length + last.length);
    }),
  );
  await fc.assert(property, { numRuns: runs(80) });
});

test('on a link that only delays and repeats, every change is taken in within a minute', async () => {
  const property = fc.asyncProperty(
    fc.integer({ min: 1, max: properties.length }),
    fc.record({
      messages: fc.array(slowFate, { maxLength: 60, size: 'max' }),
      connects: fc.array(fc.constant({ delayMs: 100, refused: false }), { maxLength: 1 }),
      bucket: fc.array(slowBucket),
      seed: fc.integer(),
    }),
    fc.array(prompt, { maxLength: 12, size: 'max' }),
    (fileCount, faults, events) =>
      inWorld(fileCount, faults, async (world) => {
        // The first answer: what happens before it is no change.
        await world.advance(60_000);
        for (const one of events) {
          await happen(world, { ...one, thenMs: undefined });
          place(world);
          if (one.thenMs === undefined) continue;
          await world.advance(one.thenMs);
          if (one.thenMs >= 60_000) await expectAsDesired(world);
        }
        await world.advance(60_000);
        await expectAsDesired(world);
        expectFewRequests(world, events.length);
      }),
  );
  await fc.assert(property, { numRuns: runs(60) });
});

test('a report that somebody undoes while its acknowledgement is on the way is made again', () =>
  inWorld(1, { messages: [], connects: [], bucket: [], seed: 0 }, async (world) => {
    const want = { key: 0, content: 1, extra: {}, token: undefined };
    await world.advance(60_000);
    world.slow.set('update/accepted', 2_000);
    await happen(world, { kind: 'upload', file: 0, thenMs: 1_100, ...want });
    await happen(world, { kind: 'report', file: 0, thenMs: 60_000, value: null });
    await expectAsDesired(world);
  }));

const noFaults = { messages: [], connects: [], bucket: [], seed: 0 };
const upload = { kind: 'upload', file: 0, key: 0, content: 1, extra: {}, token: undefined } as const;

test('what could not be stored is stored within a minute of the room for it, and both are told once', () =>
  inWorld(1, noFaults, async (world) => {
    await world.advance(60_000);
    await happen(world, { ...upload, thenMs: 60_000 });
    const path = join(world.dir, 'state', 'state.json');
    const stored = async () => JSON.parse(await readFile(path, 'utf8')).files[0].desired;
    expect(await stored()).toBeDefined();
    // No file can be made where a directory stands.
    await mkdir(`${path}.new`);
    await happen(world, { kind: 'desire nothing', file: 0, thenMs: 600_000 });
    expect(await stored()).toBeDefined();
    expect(world.log.of('error').map(({ message }) => message)).toEqual([
      'Cannot write the state file: EISDIR',
    ]);
    await rmdir(`${path}.new`);
    await world.advance(60_000);
    expect(await stored()).toBeUndefined();
    expect(world.log.of('info').at(-1)?.message).toBe('The state file is written again');
  }));

test('a target that cannot be read counts one attempt for each wait, however often the shadow is heard meanwhile', () =>
  inWorld(1, noFaults, async (world) => {
    const files = join(world.dir, 'files');
    await rename(files, `${files}.away`);
    // A loop of links: even root cannot look behind it.
    await symlink('files', files);
    await world.advance(60_000);
    await happen(world, { ...upload, thenMs: 1_000 });
    for (let heard = 0; heard < 5; heard += 1) {
      world.foreign({ desired: { other: heard } });
      await world.advance(1_000);
    }
    expect(world.status('s3')).toMatchObject({ code: 'INSTALL', attempt: 1 });
    await world.advance(60_000);
    expect(world.status('s3')).toMatchObject({ code: 'INSTALL', attempt: 2 });
  }));

test('a target that cannot be read is not replaced on the word of what was desired last either', () => {
  const refused = Array.from({ length: 50 }, () => ({ delayMs: 0, refused: true }));
  const connects = [{ delayMs: 0, refused: false }, ...refused];
  return inWorld(1, { ...noFaults, connects }, async (world) => {
    await world.advance(60_000);
    await happen(world, { ...upload, thenMs: 60_000 });
    const files = join(world.dir, 'files');
    await rename(files, `${files}.away`);
    await symlink('files', files);
    const seen = world.log.entries.length;
    await world.restart();
    await world.advance(60_000);
    const told = world.log.entries.slice(seen).map(({ message }) => message);
    expect(told).not.toContain('Updating');
    expect(told.some((message) => message.startsWith('Cannot read'))).toBe(true);
  });
});
