/** The publisher and the writer in the sandbox: real uploads, S3's own event JSON, AWS's clients. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isJsonObject, type JsonObject, type JsonValue, member } from '../../src/core/json.ts';
import type { Route } from '../../src/sandbox/lambdas.ts';
import type { ObjectCreated } from '../../src/sandbox/s3/server.ts';
import { s3Event } from '../../src/sandbox/s3-event.ts';
import { bucketName, Sandbox } from '../../src/sandbox/sandbox.ts';
import { oddKeys } from '../support/odd-keys.ts';
import { sha256 } from '../support/world.ts';

let sandbox: Sandbox;
let log: string[];
beforeEach(async () => {
  log = [];
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-'));
  sandbox = await Sandbox.start({ dir, log: (line) => log.push(line) });
});
afterEach(async () => {
  await sandbox.close();
  await rm(sandbox.dir, { recursive: true, force: true });
});

const thing: Route = { bucket: bucketName, prefix: '', target: 'things/test-thing', property: 's3' };

async function put(key: string, content: string, bucket = bucketName): Promise<void> {
  await sandbox.s3.store.put(bucket, key, content);
}

function desired(thingName = 'test-thing', property = 's3', shadowName?: string): JsonValue | undefined {
  const state = sandbox.shadow(thingName, shadowName)?.['state'];
  const section = isJsonObject(state) ? member(state, 'desired') : undefined;
  return isJsonObject(section) ? member(section, property) : undefined;
}

function hashOf(thingName = 'test-thing'): JsonValue | undefined {
  const value = desired(thingName);
  return isJsonObject(value) ? value['hash'] : undefined;
}

/** Uploads without telling the publisher, and yields the event of each. */
async function eventsOf(
  uploads: ReadonlyArray<readonly [key: string, content: string]>,
  bucket = bucketName,
): Promise<JsonObject[]> {
  const events: JsonObject[] = [];
  const handle = sandbox.lambdas.handle;
  let nowMs = Date.now();
  sandbox.lambdas.handle = (created: ObjectCreated) => {
    nowMs += 1;
    events.push(s3Event(created, 'us-east-1', nowMs));
  };
  for (const [key, content] of uploads) await put(key, content, bucket);
  sandbox.lambdas.handle = handle;
  return events;
}

async function deliver(events: readonly JsonValue[], settings = thing): Promise<void> {
  for (const event of events) {
    sandbox.lambdas.invoke(settings, event);
    await sandbox.lambdas.idle();
  }
}

function versionOf(thingName = 'test-thing'): JsonValue | undefined {
  return sandbox.shadow(thingName)?.['version'];
}

describe('one thing', () => {
  test('an upload is desired with every field, and none that is not used', async () => {
    await put('dir/hoge.txt', 'hoge\n');
    await sandbox.lambdas.idle();
    expect(desired()).toEqual({
      url: `s3://${bucketName}/dir/hoge.txt`,
      hash: sha256('hoge\n'),
      size: 5,
      sequencer: expect.stringMatching(/^[0-9A-F]+$/),
      uploadedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    });
  });

  test('in a bucket with versions the version is desired, and read', async () => {
    sandbox.s3.store.createBucket('versioned', { versioned: true });
    sandbox.lambdas.route({ ...thing, bucket: 'versioned' });
    await sandbox.s3.store.put('versioned', 'key', 'old');
    await sandbox.lambdas.idle();
    const first = desired();
    await sandbox.s3.store.put('versioned', 'key', 'new');
    await sandbox.lambdas.idle();
    expect(first).toMatchObject({ hash: sha256('old'), versionId: expect.stringMatching(/^.{32}$/) });
    expect(desired()).toMatchObject({ hash: sha256('new'), versionId: expect.stringMatching(/^.{32}$/) });
    const gets = sandbox.s3.requests.filter(({ method }) => method === 'GET');
    expect(gets.map(({ versionId }) => versionId)).not.toContain(undefined);
    // A bucket without versions: the version that is left over goes.
    await put('key', 'plain');
    await sandbox.lambdas.idle();
    expect(desired()).not.toHaveProperty('versionId');
    expect(hashOf()).toBe(sha256('plain'));
  });

  test('a named shadow is written where the settings name one, and the classic one stays away', async () => {
    const [event] = await eventsOf([['key', 'named']]);
    await deliver([event ?? null], { ...thing, shadowName: 'files' });
    expect(desired('test-thing', 's3', 'files')).toMatchObject({ hash: sha256('named') });
    expect(sandbox.shadow('test-thing')).toBeUndefined();
  });

  test.each(oddKeys)('the key %j arrives as it is', async (key) => {
    await put(key, 'odd');
    await sandbox.lambdas.idle();
    expect(desired()).toMatchObject({ url: `s3://${bucketName}/${key}`, hash: sha256('odd') });
  });

  test('other properties, and what else the desired state holds, stay', async () => {
    sandbox.desire('test-thing', { other: 1, s3: { url: 's3://by/hand', hash: 'x', size: 9, mine: 'kept' } });
    await put('key', 'hoge\n');
    await sandbox.lambdas.idle();
    expect(desired('test-thing', 'other')).toBe(1);
    expect(desired()).toMatchObject({ hash: sha256('hoge\n'), size: 5, mine: 'kept' });
  });

  test('a duplicate changes nothing, not even the version', async () => {
    const [event = null] = await eventsOf([['key', 'hoge\n']]);
    await deliver([event]);
    const version = versionOf();
    await deliver([event, event]);
    expect(versionOf()).toBe(version);
  });

  test('whatever the order of arrival, the last upload is desired in the end', async () => {
    sandbox.s3.store.createBucket('versioned', { versioned: true });
    const uploads = [
      ['a', '1'],
      ['a', '2'],
      ['b', '3'],
      ['a', '4'],
    ] as const;
    const events = await eventsOf(uploads, 'versioned');
    for (const order of permutations([0, 1, 2, 3])) {
      sandbox.shadows.delete('test-thing');
      await deliver([...order, ...order].map((index) => events[index] ?? null));
      expect([order, hashOf()]).toEqual([order, sha256('4')]);
    }
  });

  test('events that are worked on at once end the same', async () => {
    const events = await eventsOf(
      Array.from({ length: 20 }, (_, index) => [`key${index % 3}`, `${index}`] as const),
    );
    for (const event of [...events].reverse()) sandbox.lambdas.invoke(thing, event);
    await sandbox.lambdas.idle();
    expect(sandbox.lambdas.deadLetters).toEqual([]);
    expect(hashOf()).toBe(sha256('19'));
  });

  test('an older upload that is desired by hand again stays, whatever is repeated', async () => {
    const events = await eventsOf([
      ['a', '1'],
      ['b', '2'],
    ]);
    await deliver(events);
    sandbox.desire('test-thing', { s3: { url: `s3://${bucketName}/a`, hash: sha256('1') } });
    await deliver(events);
    expect(hashOf()).toBe(sha256('1'));
  });

  test('a device that reports between reading and writing costs one more attempt, nothing else', async () => {
    await deliver(await eventsOf([['key', 'one']]));
    const stop = disturb();
    await deliver(await eventsOf([['key', 'two']]));
    stop();
    expect(hashOf()).toBe(sha256('two'));
    expect(sandbox.shadow('test-thing')?.['state']).toMatchObject({ reported: { disturbed: true } });
  });

  /** Reports once in the middle of the next write: after the shadow has been read for it. */
  function disturb(): () => void {
    const get = sandbox.shadows.get;
    let done = false;
    sandbox.shadows.get = (...names) => {
      const reply = get.apply(sandbox.shadows, names);
      if (!done) {
        done = true;
        const report = new TextEncoder().encode('{"state":{"reported":{"disturbed":true}}}');
        sandbox.shadows.update('test-thing', undefined, report);
      }
      return reply;
    };
    return () => {
      sandbox.shadows.get = get;
    };
  }

  test('an object that is deleted before it is looked at leaves desired alone', async () => {
    await deliver(await eventsOf([['key', 'kept']]));
    const events = await eventsOf([['gone', 'gone']]);
    await sandbox.s3.store.delete(bucketName, 'gone');
    await deliver(events);
    expect(hashOf()).toBe(sha256('kept'));
    expect(sandbox.lambdas.deadLetters).toEqual([]);
  });

  test('throttling delays and loses nothing', async () => {
    sandbox.faults.set('data-plane-429', 1, 3);
    await put('key', 'late');
    await sandbox.lambdas.idle();
    expect(hashOf()).toBe(sha256('late'));
  });

  test('of several records in an event a failing one holds up no other, and the event comes again', async () => {
    const [good, bad] = await eventsOf([
      ['things/good/x', 'one'],
      ['groups/none/x', 'two'],
    ]);
    const records = [bad, good].flatMap((event) =>
      Array.isArray(event?.['Records']) ? event['Records'] : [],
    );
    await deliver([{ Records: records }], { ...thing, target: 'key' });
    expect(hashOf('good')).toBe(sha256('one'));
    expect(sandbox.lambdas.deadLetters).toEqual([{ Records: records }]);
    expect(log.filter((line) => line.includes('groups/none/x: failed')).length).toBe(3);
  });

  test('a line break in a key makes no line of its own in the log', async () => {
    await put('a\nb', 'odd');
    await sandbox.lambdas.idle();
    expect(log).toContain(`s3://${bucketName}/a?b: thing test-thing written`);
  });

  test('an event that fails three times goes to the dead letters whole', async () => {
    const event = { Records: 'nonsense' };
    await deliver([event]);
    expect(sandbox.lambdas.deadLetters).toEqual([event]);
  });
});

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, index) =>
    permutations(items.filter((_, other) => other !== index)).map((rest) => [item, ...rest]),
  );
}

describe('a group', () => {
  const names = (count: number) => Array.from({ length: count }, (_, index) => `thing-${index}`);
  const group: Route = { bucket: bucketName, prefix: 'fleet/', target: 'groups/fleet', property: 's3' };

  test('1,000 things get one upload, hashed once', async () => {
    const things = names(1000);
    sandbox.groups.add('fleet', things);
    sandbox.lambdas.route(group);
    await put('fleet/model.bin', 'model');
    await sandbox.lambdas.idle();
    expect(things.filter((name) => hashOf(name) !== sha256('model'))).toEqual([]);
    const reads = sandbox.s3.requests.filter(({ key }) => key === 'fleet/model.bin');
    expect(reads.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
    expect(sandbox.lambdas.queue.deadLetters).toEqual([]);
  }, 60_000);

  test('two uploads at once leave each thing with the later one', async () => {
    const things = names(60);
    sandbox.groups.add('fleet', things);
    const [first = null, second = null] = await eventsOf([
      ['fleet/a', 'first'],
      ['fleet/b', 'second'],
    ]);
    for (const event of [second, first, second]) sandbox.lambdas.invoke(group, event);
    await sandbox.lambdas.idle();
    expect(things.filter((name) => hashOf(name) !== sha256('second'))).toEqual([]);
  });

  test('throttling loses no thing', async () => {
    const things = names(60);
    sandbox.groups.add('fleet', things);
    sandbox.faults.set('data-plane-429', 1, 60);
    await deliver(await eventsOf([['fleet/a', 'throttled']]), group);
    expect(things.filter((name) => hashOf(name) !== sha256('throttled'))).toEqual([]);
    expect(sandbox.lambdas.queue.deadLetters).toEqual([]);
  }, 60_000);

  test('a thing that always fails ends alone in the dead letters, and all others are written', async () => {
    const things = names(60);
    sandbox.groups.add('fleet', things);
    // A shadow that is full refuses every write: 413.
    sandbox.desire('thing-7', { full: 'x'.repeat(8150) });
    await deliver(await eventsOf([['fleet/a', 'most']]), group);
    const written = things.filter((name) => hashOf(name) === sha256('most'));
    expect(written).toEqual(things.filter((name) => name !== 'thing-7'));
    const dead = sandbox.lambdas.queue.deadLetters.map(({ body }) => JSON.parse(body).things);
    expect(dead.length).toBeGreaterThan(0);
    expect(dead.filter((page) => page.join() !== 'thing-7')).toEqual([]);
  });

  test('a message that is no page ends in the dead letters, and its neighbours do not', async () => {
    sandbox.groups.add('fleet', names(3));
    sandbox.lambdas.queue.send('nonsense');
    await deliver(await eventsOf([['fleet/a', 'beside']]), group);
    expect(new Set(sandbox.lambdas.queue.deadLetters.map(({ body }) => body))).toEqual(new Set(['nonsense']));
    expect(hashOf('thing-2')).toBe(sha256('beside'));
  });

  test('a group that is not there is an error, tried again, then a dead letter', async () => {
    const events = await eventsOf([['fleet/a', 'nobody']]);
    await deliver(events, group);
    expect(sandbox.lambdas.deadLetters).toEqual(events);
  });
});

test('the key tells who gets it, where the rule leaves it to the key', async () => {
  sandbox.groups.add('fleet', ['a', 'b']);
  const byKey = { ...thing, target: 'key' };
  await deliver(
    await eventsOf([
      ['things/c/file', 'one'],
      ['groups/fleet/file', 'all'],
      ['elsewhere/file', 'nobody'],
    ]),
    byKey,
  );
  expect(['a', 'b', 'c'].map(hashOf)).toEqual([sha256('all'), sha256('all'), sha256('one')]);
  expect(sandbox.lambdas.deadLetters).toEqual([]);
  expect(log).toContain(`s3://${bucketName}/elsewhere/file: the key names no thing and no group`);
});
