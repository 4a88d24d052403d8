/** Nothing that the network sends fills the memory. With the compiled executable. */
import { expect, test } from 'bun:test';
import type { Socket } from 'node:net';
import {
  configure,
  type HostileServer,
  hostileServer,
  peakMiB,
  pourForEver,
} from '../support/hostile-servers.ts';
import { bucketName, type Run, scenario, until } from '../support/world.ts';

const limitMiB = 140;
// Of many packets in one piece each is parsed before the connection ends. The unit of systemd allows 256 MiB.
const floodLimitMiB = 180;
const maxLines = 100;
const maxStopMs = 5_000;
const megabyte = Buffer.alloc(1024 * 1024, 0x20);
const connack = Buffer.from([0x20, 2, 0, 0]);

/** Lets a server have its way for some attempts, and looks at the memory. */
async function endure(
  run: Run,
  server: HostileServer,
  logged: RegExp,
  connections = 3,
  most = limitMiB,
): Promise<void> {
  await until('some attempts', () => server.connections >= connections, 10_000);
  await run.logged(logged);
  const peak = peakMiB(run);
  process.stdout.write(
    `  ${server.connections} attempts, ${Math.round(server.written / 1e6)} MB sent, peak ${peak} MiB\n`,
  );
  expect(peak).toBeLessThan(most);
  expect(run.log.split('\n').length).toBeLessThan(maxLines);
  // It is the agent that ends these connections.
  expect(run.log).not.toContain('another device');
  const stoppedMs = performance.now();
  expect(await run.stop()).toBe(0);
  expect(performance.now() - stoppedMs).toBeLessThan(maxStopMs);
}

async function asBroker(attack: (socket: Socket) => void, logged: RegExp, most = limitMiB): Promise<void> {
  await scenario(async (world) => {
    await using server = await hostileServer(world, attack);
    configure(world, (config) => ({ ...config, endpoint: `localhost:${server.port}` }));
    await endure(await world.run(), server, logged, 3, most);
  });
}

test('a broker that announces a packet of 256 MB, and sends it', () =>
  asBroker((socket) => {
    socket.write(connack);
    socket.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 0x61]));
    pourForEver(socket, megabyte);
  }, /announces a packet of 268435455 bytes/));

test('a broker that sends such a packet in the place of its CONNACK', () =>
  asBroker((socket) => {
    socket.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 0x61]));
    pourForEver(socket, megabyte);
  }, /sends a packet that begins with 0x30 where a CONNACK must come/));

test('a broker that sends a length without an end', () =>
  asBroker((socket) => {
    socket.write(connack);
    socket.write(Uint8Array.of(0x30));
    pourForEver(socket, Buffer.alloc(65536, 0xff));
  }, /announces a packet whose length has no end|: Invalid (?:variable byte integer|header flag bits)/));

/** A message on a topic of the shadow. */
function message(qos: number, id: number, payload: Buffer): Buffer {
  const topic = Buffer.from('$aws/things/test-thing/shadow/update/delta');
  const packetId = qos === 0 ? [] : [id >> 8, id & 0xff];
  const length = 2 + topic.length + packetId.length + payload.length;
  const digits = [(length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14];
  const head = [0x30 | (qos << 1), ...digits, 0, topic.length];
  return Buffer.concat([Buffer.from(head), topic, Buffer.from(packetId), payload]);
}

/** Many packets, by the number of each. */
function many(count: number, packet: (id: number) => Uint8Array): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => packet((index % 65_535) + 1)));
}

const empty = Buffer.from('{}');
const delta = Buffer.from('{"version":1,"state":{"s3":{"hash":"q"}}}');
const large = Buffer.alloc(120_000, 0x20);
const floods: Array<[string, Buffer, RegExp]> = [
  ['messages of QoS 2, never released', many(100, (id) => message(2, id, large)), /0x34, a message of QoS 2/],
  [
    'releases of no message',
    many(5_000, (id) => Uint8Array.of(0x62, 2, id >> 8, id & 0xff)),
    /with 0x62, which/,
  ],
  ['answers to no ping', many(500_000, () => Uint8Array.of(0xd0, 0)), /answers a ping that was never sent/],
  [
    'acknowledgements',
    many(5_000, (id) => Uint8Array.of(0x40, 2, id >> 8, id & 0xff)),
    /more than 1000 packets/,
  ],
  ['messages that are no documents', many(2_000, (id) => message(1, id, empty)), /more than 1000 packets/],
  ['deltas', many(2_000, (id) => message(0, id, delta)), /more than 1000 packets/],
];
for (const [name, packets, logged] of floods) {
  for (const reads of [true, false]) {
    test(`a broker that pours ${name}, and reads ${reads ? 'all' : 'nothing'}`, () =>
      asBroker(
        (socket) => {
          socket.write(connack);
          if (reads) socket.resume();
          else socket.pause();
          pourForEver(socket, packets);
        },
        logged,
        floodLimitMiB,
      ));
  }
}

const service = { s3: 's3', credentials: 'the credentials provider' } as const;

/** Plays S3 or the credentials provider with a server that answers each request in its own way. */
async function asServer(
  role: keyof typeof service,
  attack: (socket: Socket) => void,
  logged: RegExp,
): Promise<void> {
  await scenario(async (world) => {
    await using server = await hostileServer(world, attack);
    configure(world, (config) => {
      if (role === 'credentials') {
        const path = String(config['credentialEndpoint']).replace(/^.*?\//, '/');
        return { ...config, credentialEndpoint: `localhost:${server.port}${path}` };
      }
      return { ...config, s3: { ...(config['s3'] as object), endpoint: `https://127.0.0.1:${server.port}` } };
    });
    await world.put('test.txt', 'hoge\n');
    await endure(await world.run(), server, logged, 1);
  });
}

/** Begins an answer, and never ends it. */
function answer(head: string, more: string | Buffer) {
  return (socket: Socket) => {
    socket.write(`HTTP/1.1 ${head}\r\n`);
    pourForEver(socket, Buffer.isBuffer(more) ? more : Buffer.from(more.repeat(1000)));
  };
}

const endless = 'content-length: 1000000000000\r\n\r\n';
const attacks: Array<[string, (socket: Socket) => void]> = [
  ['headers without end', answer('200 OK', 'x-more: of the same\r\n')],
  ['one header without end', answer('200 OK\r\nx-long: ', megabyte)],
  ['a status line without end', answer('200 ', megabyte)],
  ['an error whose text has no end', answer(`403 Forbidden\r\n${endless}`, megabyte)],
  ['an error in chunks without end', answer('500 Oh\r\ntransfer-encoding: chunked', '\r\n4\r\nabcd')],
];
for (const [name, attack] of attacks) {
  for (const role of ['s3', 'credentials'] as const) {
    test(`${service[role]} sends ${name}`, () =>
      asServer(role, attack, /WARNING.* code=(?:S3|CREDENTIALS|NETWORK|TIMEOUT)/));
  }
}

test('the credentials provider sends interim answers without end, and is left after 20 s', () =>
  asServer(
    'credentials',
    (socket) => {
      const interim = 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(1000);
      const timer = setInterval(() => socket.write(interim), 10);
      socket.once('close', () => clearInterval(timer));
    },
    /code=TIMEOUT/,
  ));

const deep = '['.repeat(60_000);
test('the credentials provider sends JSON that is nested 60,000 deep', () =>
  asServer(
    'credentials',
    (socket) => socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${deep.length}\r\n\r\n${deep}`),
    /code=CREDENTIALS/,
  ));

test('an object without end is left at maxBytes', () =>
  scenario(
    async (world) => {
      const chunk = Buffer.from(`\r\n10000\r\n${'x'.repeat(65_536)}`);
      const body = answer('200 OK\r\ntransfer-encoding: chunked', chunk);
      await using server = await hostileServer(world, body);
      configure(world, (config) => ({
        ...config,
        s3: { ...(config['s3'] as object), endpoint: `https://127.0.0.1:${server.port}` },
      }));
      // Desired tells no size, which would be the bound.
      world.desire({ s3: { url: `s3://${bucketName}/endless`, hash: 'ab'.repeat(32) } });
      await endure(await world.run(), server, /code=TOO_LARGE/, 1);
    },
    { files: [{ property: 's3', path: 'tmpfile', maxBytes: 3_000_000 }] },
  ));
