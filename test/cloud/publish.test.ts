/** The publisher in the sandbox for one thing: real uploads, S3's own event JSON, AWS's clients. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { eventBridgeEvent, s3Event } from '../../src/sandbox/s3-event.ts';
import { bucketName } from '../../src/sandbox/sandbox.ts';
import { oddKeys } from '../support/odd-keys.ts';
import { Published, thing } from '../support/published.ts';
import { sha256 } from '../support/world.ts';

let world: Published;
beforeEach(async () => {
  world = await Published.start();
});
afterEach(() => world.close());

describe('one thing', () => {
  test('an upload is desired with every field, and none that is not used', async () => {
    await world.put('dir/hoge.txt', 'hoge\n');
    await world.sandbox.lambdas.idle();
    expect(world.desired()).toEqual({
      url: `s3://${bucketName}/dir/hoge.txt`,
      hash: sha256('hoge\n'),
      size: 5,
      sequencer: expect.stringMatching(/^[0-9A-F]+$/),
      sequencerKey: sha256(`s3://${bucketName}/dir/hoge.txt`).slice(0, 16),
      uploadedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    });
  });

  test('in a bucket with versions the version is desired, and read', async () => {
    world.sandbox.s3.store.createBucket('versioned', { versioned: true });
    world.sandbox.lambdas.route({ ...thing, bucket: 'versioned' });
    await world.sandbox.s3.store.put('versioned', 'key', 'old');
    await world.sandbox.lambdas.idle();
    const first = world.desired();
    await world.sandbox.s3.store.put('versioned', 'key', 'new');
    await world.sandbox.lambdas.idle();
    expect(first).toMatchObject({ hash: sha256('old'), versionId: expect.stringMatching(/^.{32}$/) });
    expect(world.desired()).toMatchObject({
      hash: sha256('new'),
      versionId: expect.stringMatching(/^.{32}$/),
    });
    const gets = world.sandbox.s3.requests.filter(({ method }) => method === 'GET');
    expect(gets.map(({ versionId }) => versionId)).not.toContain(undefined);
    // A bucket without versions: the version that is left over goes.
    await world.put('key', 'plain');
    await world.sandbox.lambdas.idle();
    expect(world.desired()).not.toHaveProperty('versionId');
    expect(world.hashOf()).toBe(sha256('plain'));
  });

  test('a named shadow is written where the settings name one, and the classic one stays away', async () => {
    const [event] = await world.eventsOf([['key', 'named']]);
    await world.deliver([event ?? null], { ...thing, shadowName: 'files' });
    expect(world.desired('test-thing', 's3', 'files')).toMatchObject({ hash: sha256('named') });
    expect(world.sandbox.shadow('test-thing')).toBeUndefined();
  });

  test.each(oddKeys)('the key %j arrives as it is', async (key) => {
    await world.put(key, 'odd');
    await world.sandbox.lambdas.idle();
    expect(world.desired()).toMatchObject({ url: `s3://${bucketName}/${key}`, hash: sha256('odd') });
  });

  test('an upload told through EventBridge arrives alike, whatever its key', async () => {
    const bucket = 'bridged';
    world.sandbox.s3.store.createBucket(bucket, { versioned: true });
    world.sandbox.lambdas.route({ ...thing, bucket, eventBridge: true });
    for (const key of oddKeys) {
      await world.put(key, `content of ${key}`, bucket);
      await world.sandbox.lambdas.idle();
      expect(world.desired()).toMatchObject({
        url: `s3://${bucket}/${key}`,
        hash: sha256(`content of ${key}`),
        versionId: expect.stringMatching(/^.{32}$/),
      });
    }
  });

  test('an upload that S3 and EventBridge both tell of is written once', async () => {
    const forms = [s3Event, eventBridgeEvent];
    const events = await world.eventsOf([['key', 'hoge\n']], bucketName, (...upload) => ({
      both: forms.map((form) => form(...upload)),
    }));
    const both = events.flatMap((event) => (Array.isArray(event['both']) ? event['both'] : []));
    await world.deliver([...both, ...both]);
    expect(world.hashOf()).toBe(sha256('hoge\n'));
    // One to make the shadow, one to write it.
    expect(world.versionOf()).toBe(2);
  });

  test('a folder that the console made is not desired, but a file whose key ends alike is', async () => {
    await world.put('file', 'kept');
    await world.sandbox.lambdas.idle();
    await world.put('folder/', '');
    await world.sandbox.lambdas.idle();
    expect(world.hashOf()).toBe(sha256('kept'));
    expect(world.log).toContain(`s3://${bucketName}/folder/: a folder, which is no file`);
    await world.put('file/', 'new');
    await world.put('empty', '');
    await world.sandbox.lambdas.idle();
    expect(world.desired()).toMatchObject({ url: `s3://${bucketName}/empty`, size: 0 });
  });

  test('the test event of S3 changes nothing, and is no failure', async () => {
    await world.deliver([{ Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: bucketName }]);
    expect([world.versionOf(), world.sandbox.lambdas.deadLetters]).toEqual([undefined, []]);
  });

  test('a service that makes no shadow of an empty update is written to all the same', async () => {
    const { shadows } = world.sandbox;
    const update = shadows.update;
    const payloads: string[] = [];
    shadows.update = (name, shadowName, payload) => {
      const text = new TextDecoder().decode(payload);
      payloads.push(text);
      return update.call(shadows, text === '{"state":{"desired":{}}}' ? 'nobody' : name, shadowName, payload);
    };
    await world.put('key', 'hoge\n');
    await world.sandbox.lambdas.idle();
    expect([payloads.length, world.hashOf()]).toEqual([2, sha256('hoge\n')]);
  });

  test('other properties, and what else the desired state holds, stay', async () => {
    world.sandbox.desire('test-thing', {
      other: 1,
      s3: { url: 's3://by/hand', hash: 'x', size: 9, mine: 'kept' },
    });
    await world.put('key', 'hoge\n');
    await world.sandbox.lambdas.idle();
    expect(world.desired('test-thing', 'other')).toBe(1);
    expect(world.desired()).toMatchObject({ hash: sha256('hoge\n'), size: 5, mine: 'kept' });
  });

  test('a duplicate changes nothing, not even the version', async () => {
    const [event = null] = await world.eventsOf([['key', 'hoge\n']]);
    await world.deliver([event]);
    const version = world.versionOf();
    await world.deliver([event, event]);
    expect(world.versionOf()).toBe(version);
  });

  test('whatever the order of arrival, the last upload is desired in the end', async () => {
    world.sandbox.s3.store.createBucket('versioned', { versioned: true });
    const uploads = [
      ['a', '1'],
      ['a', '2'],
      ['b', '3'],
      ['a', '4'],
    ] as const;
    const events = await world.eventsOf(uploads, 'versioned');
    for (const order of permutations([0, 1, 2, 3])) {
      world.sandbox.shadows.delete('test-thing');
      await world.deliver([...order, ...order].map((index) => events[index] ?? null));
      expect([order, world.hashOf()]).toEqual([order, sha256('4')]);
    }
  });

  test('events that are worked on at once end the same', async () => {
    const events = await world.eventsOf(
      Array.from({ length: 20 }, (_, index) => [`key${index % 3}`, `${index}`] as const),
    );
    for (const event of [...events].reverse()) world.sandbox.lambdas.invoke(thing, event);
    await world.sandbox.lambdas.idle();
    expect(world.sandbox.lambdas.deadLetters).toEqual([]);
    expect(world.hashOf()).toBe(sha256('19'));
  });

  test('an older upload that is desired by hand again stays, whatever is repeated', async () => {
    const events = await world.eventsOf([
      ['a', '1'],
      ['b', '2'],
    ]);
    await world.deliver(events);
    world.sandbox.desire('test-thing', { s3: { url: `s3://${bucketName}/a`, hash: sha256('1') } });
    await world.deliver(events);
    expect(world.hashOf()).toBe(sha256('1'));
  });

  test('a device that reports between reading and writing costs one more attempt, nothing else', async () => {
    await world.deliver(await world.eventsOf([['key', 'one']]));
    const stop = disturb();
    await world.deliver(await world.eventsOf([['key', 'two']]));
    stop();
    expect(world.hashOf()).toBe(sha256('two'));
    // In the same run of the function: Lambda's retry would hide it.
    expect(world.log).toEqual(Array(2).fill(`s3://${bucketName}/key: thing test-thing written`));
    expect(world.sandbox.shadow('test-thing')?.['state']).toMatchObject({ reported: { disturbed: true } });
  });

  /** Reports once in the middle of the next write: after the shadow has been read for it. */
  function disturb(): () => void {
    const get = world.sandbox.shadows.get;
    let done = false;
    world.sandbox.shadows.get = (...names) => {
      const reply = get.apply(world.sandbox.shadows, names);
      if (!done) {
        done = true;
        const report = new TextEncoder().encode('{"state":{"reported":{"disturbed":true}}}');
        world.sandbox.shadows.update('test-thing', undefined, report);
      }
      return reply;
    };
    return () => {
      world.sandbox.shadows.get = get;
    };
  }

  test('an object that is deleted before it is looked at leaves desired alone', async () => {
    await world.deliver(await world.eventsOf([['key', 'kept']]));
    const events = await world.eventsOf([['gone', 'gone']]);
    await world.sandbox.s3.store.delete(bucketName, 'gone');
    await world.deliver(events);
    expect(world.hashOf()).toBe(sha256('kept'));
    expect(world.sandbox.lambdas.deadLetters).toEqual([]);
  });

  test('throttling delays and loses nothing', async () => {
    world.sandbox.faults.set('data-plane-429', 1, 3);
    await world.put('key', 'late');
    await world.sandbox.lambdas.idle();
    expect(world.hashOf()).toBe(sha256('late'));
  });

  test('of several records in an event a failing one holds up no other, and the event comes again', async () => {
    const [good, bad] = await world.eventsOf([
      ['things/good/x', 'one'],
      ['groups/none/x', 'two'],
    ]);
    const records = [bad, good].flatMap((event) =>
      Array.isArray(event?.['Records']) ? event['Records'] : [],
    );
    await world.deliver([{ Records: records }], { ...thing, target: 'key' });
    expect(world.hashOf('good')).toBe(sha256('one'));
    expect(world.sandbox.lambdas.deadLetters).toEqual([{ Records: records }]);
    expect(world.log.filter((line) => line.includes('groups/none/x: failed')).length).toBe(3);
  });

  test('a line break in a key makes no line of its own in the log', async () => {
    await world.put('a\nb', 'odd');
    await world.sandbox.lambdas.idle();
    expect(world.log).toContain(`s3://${bucketName}/a?b: thing test-thing written`);
  });

  test('a malformed record holds up no neighbour; the event comes again and is a dead letter in the end', async () => {
    const [good] = await world.eventsOf([['key', 'one']]);
    const records = Array.isArray(good?.['Records']) ? good['Records'] : [];
    const event = { Records: [{ eventSource: 'aws:s3', eventName: 'ObjectCreated:Put' }, ...records] };
    await world.deliver([event]);
    expect(world.hashOf()).toBe(sha256('one'));
    expect(world.sandbox.lambdas.deadLetters).toEqual([event]);
    expect(world.log).toContain('a record of the event: failed: Error: The event has no s3.bucket.name');
  });

  test('an event of which several records fail comes again too, and is a dead letter in the end', async () => {
    const record = { eventSource: 'aws:s3', eventName: 'ObjectCreated:Put' };
    const event = { Records: [record, record] };
    await world.deliver([event]);
    expect(world.sandbox.lambdas.deadLetters).toEqual([event]);
    expect(world.log).toContain('the publisher gives up an event: AggregateError: 2 uploads failed');
  });

  test('a key that is desired by hand over an upload of another one takes its own next upload', async () => {
    await world.deliver(await world.eventsOf([['a', '1']]));
    world.sandbox.desire('test-thing', { s3: { url: `s3://${bucketName}/b`, hash: 'by hand' } });
    await world.deliver(await world.eventsOf([['b', '2']]));
    expect(world.hashOf()).toBe(sha256('2'));
  });

  test('an event that fails three times goes to the dead letters whole', async () => {
    const event = { Records: 'nonsense' };
    await world.deliver([event]);
    expect(world.sandbox.lambdas.deadLetters).toEqual([event]);
  });
});

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, index) =>
    permutations(items.filter((_, other) => other !== index)).map((rest) => [item, ...rest]),
  );
}
