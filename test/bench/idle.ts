/**
 * What an agent that has nothing to do costs in a month. Each kind of exchange is played with the executable and read off
 * the kernel's counters of its connection (TCP_INFO, as ss(8) shows it), then multiplied by how often it comes:
 *
 *   bytes = TLS bytes both ways + 52 for each packet both ways, acknowledgements too (IPv4 20, TCP 20, time stamps 12)
 *   a month has 30 days, with a resync every `resyncSeconds` on average, between two of them as many pings as whole
 *   keep-alives fit (what the broker acknowledges puts the next one off), and a new connection each day
 */
import { spawnSync } from 'node:child_process';
import type { JsonObject } from '../../src/core/json.ts';
import { Relay } from '../support/relay.ts';
import { program } from '../support/tools.ts';
import { scenario, sha256, until, type World } from '../support/world.ts';

const headerBytes = 52;
const monthSeconds = 30 * 86_400;
const keepAliveSeconds = 1_200;
const connections = 30;
// What FIN and its acknowledgement take, both ways: counters end with the connection.
const closingPackets = 4;
const measuredPingSeconds = 30;
const measuredResyncSeconds = 4;

/** What goes over the link, both ways. */
interface Traffic {
  tlsBytes: number;
  packets: number;
}

/** Of each kind of exchange. */
export interface IdleCosts {
  ping: Traffic;
  resync: Traffic;
  connection: Traffic;
}

export async function idle(): Promise<JsonObject[]> {
  const costs = await idleCosts();
  const rows = Object.entries(costs).map(([what, { tlsBytes, packets }]) => ({
    what,
    tlsBytes: Math.round(tlsBytes),
    packets: Math.round(packets * 10) / 10,
    bytes: Math.round(bytesOf({ tlsBytes, packets })),
    MB: '',
  }));
  const months = [3_600, 43_200].map((seconds) => ({
    what: `a month with resyncSeconds ${seconds}`,
    MB: (monthBytes(costs, seconds) / 1e6).toFixed(2),
  }));
  return [...rows, ...months.map((row) => ({ tlsBytes: '', packets: '', bytes: '', ...row }))];
}

/** Plays each exchange once or more, on two devices at once, which takes three quarters of a minute. */
export async function idleCosts(): Promise<IdleCosts> {
  const [{ connection, ping }, resync] = await Promise.all([connectionAndPing(), resyncs()]);
  return { ping, resync, connection };
}

async function connectionAndPing(): Promise<Omit<IdleCosts, 'resync'>> {
  return await throughRelay(async (world, relay, args) => {
    const often = ['--resync-seconds', '604800', '--keep-alive-seconds', String(measuredPingSeconds)];
    await world.run([...args, ...often]);
    await settled(world);
    relay.reset();
    await until('a new connection', () => relay.connections === 2 && world.published('get').length >= 2);
    await pause(2_000);
    const made = trafficOf(relay);
    await until('a ping', () => trafficOf(relay).packets > made.packets, measuredPingSeconds * 2_000);
    await pause(1_000);
    return {
      connection: { ...made, packets: made.packets + closingPackets },
      ping: less(trafficOf(relay), made),
    };
  });
}

async function resyncs(): Promise<Traffic> {
  return await throughRelay(async (world, relay, args) => {
    await world.run([...args, '--resync-seconds', String(measuredResyncSeconds)]);
    await settled(world);
    const [before, gets] = [trafficOf(relay), world.published('get').length];
    const times = 5;
    await until('resyncs', () => world.published('get').length >= gets + times);
    await pause(1_000);
    const { tlsBytes, packets } = less(trafficOf(relay), before);
    return { tlsBytes: tlsBytes / times, packets: packets / times };
  });
}

/** Bytes that a month takes with a keep-alive of 1200 s. */
export function monthBytes({ ping, resync, connection }: IdleCosts, resyncSeconds: number): number {
  const resyncs = monthSeconds / resyncSeconds;
  return (
    resyncs * (bytesOf(resync) + pingsBetween(resyncSeconds) * bytesOf(ping)) +
    connections * bytesOf(connection)
  );
}

/** The mean over the jitter of the resync, which is from three to five quarters. */
function pingsBetween(resyncSeconds: number): number {
  const steps = 1_000;
  let pings = 0;
  for (let step = 0; step < steps; step += 1) {
    pings += Math.floor((resyncSeconds * (0.75 + (step + 0.5) / steps / 2)) / keepAliveSeconds);
  }
  return pings / steps;
}

function bytesOf({ tlsBytes, packets }: Traffic): number {
  return tlsBytes + packets * headerBytes;
}

/** Plays with a device whose broker is behind a relay, and with one file installed. */
async function throughRelay<T>(play: (world: World, relay: Relay, args: string[]) => Promise<T>): Promise<T> {
  const results: T[] = [];
  await scenario(async (world) => {
    const relay = await Relay.to(world.sandbox.broker.port);
    await relay.up();
    await world.put('test.txt', 'hoge\n');
    const args = ['--config', world.device.configPath, '--endpoint', `127.0.0.1:${relay.port}`];
    try {
      results.push(await play(world, relay, args));
    } finally {
      await relay.down();
    }
  });
  const [result] = results;
  if (result === undefined) throw new Error('not measured');
  return result;
}

async function settled(world: World): Promise<void> {
  await world.inSync(sha256('hoge\n'));
  await pause(2_000);
}

/** All that has gone over the agent's connection to the relay. */
function trafficOf({ port }: Relay): Traffic {
  const { path } = program('ss', 'iproute2');
  const args = ['-tinH', 'state', 'established', 'dst', `127.0.0.1:${port}`];
  const { stdout } = spawnSync(path, args, { encoding: 'utf8' });
  const counter = (name: string) => Number(new RegExp(`\\b${name}:(\\d+)`).exec(stdout)?.[1] ?? 0);
  return {
    tlsBytes: counter('bytes_sent') + counter('bytes_received'),
    packets: counter('segs_out') + counter('segs_in'),
  };
}

function less(all: Traffic, before: Traffic): Traffic {
  return { tlsBytes: all.tlsBytes - before.tlsBytes, packets: all.packets - before.packets };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
