import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test';
import { AgentError } from '../../src/core/errors.ts';
import { shadowPrefix } from '../../src/core/shadow.ts';
import { BrokerFault, LinkLost } from '../../src/io/mqtt-ends.ts';
import { type Change, isOwnToken, ShadowClient, ShadowRejection } from '../../src/io/shadow-client.ts';
import { FakeLink } from '../support/io-fake-link.ts';
import { caught, RecordingLog, settle } from '../support/io-helpers.ts';

const prefix = shadowPrefix('test-thing');
let link: FakeLink;
let log: RecordingLog;
let changes: Change[];
let client: ShadowClient;

beforeEach(async () => {
  link = new FakeLink();
  log = new RecordingLog();
  changes = [];
  client = await ShadowClient.open(link, prefix, log, (change) => void changes.push(change));
});

const emptyDocument = { state: {}, metadata: {}, version: 1, timestamp: 1 };

describe('a shadow client', () => {
  test('subscribes to its five topics and listens before it asks for anything', () => {
    expect(link.subscribed.sort()).toEqual(
      ['get/accepted', 'get/rejected', 'update/accepted', 'update/delta', 'update/rejected'].map(
        (topic) => `${prefix}/${topic}`,
      ),
    );
    expect(link.listenedBeforeSubscribe).toBe(true);
    expect(link.published).toEqual([]);
  });

  test('fails to open where a subscription is refused', async () => {
    const refusing = new FakeLink();
    refusing.subscribeError = new AgentError('MQTT', 'refused');
    await expect(ShadowClient.open(refusing, prefix, log, () => undefined)).rejects.toBe(
      refusing.subscribeError,
    );
  });

  test('tells which of the subscriptions was refused, with the statement that allows it', async () => {
    const refusing = new FakeLink();
    refusing.refused = [`${prefix}/update/delta`];
    const error = await caught(ShadowClient.open(refusing, prefix, log, () => undefined));
    expect(error.message).toBe(
      'The broker refused the subscription to $aws/things/test-thing/shadow/update/delta',
    );
    expect(error.hint).toBe(
      'the certificate\'s policy lacks {"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:us-east-1:ACCOUNT:topicfilter/$aws/things/test-thing/shadow/update/delta"}',
    );
  });

  test('names the statement also where the broker ends the connection instead of a SUBACK, as AWS IoT does', async () => {
    const ending = new FakeLink();
    ending.subscribeNever = true;
    const opened = caught(ShadowClient.open(ending, prefix, log, () => undefined));
    ending.drop(new LinkLost('The connection to the broker was lost'));
    const error = await opened;
    expect(error).toBeInstanceOf(LinkLost);
    expect(error.hint).toContain(
      '"Resource":["arn:aws:iot:us-east-1:ACCOUNT:topicfilter/$aws/things/test-thing/shadow/get/*","arn:aws:iot:us-east-1:ACCOUNT:topicfilter/$aws/things/test-thing/shadow/update/*"]',
    );
  });

  test('tells of no policy where the broker went against the protocol meanwhile', async () => {
    const faulty = new FakeLink();
    faulty.subscribeNever = true;
    const opened = caught(ShadowClient.open(faulty, prefix, log, () => undefined));
    const fault = new BrokerFault('localhost', 'sends too much');
    faulty.drop(fault);
    expect(await opened).toBe(fault);
  });

  test('reads the document with a token of its own, new each time', async () => {
    link.answer = (request) =>
      link.receive('get/accepted', {
        ...emptyDocument,
        state: { desired: { s3: { hash: 'x' } }, delta: { s3: { hash: 'x' } } },
        clientToken: request.clientToken,
      });
    expect(await client.get()).toEqual({ desired: { s3: { hash: 'x' } }, reported: {} });
    await client.get();
    const tokens = link.published.map(({ body }) => body.clientToken);
    expect(link.published.map(({ topic }) => topic)).toEqual([`${prefix}/get`, `${prefix}/get`]);
    expect(new Set(tokens).size).toBe(2);
    for (const token of tokens) {
      expect(isOwnToken(token)).toBe(true);
      expect(Buffer.byteLength(token)).toBeLessThanOrEqual(64);
    }
    expect(isOwnToken('another')).toBe(false);
  });

  test('gives undefined where the thing has no shadow', async () => {
    link.answer = ({ clientToken }) =>
      link.receive('get/rejected', { code: 404, message: 'No shadow', clientToken });
    expect(await client.get()).toBeUndefined();
  });

  test('writes to the reported section and nowhere else', async () => {
    link.answer = ({ clientToken }) => link.receive('update/accepted', { ...emptyDocument, clientToken });
    await client.report({ s3: { hash: 'x' }, old: null });
    expect(link.published[0]).toMatchObject({
      topic: `${prefix}/update`,
      body: { state: { reported: { s3: { hash: 'x' }, old: null } } },
    });
    expect(Object.keys(link.published[0]?.body ?? {}).sort()).toEqual(['clientToken', 'state']);
    expect(Object.keys(Object(link.published[0]?.body['state']))).toEqual(['reported']);
  });

  test.each([
    [400, 'slow'],
    [401, 'slow'],
    [403, 'slow'],
    [404, 'slow'],
    [409, 'soon'],
    [413, 'slow'],
    [429, 'soon'],
    [500, 'soon'],
  ] as const)('rejects a report with %i, class %s', async (code, retry) => {
    link.answer = ({ clientToken }) => link.receive('update/rejected', { code, message: 'why', clientToken });
    const error = await caught(client.report({}));
    expect(error).toBeInstanceOf(ShadowRejection);
    expect(error).toMatchObject({ code: 'SHADOW_REJECTED', retry, rejectedCode: code });
    expect(error.message).toContain(`${code} why`);
  });

  test('bounds the message of a rejection, and lives without one', async () => {
    link.answer = ({ clientToken }) =>
      link.receive('get/rejected', { code: 500, message: 'x'.repeat(10_000), clientToken });
    expect((await caught(client.get())).message.length).toBeLessThan(300);
    link.answer = ({ clientToken }) => link.receive('get/rejected', { code: 403, clientToken });
    expect((await caught(client.get())).message).toContain('403');
  });

  test('answers that come out of order find their requests', async () => {
    const [first, second] = [client.get(), client.report({ a: 1 })];
    await settle();
    const [get, update] = link.published.map(({ body }) => body.clientToken);
    link.receive('update/accepted', { ...emptyDocument, clientToken: update });
    await second;
    link.receive('get/accepted', { ...emptyDocument, clientToken: get });
    expect(await first).toEqual({ desired: {}, reported: {} });
  });

  test('answers to other clients, or to nobody, are left alone', async () => {
    const asked = client.get();
    await settle();
    const other = { ...emptyDocument, state: { desired: { s3: 'other' } } };
    link.receive('get/accepted', { ...other, clientToken: 'another' });
    link.receive('get/accepted', other);
    link.receive('get/rejected', { code: 404, message: 'x', clientToken: 'another' });
    link.receive('get/rejected', { code: 404, message: 'x' });
    link.receive('update/accepted', { ...emptyDocument, clientToken: 'another' });
    link.receive('get/accepted', { ...emptyDocument, clientToken: link.lastToken });
    expect(await asked).toEqual({ desired: {}, reported: {} });
    expect(log.of('warning')).toEqual([]);
  });

  test('a second answer to the same request does no harm', async () => {
    const asked = client.get();
    await settle();
    for (let times = 0; times < 3; times += 1) {
      link.receive('get/accepted', { ...emptyDocument, clientToken: link.lastToken });
    }
    await asked;
    link.receive('get/rejected', { code: 500, message: 'late', clientToken: link.lastToken });
  });

  test('hands on every delta and accepted update, whoever made it', () => {
    const clientToken = 'lambda';
    link.receive('update/delta', { state: { s3: { hash: 'x' } }, version: 2, timestamp: 1, clientToken });
    link.receive('update/delta', { state: { s3: { url: 'y' } }, version: 1, timestamp: 1 });
    link.receive('update/accepted', { ...emptyDocument, state: { desired: { s3: null } }, clientToken });
    link.receive('update/accepted', { ...emptyDocument, state: null });
    expect(changes).toMatchObject([
      { kind: 'update/delta', state: { s3: { hash: 'x' } }, clientToken },
      { kind: 'update/delta', state: { s3: { url: 'y' } } },
      { kind: 'update/accepted', desired: { s3: null }, clientToken },
      { kind: 'update/accepted' },
    ]);
    expect(log.of('warning')).toEqual([]);
  });
});

describe('garbage', () => {
  const topics = ['get/accepted', 'get/rejected', 'update/accepted', 'update/rejected', 'update/delta'];
  const garbage: Array<[string, Uint8Array]> = [
    ['nothing', new Uint8Array()],
    ['no UTF-8', Buffer.from([0xff, 0xfe, 0x7b])],
    ['no JSON', Buffer.from('{"state":')],
    ['null', Buffer.from('null')],
    ['an array', Buffer.from('[]')],
    ['a number', Buffer.from('1')],
    ['a wrong shape', Buffer.from('{"state":1,"code":"x","clientToken":{}}')],
    ['a deep one', Buffer.from(`{"state":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}`)],
    ['a huge one', Buffer.from(`{"state":{},"code":1,"x":"${'x'.repeat(300_000)}"}`)],
  ];

  test.each(garbage)('(%s) on any topic is logged and dropped', async (_, payload) => {
    const asked = client.get();
    await settle();
    for (const topic of topics) link.receiveRaw(`${prefix}/${topic}`, payload);
    const lines = log.entries.filter(({ message }) => message.startsWith('Dropped'));
    expect(lines.map(({ level }) => level)).toEqual(['warning', 'debug', 'debug', 'debug', 'debug']);
    for (const { fields } of lines) expect(JSON.stringify(fields).length).toBeLessThan(400);
    expect(changes).toEqual([]);
    link.receive('get/accepted', { ...emptyDocument, clientToken: link.lastToken });
    await asked;
  });

  test('on a topic that is not ours is logged and dropped', () => {
    const payload = Buffer.from('{"state":{"s3":1}}');
    for (const topic of [
      '',
      'x',
      `${prefix}/update/documents`,
      `${prefix}x/update/delta`,
      '$aws/things/other/shadow/update/delta',
    ]) {
      link.receiveRaw(topic, payload);
    }
    expect(log.entries.filter(({ message }) => message.startsWith('Dropped')).length).toBe(5);
    expect(changes).toEqual([]);
  });

  test('that names the prototype of objects changes nothing', () => {
    link.receiveRaw(`${prefix}/update/delta`, Buffer.from('{"state":{"__proto__":{"polluted":1}}}'));
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
    expect(changes.length).toBe(1);
  });
});

describe('a lost link', () => {
  const reason = new AgentError('MQTT', 'the connection was lost');

  test('rejects all that waits for an answer, with its reason', async () => {
    const waiting = [client.get(), client.report({ a: 1 }), client.get()].map((asked) => caught(asked));
    await settle();
    link.drop(reason);
    expect(await Promise.all(waiting)).toEqual([reason, reason, reason]);
  });

  test('rejects what could not even be sent', async () => {
    link.publishError = reason;
    expect(await caught(client.get())).toBe(reason);
  });

  test('rejects what is asked afterwards', async () => {
    link.drop(reason);
    expect(await caught(client.get())).toBe(reason);
  });
});

describe('a service that does not answer', () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => void jest.useRealTimers());

  test('is TIMEOUT with a hint after 20 s, and ends the connection', async () => {
    const asked = caught(client.get());
    jest.advanceTimersByTime(19_000);
    expect(link.dropped).toBeUndefined();
    jest.advanceTimersByTime(2_000);
    const error = await asked;
    expect([error.code, error.retry]).toEqual(['TIMEOUT', 'soon']);
    expect(error.hint).toContain('"Action":"iot:Receive"');
    expect(link.dropped).toBe(error);
  });

  test('that takes not even the packet is the same', async () => {
    link.publishNever = true;
    const asked = caught(client.report({ a: 1 }));
    jest.advanceTimersByTime(21_000);
    expect((await asked).code).toBe('TIMEOUT');
  });

  test('a subscription that is never acknowledged is the same: the link would be deaf', async () => {
    const deaf = new FakeLink();
    deaf.subscribeNever = true;
    const opened = caught(ShadowClient.open(deaf, prefix, new RecordingLog(), () => undefined));
    jest.advanceTimersByTime(21_000);
    expect((await opened).code).toBe('TIMEOUT');
    expect(deaf.dropped?.code).toBe('TIMEOUT');
    // The right to receive has nothing to do with it.
    expect(deaf.dropped?.hint).toContain('is the data endpoint of AWS IoT');
    expect(deaf.dropped?.hint).not.toContain('iot:Receive');
  });

  test('leaves no timer behind once it has answered', async () => {
    link.answer = ({ clientToken }) => link.receive('get/accepted', { ...emptyDocument, clientToken });
    await client.get();
    jest.advanceTimersByTime(60_000);
    expect(link.dropped).toBeUndefined();
  });
});
