import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { once } from 'node:events';
import { connect } from 'node:tls';
import type { IClientOptions } from 'mqtt';
import type { Broker } from '../../src/sandbox/broker.ts';
import { keepAliveSeconds } from '../../src/sandbox/device-connections.ts';
import { createPki } from '../../src/sandbox/pki.ts';
import { brokerOf, bytes, connectDevice, createIot, type Device, type Iot, prefix } from './iot-fixture.ts';

const pki = await createPki();
let iot: Iot;
let broker: Broker;
const devices: Device[] = [];

beforeEach(async () => {
  iot = await createIot(pki);
  broker = await brokerOf(iot);
});

afterEach(async () => {
  for (const device of devices.splice(0)) await device.end();
  await broker.close();
});

async function online(options: IClientOptions = {}): Promise<Device> {
  const device = await connectDevice(broker, iot, options);
  devices.push(device);
  return device;
}

async function subscribed(options: IClientOptions = {}): Promise<Device> {
  const device = await online(options);
  const filters = [`${prefix}/get/+`, `${prefix}/delete/+`, `${prefix}/update/+`];
  await device.client.subscribeAsync(filters, { qos: 1 });
  return device;
}

describe('the shadow over MQTT', () => {
  test('get of no shadow is rejected with 404 and the client token', async () => {
    const device = await subscribed();
    await device.publish(`${prefix}/get`, { clientToken: 'token' });
    expect(await device.next(`${prefix}/get/rejected`)).toEqual({
      code: 404,
      message: "No shadow exists with name: 'test-thing'",
      clientToken: 'token',
    });
  });

  test('an update is answered with accepted, delta and documents', async () => {
    const device = await subscribed();
    await device.publish(`${prefix}/update`, { state: { desired: { a: 1 } }, clientToken: 'token' });
    const same = { version: 1, clientToken: 'token' };
    expect(await device.next(`${prefix}/update/accepted`)).toMatchObject({
      ...same,
      state: { desired: { a: 1 } },
    });
    expect(await device.next(`${prefix}/update/delta`)).toMatchObject({ ...same, state: { a: 1 } });
    expect(await device.next(`${prefix}/update/documents`)).toMatchObject({
      previous: null,
      current: { version: 1 },
    });
    await device.publish(`${prefix}/get`, {});
    expect(await device.next(`${prefix}/get/accepted`)).toMatchObject({
      state: { delta: { a: 1 } },
      version: 1,
    });
    await device.publish(`${prefix}/delete`, {});
    expect(await device.next(`${prefix}/delete/accepted`)).toMatchObject({ version: 1 });
    expect(device.untaken).toEqual([]);
  });

  test('an update that did not come over MQTT causes delta, but its errors cause nothing', async () => {
    const device = await subscribed();
    iot.shadows.update('test-thing', undefined, bytes({ state: 1 }));
    iot.shadows.update('test-thing', undefined, bytes({ state: { desired: { a: 1 } } }));
    expect(await device.next(`${prefix}/update/delta`)).toMatchObject({ version: 1, state: { a: 1 } });
    expect(broker.messages.filter(({ topic }) => topic.endsWith('/rejected'))).toEqual([]);
  });

  test('a named shadow has its own topics', async () => {
    const device = await online();
    const named = `${prefix}/name/files`;
    await device.client.subscribeAsync([`${named}/get/+`, `${named}/update/accepted`], { qos: 1 });
    await device.publish(`${named}/get`, {});
    expect(await device.next(`${named}/get/rejected`)).toMatchObject({ code: 404 });
    await device.publish(`${named}/update`, { state: { reported: { a: 1 } } });
    expect(await device.next(`${named}/update/accepted`)).toMatchObject({ version: 1 });
    expect(iot.shadows.listNamedShadows('test-thing')).toEqual(['files']);
  });

  test('a device of another thing sees nothing of it', async () => {
    const other = await iot.pki.issueDevice('other-thing');
    iot.things.register(other.cert, { things: ['other-thing'] });
    const stranger = await online({ ...other, clientId: 'other-thing' });
    await stranger.client.subscribeAsync('$aws/things/other-thing/shadow/update/+', { qos: 1 });
    iot.shadows.update('test-thing', undefined, bytes({ state: { desired: { a: 1 } } }));
    iot.shadows.update('other-thing', undefined, bytes({ state: { desired: { a: 2 } } }));
    const delta = await stranger.next('$aws/things/other-thing/shadow/update/delta');
    expect(delta).toMatchObject({ state: { a: 2 } });
    expect(broker.messages.every(({ topic }) => !topic.startsWith(prefix))).toBe(true);
  });

  test('a last will on a shadow topic is seen by subscribers and ignored by the service', async () => {
    const will = {
      topic: `${prefix}/update`,
      payload: bytes({ state: { reported: { a: 1 } } }),
      qos: 1 as const,
    };
    const dying = await online({ will: { ...will, payload: Buffer.from(will.payload) } });
    broker.kick('test-thing');
    await dying.closed;
    const device = await subscribed();
    await device.publish(`${prefix}/get`, {});
    expect(await device.next(`${prefix}/get/rejected`)).toMatchObject({ code: 404 });
    expect(broker.messages.some(({ direction, topic }) => direction === 'in' && topic === will.topic)).toBe(
      true,
    );
  });

  test('a persistent session gets the delta that it missed', async () => {
    const before = await subscribed({ clean: false });
    await before.end();
    iot.shadows.update('test-thing', undefined, bytes({ state: { desired: { a: 1 } } }));
    const after = await online({ clean: false });
    expect(await after.next(`${prefix}/update/delta`)).toMatchObject({ state: { a: 1 } });
  });
});

describe('the policy', () => {
  test.each([
    ['subscribes to all of the shadow', (d: Device) => d.client.subscribeAsync(`${prefix}/#`)],
    ['subscribes to everything', (d: Device) => d.client.subscribeAsync('#')],
    ['subscribes to what it may only publish', (d: Device) => d.client.subscribeAsync(`${prefix}/update`)],
    [
      'subscribes to another thing',
      (d: Device) => d.client.subscribeAsync('$aws/things/other-thing/shadow/update/delta'),
    ],
    [
      'subscribes to every thing',
      (d: Device) => d.client.subscribeAsync('$aws/things/+/shadow/update/delta'),
    ],
    ['subscribes at QoS 2', (d: Device) => d.client.subscribeAsync(`${prefix}/get/+`, { qos: 2 })],
    [
      'subscribes with nine filters',
      (d: Device) => d.client.subscribeAsync([...'123456789'].map((name) => `${prefix}/name/${name}/get/+`)),
    ],
    ['publishes to another thing', (d: Device) => d.publish('$aws/things/other-thing/shadow/update', {})],
    ['publishes an answer', (d: Device) => d.publish(`${prefix}/get/accepted`, {})],
    ['publishes elsewhere', (d: Device) => d.publish('hello', {})],
    [
      'publishes with RETAIN',
      (d: Device) => d.client.publishAsync(`${prefix}/get`, '', { qos: 1, retain: true }),
    ],
    ['publishes at QoS 2', (d: Device) => d.client.publishAsync(`${prefix}/get`, '', { qos: 2 })],
    ['publishes more than 128 KB', (d: Device) => d.publish(`${prefix}/update`, 'x'.repeat(128 * 1024))],
  ])('closes the connection of a device that %s', async (_name, act) => {
    const device = await online();
    act(device).catch(() => undefined);
    await device.closed;
    expect(broker.messages).toEqual([]);
  });

  test('allows eight filters of its own shadows, with wildcards', async () => {
    const device = await online();
    const filters = [
      'get/+',
      'get/#',
      'update/+',
      'delete/accepted',
      'name/a/get/+',
      'name/+/update/+',
      'name/b/get/#',
    ];
    const granted = await device.client.subscribeAsync(
      [...filters, 'update/delta'].map((f) => `${prefix}/${f}`),
    );
    expect(granted.map(({ qos }) => qos)).toEqual(Array(8).fill(0));
    expect(broker.sessions()).toEqual(['test-thing']);
  });

  test('lets nobody see requests, though a filter matches them', async () => {
    const device = await online();
    await device.client.subscribeAsync([`${prefix}/get/#`], { qos: 1 });
    await device.publish(`${prefix}/get`, {});
    await device.next(`${prefix}/get/rejected`);
    expect(broker.messages.map(({ direction, topic }) => `${direction} ${topic}`)).toEqual([
      `in ${prefix}/get`,
      `out ${prefix}/get/rejected`,
    ]);
  });
});

describe('connecting', () => {
  test('a client id that is not the name of the thing is refused with code 5', async () => {
    await expect(online({ clientId: 'other' })).rejects.toMatchObject({ code: 5 });
    await expect(online({ clientId: '' })).rejects.toMatchObject({ code: 5 });
    expect(broker.connects).toBe(0);
  });

  test('a client id that is registered besides may use the shadows of the things', async () => {
    const device = await subscribed({ clientId: 'extra' });
    await device.publish(`${prefix}/get`, {});
    expect(await device.next(`${prefix}/get/rejected`)).toMatchObject({ code: 404 });
  });

  test.each([
    ['that is not registered', async () => iot.pki.issueDevice('test-thing')],
    ['of another authority', async () => (await createPki()).issueDevice('test-thing')],
  ])('a certificate %s is refused', async (_name, issue) => {
    await expect(online(await issue())).rejects.toThrow();
    expect(broker.connects).toBe(0);
  });

  test('a certificate that was made inactive is refused', async () => {
    iot.things.register(iot.device.cert, { things: ['test-thing'], active: false });
    await expect(online()).rejects.toThrow();
  });

  test.each([
    ['x-amzn-mqtt-ca', { ALPNProtocols: ['x-amzn-mqtt-ca'] }],
    ['none', {}],
  ])('ALPN %s is served', async (_name, options) => {
    await online(options);
    expect(broker.sessions()).toEqual(['test-thing']);
  });

  test.each([
    ['TLSv1.3', true],
    ['TLSv1.2', true],
    ['TLSv1.1', false],
  ] as const)('%s is served: %p', async (version, served) => {
    const { port } = broker;
    const versions = { minVersion: version, maxVersion: version };
    const socket = connect({ host: '127.0.0.1', port, ca: iot.pki.caCert, ...iot.device, ...versions });
    const secured = once(socket, 'secureConnect').then(
      () => true,
      () => false,
    );
    expect(await secured).toBe(served);
    socket.destroy();
  });

  test('the second connection with a client id ends the first', async () => {
    const first = await online();
    const second = await subscribed();
    await first.closed;
    await second.publish(`${prefix}/get`, {});
    expect(await second.next(`${prefix}/get/rejected`)).toMatchObject({ code: 404 });
    expect(broker.sessions()).toEqual(['test-thing']);
    expect(broker.connects).toBe(2);
  });

  test.each([
    [0, 1200],
    [1, 30],
    [29, 30],
    [30, 30],
    [1200, 1200],
    [1201, 1200],
  ])('a keep-alive of %i s counts as %i s', (asked, counts) => {
    expect(keepAliveSeconds(asked)).toBe(counts);
  });

  test('close() drops all connections at once, and the port can be used again', async () => {
    const device = await online();
    const { port } = broker;
    await broker.close();
    await device.closed;
    broker = await brokerOf(iot, port);
    expect(broker.port).toBe(port);
    await online();
    expect(broker.sessions()).toEqual(['test-thing']);
  });
});

describe('faults', () => {
  test('mqtt-refuse closes connections before their CONNACK', async () => {
    iot.faults.set('mqtt-refuse', 1, 2);
    await expect(online()).rejects.toThrow('closed');
    await expect(online()).rejects.toThrow('closed');
    await online();
    expect(broker.connects).toBe(1);
  });

  test('mqtt-kick ends a session after its CONNACK', async () => {
    iot.faults.set('mqtt-kick', 10, 1);
    const kicked = await online();
    await kicked.closed;
    expect(broker.sessions()).toEqual([]);
  });

  test('shadow-drop loses requests', async () => {
    iot.faults.set('shadow-drop', 1, 1);
    const device = await subscribed();
    await device.publish(`${prefix}/get`, { clientToken: 'lost' });
    await device.publish(`${prefix}/get`, { clientToken: 'second' });
    expect(await device.next(`${prefix}/get/rejected`)).toMatchObject({ clientToken: 'second' });
  });

  test('shadow-reject rejects a request, which changes nothing', async () => {
    iot.faults.set('shadow-reject', 409, 1);
    const device = await subscribed();
    await device.publish(`${prefix}/update`, { state: { reported: { a: 1 } }, clientToken: 'token' });
    expect(await device.next(`${prefix}/update/rejected`)).toEqual({
      code: 409,
      message: 'Version conflict',
      clientToken: 'token',
    });
    expect(iot.shadows.get('test-thing')).toMatchObject({ code: 404 });
  });
});
