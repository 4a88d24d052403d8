/** The publisher and the writer in the sandbox for groups: pages, a queue that repeats, and AWS's clients. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { Route } from '../../src/sandbox/lambdas.ts';
import { bucketName } from '../../src/sandbox/sandbox.ts';
import { oddKeys } from '../support/odd-keys.ts';
import { Published, thing } from '../support/published.ts';
import { sha256 } from '../support/world.ts';

let world: Published;
beforeEach(async () => {
  world = await Published.start();
});
afterEach(() => world.close());

describe('a group', () => {
  const names = (count: number) => Array.from({ length: count }, (_, index) => `thing-${index}`);
  const group: Route = { bucket: bucketName, prefix: 'fleet/', target: 'groups/fleet', property: 's3' };

  test('1,000 things get one upload, hashed once', async () => {
    const things = names(1000);
    world.sandbox.groups.add('fleet', things);
    world.sandbox.lambdas.route(group);
    const { queue } = world.sandbox.lambdas;
    const send = queue.send;
    const pages: number[] = [];
    queue.send = (body) => {
      pages.push(JSON.parse(body).things.length);
      return send.call(queue, body);
    };
    await world.put('fleet/model.bin', 'model');
    await world.sandbox.lambdas.idle();
    expect(pages).toEqual(Array(40).fill(25));
    expect(things.filter((name) => world.hashOf(name) !== sha256('model'))).toEqual([]);
    const reads = world.sandbox.s3.requests.filter(({ key }) => key === 'fleet/model.bin');
    expect(reads.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
    expect(world.sandbox.lambdas.queue.deadLetters).toEqual([]);
  }, 60_000);

  test('the things of child groups get it too, and those of a parent do not', async () => {
    world.sandbox.groups.add('all', ['elsewhere']);
    world.sandbox.groups.add('fleet', ['here', 'both'], 'all');
    world.sandbox.groups.add('child', ['below', 'both'], 'fleet');
    world.sandbox.groups.add('grandchild', ['deep'], 'child');
    await world.deliver(await world.eventsOf([['fleet/a', 'nested']]), group);
    const hashes = ['here', 'both', 'below', 'deep', 'elsewhere'].map((name) => world.hashOf(name));
    expect(hashes).toEqual([...Array(4).fill(sha256('nested')), undefined]);
    expect(world.log).toContain(`s3://${bucketName}/fleet/a: 4 things of the group fleet queued`);
  });

  test('a key of every odd kind comes through the queue', async () => {
    world.sandbox.groups.add('fleet', ['board']);
    for (const key of oddKeys) {
      await world.deliver(await world.eventsOf([[key, `content of ${key}`]]), group);
      expect([key, world.hashOf('board')]).toEqual([key, sha256(`content of ${key}`)]);
      expect(world.desired('board')).toMatchObject({ url: `s3://${bucketName}/${key}` });
    }
    expect(world.sandbox.lambdas.deadLetters).toEqual([]);
  });

  test('two uploads at once leave each thing with the later one', async () => {
    const things = names(60);
    world.sandbox.groups.add('fleet', things);
    const [first = null, second = null] = await world.eventsOf([
      ['fleet/a', 'first'],
      ['fleet/b', 'second'],
    ]);
    for (const event of [second, first, second]) world.sandbox.lambdas.invoke(group, event);
    await world.sandbox.lambdas.idle();
    expect(things.filter((name) => world.hashOf(name) !== sha256('second'))).toEqual([]);
  });

  test('throttling loses no thing', async () => {
    const things = names(60);
    world.sandbox.groups.add('fleet', things);
    world.sandbox.faults.set('data-plane-429', 1, 60);
    await world.deliver(await world.eventsOf([['fleet/a', 'throttled']]), group);
    expect(things.filter((name) => world.hashOf(name) !== sha256('throttled'))).toEqual([]);
    expect(world.sandbox.lambdas.queue.deadLetters).toEqual([]);
  }, 60_000);

  test('a thing that always fails ends alone in the dead letters, and all others are written', async () => {
    const things = names(60);
    world.sandbox.groups.add('fleet', things);
    // A shadow that is full refuses every write: 413.
    world.sandbox.desire('thing-7', { full: 'x'.repeat(8150) });
    await world.deliver(await world.eventsOf([['fleet/a', 'most']]), group);
    const written = things.filter((name) => world.hashOf(name) === sha256('most'));
    expect(written).toEqual(things.filter((name) => name !== 'thing-7'));
    const dead = world.sandbox.lambdas.queue.deadLetters.map(({ body }) => JSON.parse(body).things);
    expect(dead.length).toBeGreaterThan(0);
    expect(dead.filter((page) => page.join() !== 'thing-7')).toEqual([]);
  });

  test('a message that is no page ends in the dead letters, and its neighbours do not', async () => {
    world.sandbox.groups.add('fleet', names(3));
    world.sandbox.lambdas.queue.send('nonsense');
    await world.deliver(await world.eventsOf([['fleet/a', 'beside']]), group);
    expect(new Set(world.sandbox.lambdas.queue.deadLetters.map(({ body }) => body))).toEqual(
      new Set(['nonsense']),
    );
    expect(world.hashOf('thing-2')).toBe(sha256('beside'));
  });

  test('a group that is not there is an error, tried again, then a dead letter', async () => {
    const events = await world.eventsOf([['fleet/a', 'nobody']]);
    await world.deliver(events, group);
    expect(world.sandbox.lambdas.deadLetters).toEqual(events);
  });
});

test('the key tells who gets it, where the rule leaves it to the key', async () => {
  world.sandbox.groups.add('fleet', ['a', 'b']);
  const byKey = { ...thing, target: 'key' };
  await world.deliver(
    await world.eventsOf([
      ['things/c/file', 'one'],
      ['groups/fleet/file', 'all'],
      ['elsewhere/file', 'nobody'],
    ]),
    byKey,
  );
  expect(['a', 'b', 'c'].map((name) => world.hashOf(name))).toEqual([
    sha256('all'),
    sha256('all'),
    sha256('one'),
  ]);
  expect(world.sandbox.lambdas.deadLetters).toEqual([]);
  expect(world.log).toContain(`s3://${bucketName}/elsewhere/file: the key names no thing and no group`);
});
