/** Which port is connected to. The servers are the sandbox's broker behind links that can be down. */
import { afterEach, beforeEach, expect, jest, test } from 'bun:test';
import { createConnect } from '../../src/io/broker.ts';
import type { MqttLink } from '../../src/io/mqtt.ts';
import type { Route } from '../../src/io/proxy.ts';
import { type Broker, startBroker } from '../../src/sandbox/broker.ts';
import { Faults } from '../../src/sandbox/faults.ts';
import { createPki } from '../../src/sandbox/pki.ts';
import { ShadowService } from '../../src/sandbox/shadow-service.ts';
import { Things } from '../../src/sandbox/things.ts';
import { caught } from '../support/io-helpers.ts';
import { ScriptedProxy } from '../support/proxy.ts';
import { Relay } from '../support/relay.ts';

const never = new AbortController().signal;
const pki = await createPki();
const device = await pki.issueDevice('test-thing');
let broker: Broker;
let first: Relay;
let second: Relay;
let links: MqttLink[] = [];

beforeEach(async () => {
  const things = new Things();
  things.register(device.cert, { things: ['test-thing'] });
  broker = await startBroker({ pki, things, shadows: new ShadowService(), faults: new Faults() });
  first = await Relay.to(broker.port);
  second = await Relay.to(broker.port);
});
afterEach(async () => {
  for (const link of links) await link.end();
  links = [];
  await Promise.all([first.down(), second.down()]);
  await broker.close();
});

function connectTo(
  ports: readonly [number, ...number[]],
  clientId = 'test-thing',
  route: Route = () => undefined,
) {
  const mqtt = async () => ({
    host: '127.0.0.1',
    clientId,
    keepAliveSeconds: 1200,
    ...device,
    ca: pki.caCert,
  });
  const connect = createConnect({ ports, route, mqtt });
  return async () => {
    const link = await connect(never);
    links.push(link);
    return link;
  };
}

test('where the first port is blocked the other one is tried, and kept to', async () => {
  await second.up();
  const connect = connectTo([first.port, second.port]);
  const error = await caught(connect());
  expect(error.message).toMatch(`Cannot connect to the broker 127.0.0.1:${first.port}: `);
  expect(error.hint).toBe(`where port ${first.port} is blocked, ${second.port} may not be: it is tried next`);
  await connect();
  await first.up();
  await connect();
  await connect();
  expect([first.connections, second.connections]).toEqual([0, 3]);
});

test('where it cuts the handshake the other one is tried as well, and back again', async () => {
  await Promise.all([first.up(), second.up()]);
  first.cutAfterBytes = 100;
  const connect = connectTo([first.port, second.port]);
  expect((await caught(connect())).code).toBe('NETWORK');
  await connect();
  await second.down();
  first.cutAfterBytes = Number.POSITIVE_INFINITY;
  expect((await caught(connect())).message).toContain(`:${second.port}: `);
  await connect();
  expect(first.connections).toBe(2);
});

test('a broker that refuses the client is no blocked port', async () => {
  await Promise.all([first.up(), second.up()]);
  const connect = connectTo([first.port, second.port], 'another');
  for (let times = 0; times < 3; times += 1) expect((await caught(connect())).code).toBe('MQTT');
  expect([first.connections, second.connections]).toEqual([3, 0]);
});

test('where a proxy lets nobody out to the first port the other one is tried through it, and kept to', async () => {
  await Promise.all([first.up(), second.up()]);
  const proxy = await ScriptedProxy.start();
  proxy.closed.add(first.port);
  const connect = connectTo([first.port, second.port], 'test-thing', () => ({
    host: '127.0.0.1',
    port: proxy.port,
  }));
  expect((await caught(connect())).message).toContain('the proxy answers 403');
  await connect();
  await connect();
  expect([first.connections, second.connections, proxy.heads.length]).toEqual([0, 2, 3]);
  for (const link of links.splice(0)) await link.end();
  await proxy.close();
});

test('a single port is tried alone', async () => {
  const connect = connectTo([first.port]);
  expect((await caught(connect())).hint).toBeUndefined();
  await first.up();
  await connect();
  expect(first.connections).toBe(1);
});

test('a connect that is stuck, also before there is a socket, is left after two minutes', async () => {
  jest.useFakeTimers();
  try {
    const stuck = new Promise<never>(() => undefined);
    const connect = createConnect({ ports: [1], route: () => undefined, mqtt: () => stuck });
    const failed = caught(connect(never));
    jest.advanceTimersByTime(120_000);
    expect((await failed).code).toBe('TIMEOUT');
  } finally {
    jest.useRealTimers();
  }
});
