import { afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import tls, { createServer, type TlsOptions, connect as tlsConnect } from 'node:tls';
import type { AgentError } from '../../src/core/errors.ts';
import { connectMqtt, type MqttLink } from '../../src/io/mqtt.ts';
import { BrokerFault } from '../../src/io/mqtt-ends.ts';
import { createPki, type KeyPair, type Pki } from '../../src/sandbox/pki.ts';
import { caught, settle } from '../support/io-helpers.ts';
import { root, type Tool, toolTest } from '../support/tools.ts';

const mqttPort = 443;
const alpnName = 'x-amzn-mqtt-ca';

let pki: Pki;
let device: KeyPair;
const open: Array<() => Promise<void>> = [];

beforeAll(async () => {
  pki = await createPki();
  device = await pki.issueDevice('test-thing');
});

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** What a broker has seen of one connection. */
interface Seen {
  servername: string | false | null;
  alpnProtocol: string | false | null;
  /** The whole CONNECT packet. */
  connect: Buffer;
  /** When each PINGREQ has come, by the clock of `performance`. */
  pingsMs: number[];
}

interface Broker {
  port: number;
  seen: Seen[];
}

interface BrokerOptions {
  port?: number;
  /** The return code of the CONNACK; without one, the connection is closed instead. */
  returnCode?: number;
  /** What is done in the place of a CONNACK. */
  answer?: (socket: Socket) => void;
  /** The codes of the SUBACK, one for each topic. */
  granted?: number[];
  /** What is sent right behind the CONNACK. */
  more?: Uint8Array;
  /** Nothing is read after the CONNECT. */
  deaf?: boolean;
  versions?: Pick<TlsOptions, 'minVersion' | 'maxVersion'>;
}

/** A server that answers each CONNECT and keeps what it was told. */
async function startBroker({
  port = 0,
  returnCode,
  answer,
  granted = [],
  more = new Uint8Array(),
  deaf = false,
  versions = {},
}: BrokerOptions): Promise<Broker> {
  const seen: Seen[] = [];
  const sockets = new Set<Socket>();
  const options: TlsOptions = {
    ...pki.server,
    ca: pki.caCert,
    requestCert: true,
    rejectUnauthorized: true,
    ALPNProtocols: [alpnName],
    ...versions,
  };
  const server = createServer(options, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', (connect: Buffer) => {
      const { servername, alpnProtocol } = socket;
      const pingsMs: number[] = [];
      seen.push({ servername, alpnProtocol, connect, pingsMs });
      if (answer !== undefined) answer(socket);
      else if (returnCode === undefined) socket.end();
      else socket.write(Buffer.from([0x20, 2, 0, returnCode, ...more]));
      if (deaf) socket.pause();
      socket.on('data', (packet: Buffer) => {
        if (packet[0] === 0xc0) {
          pingsMs.push(performance.now());
          socket.write(Buffer.from([0xd0, 0]));
        }
        // PUBLISH of QoS 1: its packet identifier is behind a topic of one letter.
        if (packet[0] === 0x32) socket.write(Buffer.from([0x40, 2, ...packet.subarray(5, 7)]));
        // SUBSCRIBE: its packet identifier is behind a length of one byte.
        if (packet[0] !== 0x82) return;
        socket.write(Buffer.from([0x90, 2 + granted.length, ...packet.subarray(2, 4), ...granted]));
      });
    });
  });
  server.on('tlsClientError', () => undefined);
  open.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { port: await listen(server, port), seen };
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(portOf(server.address())));
  });
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('The server listens on no TCP port');
  return address.port;
}

async function connectTo(port: number, host = 'localhost', keepAliveSeconds = 1200): Promise<MqttLink> {
  const { cert, key } = device;
  const options = { host, port, clientId: 'test-thing', keepAliveSeconds, cert, key, ca: pki.caCert };
  const link = await connectMqtt(options, new AbortController().signal);
  open.push(() => link.end());
  return link;
}

function fail(error: Error): never {
  throw error;
}

/** The right to listen on the real port. */
async function portTool(port: number): Promise<Tool> {
  const server = createTcpServer();
  const found = await listen(server, port).then(
    () => true,
    () => false,
  );
  if (found) await new Promise((resolve) => server.close(resolve));
  return { ...root, name: `port ${port} of 127.0.0.1, as root`, found };
}

describe('a connection to the broker', () => {
  for (const keepAliveSeconds of [30, 1200]) {
    test(`asks for MQTT 3.1.1, a clean session and a keep-alive of ${keepAliveSeconds} s`, async () => {
      const broker = await startBroker({ returnCode: 0 });
      await connectTo(broker.port, 'localhost', keepAliveSeconds);
      expect(broker.seen.length).toBe(1);
      const packet = broker.seen[0]?.connect ?? Buffer.alloc(0);
      expect(packet.subarray(0, 1).toString('hex')).toBe('10');
      expect(packet.subarray(2, 8).toString('latin1')).toBe('\0\x04MQTT');
      expect(packet.readUInt8(8)).toBe(4);
      // Clean session and nothing else: no will, no user name, no password.
      expect(packet.readUInt8(9)).toBe(0b10);
      expect(packet.readUInt16BE(10)).toBe(keepAliveSeconds);
      expect(packet.subarray(14).toString()).toBe('test-thing');
    });
  }

  test('names a host by SNI and offers no protocol by ALPN on another port than 443', async () => {
    const broker = await startBroker({ returnCode: 0 });
    await connectTo(broker.port);
    expect(broker.seen[0]?.servername).toBe('localhost');
    expect(broker.seen[0]?.alpnProtocol).toBe(false);
  });

  test('does not name an address by SNI', async () => {
    const broker = await startBroker({ returnCode: 0 });
    await connectTo(broker.port, '127.0.0.1');
    expect(broker.seen.length).toBe(1);
    expect(broker.seen[0]?.servername || '').toBe('');
  });

  test('is not made with TLS 1.1, also where the default of the runtime would', async () => {
    const broker = await startBroker({
      returnCode: 0,
      versions: { minVersion: 'TLSv1', maxVersion: 'TLSv1.1' },
    });
    const usual = tls.DEFAULT_MIN_VERSION;
    tls.DEFAULT_MIN_VERSION = 'TLSv1';
    try {
      expect(await protocolOfLaxClient(broker.port)).toBe('TLSv1.1');
      const error = await caught(connectTo(broker.port));
      expect(error.code).toBe('NETWORK');
      expect(error.message).toContain(`Cannot connect to the broker localhost:${broker.port}`);
      expect(broker.seen).toEqual([]);
    } finally {
      tls.DEFAULT_MIN_VERSION = usual;
    }
  });

  test('is made with TLS 1.2', async () => {
    const broker = await startBroker({ returnCode: 0, versions: { maxVersion: 'TLSv1.2' } });
    await connectTo(broker.port);
    expect(broker.seen.length).toBe(1);
  });

  const allow =
    '{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:REGION:ACCOUNT:client/test-thing"}';
  const refusals: Array<[number, string, string]> = [
    [1, 'it does not speak MQTT 3.1.1', 'check that "endpoint" is right'],
    [2, 'it refuses the client id', 'check "clientId"'],
    [3, 'it is not available', 'the agent tries again by itself'],
    [4, 'bad user name or password', allow],
    [5, 'not authorised', allow],
    [9, 'code 9, which MQTT 3.1.1 does not have', 'check that "endpoint" is right'],
  ];
  for (const [returnCode, reason, hint] of refusals) {
    test(`that is refused with CONNACK ${returnCode} tells "${reason}" and what to do`, async () => {
      const broker = await startBroker({ returnCode });
      const error = await caught(connectTo(broker.port));
      expect(error.code).toBe('MQTT');
      expect(error.message).toBe(`The broker localhost:${broker.port} refuses the connection: ${reason}`);
      expect(error.hint).toContain(hint);
      expect(error.hint?.includes('iot:Connect')).toBe(hint === allow);
    });
  }

  test('tells which topics the SUBACK refuses', async () => {
    const broker = await startBroker({ returnCode: 0, granted: [1, 0x80, 0] });
    const link = await connectTo(broker.port);
    expect(await link.subscribe(['a', 'b', 'c'])).toEqual(['b']);
  });

  test('is ended where a SUBACK has too few codes, as by any other breach of the protocol', async () => {
    const broker = await startBroker({ returnCode: 0, granted: [1] });
    const link = await connectTo(broker.port);
    const error = await caught(link.subscribe(['a', 'b', 'c']));
    expect(error).toBeInstanceOf(BrokerFault);
    expect(error.message).toBe(
      'The broker localhost breaks the protocol: it answers a subscription to 3 topics with 1 codes',
    );
    expect(error.hint).toContain('check that "endpoint" is right');
    expect(await link.closed).toBe(error);
  });

  test('is pinged only where nothing was acknowledged for as long as the keep-alive', async () => {
    const broker = await startBroker({ returnCode: 0 });
    const link = await connectTo(broker.port, 'localhost', 1);
    const pings = broker.seen[0]?.pingsMs ?? [];
    let publishedMs = 0;
    for (let times = 0; times < 4; times += 1) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      await link.publish('t', '{}');
      if (pings.length === 0) publishedMs = performance.now();
    }
    while (pings.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    expect((pings[0] ?? 0) - publishedMs).toBeGreaterThan(900);
  });

  test('is ended where the broker sends a message of QoS 2, which would be kept until its release', async () => {
    const more = Uint8Array.of(0x34, 6, 0, 1, 0x61, 0, 1, 0x62);
    const broker = await startBroker({ returnCode: 0, more });
    const error = await caught(connectTo(broker.port).then((link) => link.closed.then(fail)));
    expect(error).toBeInstanceOf(BrokerFault);
    expect(error.message).toContain('The broker localhost sends a packet that begins with 0x34');
  });

  test('is ended where the broker does not read what it is sent', async () => {
    const broker = await startBroker({ returnCode: 0, deaf: true });
    const link = await connectTo(broker.port);
    const payload = 'x'.repeat(100_000);
    let sent = 0;
    const published: Array<Promise<AgentError>> = [];
    const isUp = () => Promise.race([link.closed.then(() => false), settle().then(() => true)]);
    // The kernel takes some megabytes.
    for (; sent < 1_000 && (await isUp()); sent += 1) published.push(caught(link.publish('t', payload)));
    const error = await link.closed;
    expect(error).toBeInstanceOf(BrokerFault);
    expect(error.message).toMatch(
      /does not read what it is sent: \d{6} bytes wait for it, 262144 are the most/,
    );
    for (const each of await Promise.all(published)) expect(each).toBe(error);
  });

  test('that is closed before its CONNACK hints at certificate and policy', async () => {
    const broker = await startBroker({});
    const error = await caught(connectTo(broker.port));
    expect(error.code).toBe('NETWORK');
    expect(error.message).toContain('closed the connection before its CONNACK');
    expect(error.hint).toMatch(/the certificate is active, and .*iot:Connect/);
  });

  test('that is reset before its CONNACK hints at the same', async () => {
    const broker = await startBroker({ answer: (socket) => void socket.resetAndDestroy() });
    const error = await caught(connectTo(broker.port));
    expect(error.code).toBe('NETWORK');
    expect(error.message).toContain('reset the connection before its CONNACK');
    expect(error.hint).toMatch(/the certificate is active, and .*iot:Connect/);
  });

  test('that is answered by something else than MQTT hints at the endpoint', async () => {
    const broker = await startBroker({ answer: (socket) => void socket.write('HTTP/1.1 400 Bad\r\n\r\n') });
    const error = await caught(connectTo(broker.port));
    expect(error.code).toBe('NETWORK');
    expect(error.hint).toContain('check that "endpoint" is right');
  });

  test.each([
    ['a second CONNACK', [0x20, 2, 0, 0]],
    ['a packet whose length has no end', [0x30, 0xff, 0xff, 0xff, 0xff, 0xff]],
    ['a packet of a kind that there is not', [0xf0, 0]],
  ])('that brings %s is ended by the agent, which says so', async (_what, bytes) => {
    const broker = await startBroker({
      answer: (socket) => {
        socket.write(Buffer.from([0x20, 2, 0, 0]));
        socket.once('data', () => socket.write(Buffer.from(bytes)));
      },
    });
    const link = await connectTo(broker.port);
    link.publish('t', '{}').catch(() => undefined);
    const end = await link.closed;
    expect(end).toBeInstanceOf(BrokerFault);
    expect(end).toMatchObject({ code: 'MQTT', hint: expect.stringContaining('AWS IoT does not do so') });
  });

  test('to an IPv6 address has it in brackets where it is told', async () => {
    const error = await caught(connectTo(1, '::1'));
    expect(error.message).toStartWith('Cannot connect to the broker [::1]:1: ');
  });
});

toolTest(
  [await portTool(mqttPort)],
  `on port 443 the protocol is asked for by ALPN ${alpnName}`,
  async () => {
    const broker = await startBroker({ port: mqttPort, returnCode: 0 });
    await connectTo(broker.port);
    expect(broker.seen[0]?.alpnProtocol).toBe(alpnName);
    expect(broker.seen[0]?.servername).toBe('localhost');
  },
);

/** Connects with any version of TLS that the runtime allows, and tells which it became. */
function protocolOfLaxClient(port: number): Promise<string | null> {
  const { cert, key } = device;
  return new Promise((resolve, reject) => {
    const options = { host: 'localhost', port, cert, key, ca: pki.caCert };
    const socket = tlsConnect(options, () => {
      resolve(socket.getProtocol());
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
