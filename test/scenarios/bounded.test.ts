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
import { type Run, scenario, until } from '../support/world.ts';

const limitMiB = 140;
const megabyte = Buffer.alloc(1024 * 1024, 0x20);
const connack = Buffer.from([0x20, 2, 0, 0]);

/** Lets a server have its way for some attempts, and looks at the memory. */
async function endure(run: Run, server: HostileServer, logged: RegExp, connections = 3): Promise<void> {
  await until('some attempts', () => server.connections >= connections, 30_000);
  await run.logged(logged);
  const peak = peakMiB(run);
  process.stdout.write(
    `  ${server.connections} attempts, ${Math.round(server.written / 1e6)} MB sent, peak ${peak} MiB\n`,
  );
  expect(peak).toBeLessThan(limitMiB);
  expect(await run.stop()).toBe(0);
}

async function asBroker(attack: (socket: Socket) => void, logged: RegExp): Promise<void> {
  await scenario(async (world) => {
    await using server = await hostileServer(world, attack);
    configure(world, (config) => ({ ...config, endpoint: `localhost:${server.port}` }));
    await endure(await world.run(), server, logged);
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
  }, /announces a packet of 268435455 bytes/));

test('a broker that sends a length without an end', () =>
  asBroker((socket) => {
    socket.write(connack);
    pourForEver(socket, Buffer.alloc(65536, 0xff));
  }, /announces a packet whose length has no end/));
