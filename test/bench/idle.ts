/**
 * What an agent that has nothing to do costs in a month: each kind of exchange is played and counted at a relay before
 * the broker, then multiplied by how often it comes with the default settings.
 *
 *   bytes = TLS bytes both ways + 2 × packets × 52, for TCP and IPv4 headers of each packet and of its acknowledgement
 *   a month has 30 days: 2160 pings (every 1200 s), 823 resyncs (every 3150 s, the mean of 2700 and 3600), and one
 *   new connection a day, which is more often than AWS IoT ends them
 */
import type { JsonObject } from '../../src/core/json.ts';
import { Relay } from '../support/relay.ts';
import { scenario, sha256, until, type World } from '../support/world.ts';

const headerBytes = 52;
const monthSeconds = 30 * 86_400;
const pingSeconds = 30;
const resyncSeconds = 4;

interface Traffic {
  tlsBytes: number;
  packets: number;
}

export async function idle(): Promise<JsonObject[]> {
  const costs: { connection?: Traffic; resync?: Traffic; ping?: Traffic } = {};
  await scenario((world) =>
    throughRelay(world, async (relay, args) => {
      await world.run([...args, '--resync-seconds', '604800', '--keep-alive-seconds', String(pingSeconds)]);
      await settled(world);
      costs.connection = await counted(relay, async () => {
        relay.reset();
        await until('a new connection', () => relay.connections === 2 && world.published('get').length >= 2);
        await pause(2_000);
      });
      const pings = 2;
      const before = relay.packets;
      await until('a ping', () => relay.packets > before);
      await pause(1_000);
      costs.ping = divided(await counted(relay, () => pause(pings * pingSeconds * 1_000)), pings);
    }),
  );
  await scenario((world) =>
    throughRelay(world, async (relay, args) => {
      await world.run([...args, '--resync-seconds', String(resyncSeconds)]);
      await settled(world);
      const before = world.published('get').length;
      const all = await counted(relay, () => pause(resyncSeconds * 5_000));
      costs.resync = divided(all, world.published('get').length - before);
    }),
  );
  const { connection, resync, ping } = costs;
  if (connection === undefined || resync === undefined || ping === undefined) throw new Error('not measured');
  const rows = [
    row('ping', ping, monthSeconds / 1_200),
    row('resync', resync, monthSeconds / (3_600 * 0.875)),
    row('new connection', connection, 30),
  ];
  const total = rows.reduce((sum, { kBInMonth }) => sum + Number(kBInMonth), 0);
  return [
    ...rows,
    { what: 'month', times: 1, tlsBytes: '', packets: '', bytes: '', kBInMonth: Math.round(total) },
  ];
}

/** Plays with a device whose broker is behind a relay, and with one file installed. */
async function throughRelay(
  world: World,
  play: (relay: Relay, args: string[]) => Promise<void>,
): Promise<void> {
  const relay = await Relay.to(world.sandbox.broker.port);
  await relay.up();
  await world.put('test.txt', 'hoge\n');
  try {
    await play(relay, ['--config', world.device.configPath, '--endpoint', `127.0.0.1:${relay.port}`]);
  } finally {
    await relay.down();
  }
}

async function settled(world: World): Promise<void> {
  await world.inSync(sha256('hoge\n'));
  await pause(2_000);
}

async function counted(relay: Relay, play: () => Promise<void>): Promise<Traffic> {
  const total = () => ({ tlsBytes: relay.bytesUp + relay.bytesDown, packets: relay.packets });
  const before = total();
  await play();
  const after = total();
  return { tlsBytes: after.tlsBytes - before.tlsBytes, packets: after.packets - before.packets };
}

function divided({ tlsBytes, packets }: Traffic, by: number): Traffic {
  return { tlsBytes: tlsBytes / by, packets: packets / by };
}

function row(what: string, { tlsBytes, packets }: Traffic, times: number): JsonObject {
  const bytes = tlsBytes + 2 * packets * headerBytes;
  return {
    what,
    times: Math.round(times),
    tlsBytes: Math.round(tlsBytes),
    packets: Math.round(packets * 10) / 10,
    bytes: Math.round(bytes),
    kBInMonth: Math.round((bytes * times) / 1_000),
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
