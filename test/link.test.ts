/** When the link reads the shadow again after news, with and without jitter. Time is the test's. */
import { expect, test } from 'bun:test';
import { type JsonValue, member } from '../src/core/json.ts';
import { shadowPrefix } from '../src/core/shadow.ts';
import { ShadowLink } from '../src/link.ts';
import { ShadowService } from '../src/sandbox/shadow-service.ts';
import { RecordingLog } from './support/io-helpers.ts';
import { FaultyBroker } from './support/property-broker.ts';
import { ClockView, VirtualClock } from './support/property-clock.ts';

/** A link to a broker without faults; half of the jitter is what chance gives. */
class LinkWorld {
  readonly clock = new VirtualClock();
  readonly service = new ShadowService({ now: () => this.clock.wallMs() });
  readonly #view = new ClockView(this.clock);
  readonly #stop = new AbortController();
  readonly broker = new FaultyBroker({
    clock: this.clock,
    waiting: this.#view,
    service: this.service,
    thing: 'thing',
    fate: () => ({ delayMs: 0, copies: 1, lost: false }),
    connectFate: () => ({ delayMs: 0, refused: false }),
  });
  readonly #ended: Promise<void>;
  news = 0;
  seen: JsonValue | undefined;

  constructor(jitterSeconds: number) {
    const link = new ShadowLink({
      connect: this.broker.connect,
      host: 'localhost',
      clientId: 'thing',
      prefix: shadowPrefix('thing'),
      resyncSeconds: 604_800,
      jitterSeconds,
      clock: this.#view,
      log: new RecordingLog(),
      random: () => 0.5,
      held: () => new Map([['s3', this.seen]]),
      onUp: () => undefined,
      onDown: () => undefined,
      onTrouble: () => undefined,
      onNews: () => {
        this.news += 1;
      },
      onDocument: (document) => {
        this.seen = document === undefined ? undefined : member(document.desired, 's3');
      },
    });
    this.#ended = link.run(this.#stop.signal);
  }

  desire(hash: string): void {
    const payload = JSON.stringify({ state: { desired: { s3: { hash } } } });
    this.service.update('thing', undefined, Buffer.from(payload));
  }

  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms, async () => {
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.broker.cut();
    await this.#ended;
  }
}

test('without jitter news ring at once', async () => {
  const world = new LinkWorld(0);
  await world.advance(0);
  expect(world.broker.counts.get).toBe(1);
  world.desire('one');
  await world.advance(0);
  expect([world.broker.counts.get, world.news, world.seen]).toEqual([2, 1, { hash: 'one' }]);
  await world.stop();
});

test('with jitter news wait a random part of it, and what comes meanwhile is read with them', async () => {
  const world = new LinkWorld(60);
  await world.advance(0);
  world.desire('one');
  await world.advance(20_000);
  world.desire('two');
  await world.advance(9_999);
  expect([world.broker.counts.get, world.news, world.seen]).toEqual([1, 0, undefined]);
  await world.advance(1);
  expect([world.broker.counts.get, world.news, world.seen]).toEqual([2, 1, { hash: 'two' }]);
  world.desire('three');
  await world.advance(30_000);
  expect([world.broker.counts.get, world.news, world.seen]).toEqual([3, 2, { hash: 'three' }]);
  await world.advance(600_000);
  expect(world.broker.counts.get).toBe(3);
  await world.stop();
});

test('a new connection reads the shadow without waiting, and nothing is left of the wait', async () => {
  const world = new LinkWorld(600);
  await world.advance(0);
  world.desire('one');
  world.broker.cut();
  await world.advance(10_000);
  expect([world.broker.counts.get, world.news, world.seen]).toEqual([2, 0, { hash: 'one' }]);
  await world.advance(600_000);
  expect(world.broker.counts.get).toBe(2);
  world.desire('two');
  await world.advance(300_000);
  expect(world.seen).toEqual({ hash: 'two' });
  await world.stop();
});

test('the end of the agent ends the wait', async () => {
  const world = new LinkWorld(600);
  await world.advance(0);
  world.desire('one');
  await world.advance(0);
  await world.stop();
  await world.advance(600_000);
  expect(world.news).toBe(0);
});
