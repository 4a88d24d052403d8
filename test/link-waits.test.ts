import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { AgentError } from '../src/core/errors.ts';
import type { JsonObject } from '../src/core/json.ts';
import { type ShadowDocument, shadowPrefix } from '../src/core/shadow.ts';
import { BrokerFault, LinkLost } from '../src/io/mqtt-ends.ts';
import { ShadowLink } from '../src/link.ts';
import { FakeClock } from './support/io-fake-clock.ts';
import { FakeLink } from './support/io-fake-link.ts';
import { RecordingLog, settle } from './support/io-helpers.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const resyncSeconds = 4 * 3600;

/** A link on brokers that the test plays. Unless told otherwise, they take each connection and answer each get. */
class Play {
  readonly clock = new FakeClock();
  readonly log = new RecordingLog();
  /** When each connect began. */
  readonly connectsAtMs: number[] = [];
  /** When each get was published. */
  readonly getsAtMs: number[] = [];
  readonly links: FakeLink[] = [];
  readonly documents: Array<ShadowDocument | undefined> = [];
  news = 0;
  ups = 0;
  downs = 0;
  troubles = 0;
  /** Connects fail. */
  isDown = false;
  /** What a connect takes until it stands or fails. */
  connectMs = 0;
  /** Gets stay without an answer. */
  isDeaf = false;
  /** The codes that the next gets are rejected with. */
  rejections: number[] = [];
  /** What `random` gives. */
  chance = 0.75;
  readonly stop = new AbortController();
  readonly link: ShadowLink;
  #ended: Promise<void> | undefined;

  constructor() {
    this.link = new ShadowLink({
      connect: () => this.#connect(),
      host: 'abc-ats.iot.eu-west-1.amazonaws.com',
      clientId: 'test-thing',
      prefix: shadowPrefix('test-thing'),
      jitterSeconds: 0,
      resyncSeconds,
      clock: this.clock,
      log: this.log,
      random: () => this.chance,
      held: () => new Map([['s3', undefined]]),
      onUp: () => {
        this.ups += 1;
      },
      onDown: () => {
        this.downs += 1;
      },
      onTrouble: () => {
        this.troubles += 1;
      },
      onNews: () => {
        this.news += 1;
      },
      onDocument: (document) => void this.documents.push(document),
    });
  }

  async start(): Promise<void> {
    this.#ended = this.link.run(this.stop.signal);
    await settle();
  }

  /** Ends the link; resolves when `run` has. */
  async end(): Promise<void> {
    this.stop.abort();
    this.links.at(-1)?.drop(new AgentError('MQTT', 'ended'));
    await this.#ended;
  }

  async #connect(): Promise<FakeLink> {
    this.connectsAtMs.push(this.clock.nowMs());
    if (this.connectMs > 0) this.clock.advance(this.connectMs);
    if (this.isDown) throw new AgentError('NETWORK', 'no network');
    const link = new FakeLink();
    link.answer = (request) => {
      this.getsAtMs.push(this.clock.nowMs());
      if (!this.isDeaf) this.#answer(link, request);
    };
    this.links.push(link);
    return link;
  }

  #answer(link: FakeLink, { clientToken }: JsonObject): void {
    const code = this.rejections.shift();
    const accepted = { state: { desired: { s3: 'x' } }, metadata: {}, version: 1, timestamp: 1, clientToken };
    if (code === undefined) link.receive('get/accepted', accepted);
    else link.receive('get/rejected', { code, message: 'no', timestamp: 1, clientToken });
  }

  get current(): FakeLink {
    const link = this.links.at(-1);
    if (link === undefined) throw new Error('there was no connection yet');
    return link;
  }

  /** Answers the get that a deaf service has left. */
  async answerLate(): Promise<void> {
    this.isDeaf = false;
    this.#answer(this.current, { clientToken: this.current.lastToken });
    await settle();
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await settle();
  }

  async lose(): Promise<void> {
    this.current.drop(new LinkLost('lost'));
    await settle();
  }

  /** Checks that the next entry of a list comes after exactly so many ms of waiting. */
  async comesAfter(list: readonly number[], ms: number): Promise<void> {
    const before = list.length;
    await this.pass(ms - 1);
    expect(list.length, `too early, within ${ms - 1} ms`).toBe(before);
    await this.pass(1);
    expect(list.length, `after ${ms} ms`).toBe(before + 1);
  }
}

let play: Play;

beforeEach(() => {
  play = new Play();
});

afterEach(() => play.end());

describe('the wait before the next connect', () => {
  test('grows up to two minutes while there is no network', async () => {
    play.isDown = true;
    await play.start();
    for (const ms of [1_000, 1_500, 3_000, 6_000, 12_000, 24_000, 48_000, 90_000, 90_000]) {
      await play.comesAfter(play.connectsAtMs, ms);
    }
    expect(play.ups).toBe(0);
    expect(play.link.state.connected).toBe(false);
    expect(play.link.state.lastError?.code).toBe('NETWORK');
    expect(play.troubles).toBe(10);
  });

  test('grows on where a connection did not stand for a minute, and starts anew where it did', async () => {
    await play.start();
    await play.lose();
    await play.comesAfter(play.connectsAtMs, 1_000);
    await play.lose();
    await play.comesAfter(play.connectsAtMs, 1_625);
    await play.pass(minuteMs - 1);
    await play.lose();
    await play.comesAfter(play.connectsAtMs, 3_250);
    await play.pass(minuteMs);
    await play.lose();
    await play.comesAfter(play.connectsAtMs, 750);
    await play.lose();
    await play.comesAfter(play.connectsAtMs, 1_625);
    expect([play.ups, play.downs]).toEqual([6, 5]);
  });

  test('grows from one failed connect to the next also after a connection that stood for long', async () => {
    await play.start();
    await play.pass(hourMs);
    play.isDown = true;
    await play.lose();
    for (const ms of [750, 1_500, 3_000, 6_000]) await play.comesAfter(play.connectsAtMs, ms);
  });

  test('does not take the time that a connect took for that of a connection', async () => {
    play.connectMs = 2 * minuteMs;
    await play.start();
    // CONNECT went out at the end of the two minutes: a second must pass from there.
    for (const ms of [1_000, 1_625, 3_250]) {
      await play.lose();
      await play.comesAfter(play.connectsAtMs, ms);
    }
  });

  test('keeps a second from the end of a try to the next, whatever the jitter', async () => {
    play.chance = 0;
    play.isDown = true;
    await play.start();
    await play.comesAfter(play.connectsAtMs, 1_000);
    play.connectMs = 300;
    await play.comesAfter(play.connectsAtMs, 1_000);
    await play.comesAfter(play.connectsAtMs, 1_000);
    play.connectMs = 0;
    await play.comesAfter(play.connectsAtMs, 1_000);
    await play.comesAfter(play.connectsAtMs, 1_000);
  });
});

describe('a broker that ends each fresh session after a second', () => {
  for (const chance of [0, 0.5, 0.999]) {
    test(`is connected to at most 12 times in a minute, whatever the jitter (${chance})`, async () => {
      play.chance = chance;
      await play.start();
      const [startMs = 0] = play.connectsAtMs;
      while (play.clock.nowMs() < startMs + minuteMs - 1) {
        await play.pass(500);
        if (
          play.links.at(-1)?.dropped === undefined &&
          play.clock.nowMs() - (play.connectsAtMs.at(-1) ?? 0) >= 1_000
        )
          await play.lose();
      }
      expect(play.connectsAtMs.length).toBeGreaterThanOrEqual(5);
      expect(play.connectsAtMs.length).toBeLessThanOrEqual(12);
      const gaps = play.connectsAtMs.slice(1).map((ms, index) => ms - (play.connectsAtMs[index] ?? 0));
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1_000);
      const told = play.log.of('warning').filter(({ message }) => message.includes('fresh sessions'));
      expect(told.length).toBe(1);
      expect(told[0]?.message).toBe(
        '3 fresh sessions have ended within a minute of their start, by the broker or by the network',
      );
      expect(told[0]?.fields['hint']).toContain('another device connects with the client id "test-thing"');
      expect(told[0]?.fields['hint']).toContain(
        '"Resource":["arn:aws:iot:eu-west-1:ACCOUNT:topic/$aws/things/test-thing/shadow/get","arn:aws:iot:eu-west-1:ACCOUNT:topic/$aws/things/test-thing/shadow/update"]',
      );
    });
  }
});

describe('the document', () => {
  test('is read once as soon as there is a connection, also where it was asked for before', async () => {
    play.isDown = true;
    await play.start();
    play.link.ring();
    await settle();
    expect(play.getsAtMs).toEqual([]);
    play.isDown = false;
    await play.pass(1_000);
    expect(play.getsAtMs.length).toBe(1);
    expect(play.documents).toEqual([{ desired: { s3: 'x' }, reported: {} }]);
    expect(play.link.state).toMatchObject({ connected: true });
  });

  test('that was asked for on a connection that is lost is read on the next', async () => {
    await play.start();
    play.isDeaf = true;
    play.link.ring();
    await settle();
    expect(play.documents.length).toBe(1);
    await play.lose();
    play.isDeaf = false;
    await play.pass(1_000);
    expect(play.documents.length).toBe(2);
  });

  test('is read on a ring, and once more for any number of rings while it is being read', async () => {
    await play.start();
    play.isDeaf = true;
    play.link.ring();
    await settle();
    expect(play.getsAtMs.length).toBe(2);
    play.link.ring();
    play.link.ring();
    await settle();
    expect(play.getsAtMs.length).toBe(2);
    await play.answerLate();
    expect(play.getsAtMs.length).toBe(3);
  });

  test('is read once for the accepted update and the delta of one change', async () => {
    await play.start();
    const change = { version: 7, timestamp: 1 };
    play.isDeaf = true;
    play.current.receive('update/accepted', { ...change, state: { desired: { s3: 'y' } }, metadata: {} });
    play.current.receive('update/delta', { ...change, state: { s3: 'y' }, metadata: {} });
    await settle();
    expect(play.news).toBe(1);
    expect(play.getsAtMs.length).toBe(2);
  });

  for (const [chance, ms] of [
    [0, 3 * hourMs],
    [0.5, 4 * hourMs],
    [0.8, 4.6 * hourMs],
  ] as const) {
    test(`is read again every ${ms / hourMs} of 4 h of resync where the jitter is ${chance}`, async () => {
      play.chance = chance;
      await play.start();
      for (let turn = 0; turn < 3; turn += 1) await play.comesAfter(play.getsAtMs, ms);
      expect(play.news).toBe(0);
    });
  }

  test('is asked for again after a 403, told with its hint, by a wait from a minute on that no ring shortens', async () => {
    play.rejections = [403, 403];
    await play.start();
    expect(play.link.state.lastError?.code).toBe('SHADOW_REJECTED');
    expect(play.troubles).toBe(1);
    expect(play.log.of('warning').map(({ fields }) => fields)).toEqual([
      {
        code: 'SHADOW_REJECTED',
        hint: "the certificate's policy must allow it, and must be attached to it",
        retryInSeconds: 45,
      },
    ]);
    play.link.ring();
    await settle();
    await play.comesAfter(play.getsAtMs, 45_000);
    await play.comesAfter(play.getsAtMs, 90_000);
    expect(play.documents.length).toBe(1);
    expect(play.connectsAtMs.length).toBe(1);
  });

  test('is asked for again after a 429 by a wait from a second on, which an answer starts anew', async () => {
    play.rejections = [429, 429, 429];
    await play.start();
    for (const ms of [750, 1_500, 3_000]) await play.comesAfter(play.getsAtMs, ms);
    expect(play.documents.length).toBe(1);
    play.rejections = [429];
    play.link.ring();
    await settle();
    await play.comesAfter(play.getsAtMs, 750);
    expect(play.documents.length).toBe(2);
  });

  test('that does not exist (404) is told as such, and is no trouble', async () => {
    play.rejections = [404];
    await play.start();
    expect(play.documents).toEqual([undefined]);
    expect(play.troubles).toBe(0);
  });
});

describe('waiting for a fresh answer', () => {
  const never = new AbortController().signal;

  /** Whether the wait is over. */
  function waiting(signal = never): { isOver: boolean } {
    const wait = { isOver: false };
    play.link.fresh(10_000, 5_000, signal).then(() => {
      wait.isOver = true;
    });
    return wait;
  }

  test('ends at once where the last one is young enough, and asks for none', async () => {
    await play.start();
    await play.pass(10_000);
    const wait = waiting();
    await settle();
    expect(wait.isOver).toBe(true);
    expect(play.getsAtMs.length).toBe(1);
  });

  test('asks for one where the last is too old, and ends with it', async () => {
    await play.start();
    await play.pass(10_001);
    play.isDeaf = true;
    const wait = waiting();
    await settle();
    expect(play.getsAtMs.length).toBe(2);
    await play.pass(4_999);
    expect(wait.isOver).toBe(false);
    await play.answerLate();
    expect(wait.isOver).toBe(true);
    expect(play.documents.length).toBe(2);
  });

  test('ends after its time where none comes', async () => {
    await play.start();
    await play.pass(10_001);
    play.isDeaf = true;
    const wait = waiting();
    await settle();
    await play.pass(4_999);
    expect(wait.isOver).toBe(false);
    await play.pass(1);
    expect(wait.isOver).toBe(true);
  });

  test('ends when its signal is aborted', async () => {
    await play.start();
    await play.pass(10_001);
    play.isDeaf = true;
    const newer = new AbortController();
    const wait = waiting(newer.signal);
    await settle();
    expect(wait.isOver).toBe(false);
    newer.abort();
    await settle();
    expect(wait.isOver).toBe(true);
  });

  test('ends at once while offline', async () => {
    await play.start();
    await play.pass(10_001);
    play.isDown = true;
    await play.lose();
    const wait = waiting();
    await settle();
    expect(wait.isOver).toBe(true);
  });
});

describe('what is shown of sessions that keep ending', () => {
  async function standAgain(): Promise<void> {
    const before = play.links.length;
    while (play.links.length === before) await play.pass(1_000);
  }

  async function kick(times: number, reason: AgentError): Promise<void> {
    for (let time = 0; time < times; time += 1) {
      if (!play.link.state.connected) await standAgain();
      play.current.drop(reason);
      await settle();
    }
  }

  test('is from the third one on how many and the likely cause, also while one stands, until one has lasted', async () => {
    await play.start();
    await kick(2, new LinkLost('it closed it'));
    expect(play.link.state.lastError?.message).toBe('it closed it');
    await kick(1, new LinkLost('it closed it'));
    expect(play.link.state.connected).toBe(false);
    expect(play.link.state.lastError?.message).toStartWith('3 fresh sessions have ended');
    await standAgain();
    expect(play.link.state.connected).toBe(true);
    expect(play.link.state.lastError?.hint).toContain(
      'another device connects with the client id "test-thing"',
    );
    await play.pass(minuteMs);
    expect(play.link.state.lastError).toBeUndefined();
    await play.end();
  });

  test('is what the agent has ended itself, as it is: no other device is the cause', async () => {
    await play.start();
    await kick(4, new BrokerFault('localhost', 'sends what is no MQTT'));
    expect(play.link.state.lastError?.message).toBe('The broker localhost sends what is no MQTT');
    expect(JSON.stringify(play.log.entries)).not.toContain('another device');
    await play.end();
  });

  test('is told in the log at the third one that somebody else has ended, where the agent ended one in between', async () => {
    const told = () => play.log.of('warning').filter(({ message }) => message.includes('fresh sessions'));
    await play.start();
    await kick(2, new LinkLost('it closed it'));
    await kick(1, new BrokerFault('localhost', 'sends what is no MQTT'));
    expect(told()).toEqual([]);
    await kick(2, new LinkLost('it closed it'));
    expect(told().map(({ message }) => message)).toEqual([
      '3 fresh sessions have ended within a minute of their start, by the broker or by the network',
    ]);
    expect(play.link.state.lastError?.message).toStartWith('4 fresh sessions have ended');
    await play.end();
  });
});
