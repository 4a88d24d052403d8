/**
 * What a poor link costs: the bytes of bodies that S3 has handed to the link for one file, as a ratio to its size. Bytes
 * that were on their way when the link was cut count, though the device never saw them.
 */
import type { JsonObject } from '../../src/core/json.ts';
import { bytesFetched } from '../support/faults.ts';
import { noise, scenario, sha256, until, type World } from '../support/world.ts';

const sizeBytes = 100_000_000;
const cutBytes = 7_000_000;
/** Ranges are shorter than that. */
const rangeCutBytes = 3_000_000;
const timeoutMs = 300_000;

interface Play {
  name: string;
  /** Speed of the link; undefined: as fast as loopback carries it. */
  linkBytesPerSecond?: number;
  /** `s3.maxBytesPerSecond` of the device. */
  maxBytesPerSecond?: number;
  /** `s3.connections` of the device. */
  connections: number;
  /** Bytes after which each answer is cut. */
  cutBytes: number;
  /** End the executable with SIGKILL each time that so much more was sent, and start it again. */
  kill: boolean;
  /** The ratio that is aimed at; none where the figure is one of the runtime's read-ahead, and so of the machine. */
  aim?: number;
}

// A kill loses what the kernel holds for the process: on a link that is slower than the device that is next to nothing,
// on loopback it would be megabytes, and the figure one of the kernel.
const plays: Play[] = [
  {
    name: 'cut, link of 10 MB/s',
    linkBytesPerSecond: 10_000_000,
    connections: 1,
    cutBytes,
    kill: false,
    aim: 1.02,
  },
  {
    name: 'cut and kill, link of 10 MB/s',
    linkBytesPerSecond: 10_000_000,
    connections: 1,
    cutBytes,
    kill: true,
    aim: 1.05,
  },
  { name: 'cut, loopback', connections: 1, cutBytes, kill: false, aim: 1.02 },
  {
    name: 'cut, loopback, device takes 10 MB/s',
    maxBytesPerSecond: 10_000_000,
    connections: 1,
    cutBytes,
    kill: false,
  },
  {
    name: 'each of 4 ranges cut, link of 10 MB/s',
    linkBytesPerSecond: 10_000_000,
    connections: 4,
    cutBytes: rangeCutBytes,
    kill: false,
    aim: 1.02,
  },
  {
    name: 'kill with 4 ranges, link of 10 MB/s',
    linkBytesPerSecond: 10_000_000,
    connections: 4,
    cutBytes,
    kill: true,
    aim: 1.05,
  },
];

/** A file of 100 MB over a link that is cut every 7 MB, with and without a SIGKILL at each cut. */
export async function transfer(): Promise<JsonObject[]> {
  const rows: JsonObject[] = [];
  for (const play of plays) await scenario(async (world) => void rows.push(await measure(world, play)));
  return rows;
}

async function measure(world: World, play: Play): Promise<JsonObject> {
  const { name, linkBytesPerSecond, maxBytesPerSecond = 0, connections, kill, aim } = play;
  const { faults } = world.sandbox;
  const body = noise(sizeBytes);
  faults.set('s3-cut', play.cutBytes);
  if (linkBytesPerSecond !== undefined) faults.set('s3-slow', linkBytesPerSecond);
  const limit = ['--s3-max-bytes-per-second', String(maxBytesPerSecond)];
  const lanes = ['--s3-connections', String(connections)];
  const args = ['--config', world.device.configPath, ...limit, ...lanes];
  await world.put('big', body);
  const startedMs = Date.now();
  const done = world.inSync(sha256(body), 's3', timeoutMs);
  await Promise.all([done, kill ? killAtEachCut(world, args) : world.run(args)]);
  const fetched = bytesFetched(world);
  return {
    play: name,
    aim: aim ?? 'none',
    ratio: Number((fetched / sizeBytes).toFixed(4)),
    bytesFetched: fetched,
    requests: world.gets().length,
    starts: world.runs.length,
    seconds: Math.round((Date.now() - startedMs) / 100) / 10,
  };
}

/** Runs the executable until S3 has sent so much, again and again, until all is there. */
async function killAtEachCut(world: World, args: string[]): Promise<void> {
  for (;;) {
    const before = bytesFetched(world);
    const run = await world.run(args);
    const isCut = () => bytesFetched(world) - before >= cutBytes;
    await until('the cut or the end', () => isCut() || isDone(world), timeoutMs);
    if (isDone(world)) return;
    await run.stop('SIGKILL');
  }
}

function isDone(world: World): boolean {
  return world.status()['status'] === 'current';
}
