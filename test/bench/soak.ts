/** Random faults against the executable with steady uploads. After each round there is quiet, and all must be in sync. */
import { createCipheriv, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import type { JsonObject } from '../../src/core/json.ts';
import { Relay } from '../support/relay.ts';
import { type Run, scenario, sha256, type World } from '../support/world.ts';
import { Growth, type Sample } from './growth.ts';
import { memoryOf } from './measure.ts';
import { optionsOf, secondsOf } from './usage.ts';

const usualSeconds = 3_600;
const maxRoundSeconds = 20;
/** So many rounds at least, where none is followed by a long wait: the least of each is a point of the line. */
const minRounds = 12;
const sampleMs = 250;
// A storm of faults may have led to a long wait before the next connect.
const quietTimeoutMs = 180_000;

interface Links {
  broker: Relay;
  credentials: Relay;
  s3: Relay;
}

export async function soak(): Promise<JsonObject[]> {
  const values = optionsOf(process.argv.slice(3), { seconds: { type: 'string' }, seed: { type: 'string' } });
  const seconds = secondsOf(values.seconds ?? String(usualSeconds));
  const seed = Number(values.seed ?? randomBytes(4).readUInt32BE());
  process.stdout.write(`seed ${seed} (again with --seed ${seed})\n`);
  const random = seeded(seed);
  const roundSeconds = Math.min(maxRoundSeconds, seconds / minRounds);
  const growth = new Growth();
  let uploads = 0;
  await scenario(async (world) => {
    const links = await linksOf(world);
    const run = await world.run(argsFor(world, links));
    const startedMs = Date.now();
    const look = () => growth.add({ seconds: (Date.now() - startedMs) / 1_000, ...usageOf(run) });
    const looks = setInterval(look, sampleMs);
    try {
      while (growth.rounds < 3 || Date.now() - startedMs < seconds * 1_000) {
        const played = await round(world, links, random, roundSeconds);
        uploads += played.uploads;
        calm(world, links);
        for (const link of Object.values(links)) await link.up();
        await world.inSync(played.hash, 's3', quietTimeoutMs);
        look();
        process.stdout.write(`  ${growth.endRound()}; faults: ${played.faults.join(', ') || 'none'}\n`);
      }
    } finally {
      clearInterval(looks);
    }
    for (const link of Object.values(links)) await link.down();
  });
  const { rows, verdict } = growth.judge();
  process.stdout.write(`${uploads} uploads in ${growth.rounds} rounds. ${verdict}\n`);
  return rows;
}

async function linksOf({ sandbox }: World): Promise<Links> {
  const links = {
    broker: await Relay.to(sandbox.broker.port),
    credentials: await Relay.to(sandbox.credentials.port),
    s3: await Relay.to(sandbox.s3.port),
  };
  for (const link of Object.values(links)) await link.up();
  return links;
}

function argsFor({ device }: World, { broker, credentials, s3 }: Links): string[] {
  return [
    ...['--config', device.configPath, '--stall-seconds', '2', '--endpoint', `127.0.0.1:${broker.port}`],
    '--credential-endpoint',
    `127.0.0.1:${credentials.port}/role-aliases/iot-role-alias-s3-read/credentials`,
    ...['--s3-endpoint', `https://127.0.0.1:${s3.port}`],
  ];
}

/** Uploads and faults for some seconds; gives back what is desired at the end. */
async function round(world: World, links: Links, random: () => number, roundSeconds: number) {
  const faults: string[] = [];
  const untilMs = Date.now() + roundSeconds * 1_000;
  let uploads = 0;
  let hash = '';
  while (Date.now() < untilMs) {
    const body = bytesOf(50_000 + Math.floor(random() * 800_000), random);
    hash = sha256(body);
    await world.put('soak', body);
    uploads += 1;
    if (random() < 0.5) faults.push(await fault(world, links, random));
    await pause(300 + random() * 1_200);
    if (random() < 0.5) calm(world, links);
  }
  return { faults, uploads, hash };
}

/** Does one thing that networks and services do, and names it with what it is done to. */
async function fault({ sandbox }: World, links: Links, random: () => number): Promise<string> {
  const name = pick(['broker', 'credentials', 's3'] as const, random);
  const link = links[name];
  const amount = Math.floor(random() * 300_000);
  const onLink: Record<string, () => Promise<void> | void> = {
    reset: () => link.reset(),
    freeze: () => link.freeze(),
    down: async () => {
      await link.down();
      await pause(random() * 2_000);
      await link.up();
    },
    cut: () => {
      link.cutAfterBytes = 2_000 + amount;
    },
    delay: () => {
      link.delayMs = random() * 300;
    },
  };
  const onService: Record<string, () => void> = {
    's3-cut': () => sandbox.faults.set('s3-cut', amount, 2),
    's3-503': () => sandbox.faults.set('s3-503', 1, 2),
    'credentials-503': () => sandbox.faults.set('credentials-503', 1, 2),
    'mqtt-kick': () => sandbox.faults.set('mqtt-kick', 500, 1),
    'shadow-reject': () => sandbox.faults.set('shadow-reject', 429, 2),
    'end of all sessions': () => sandbox.sessions.expireAll(),
  };
  const kind = pick([...Object.keys(onLink), ...Object.keys(onService)], random);
  await (onLink[kind] ?? onService[kind])?.();
  return kind in onLink ? `${kind} of the link to ${name}` : kind;
}

function calm({ sandbox }: World, links: Links): void {
  sandbox.faults.clear();
  for (const link of Object.values(links)) {
    link.cutAfterBytes = Number.POSITIVE_INFINITY;
    link.delayMs = 0;
    // What was frozen stays half-open for the agent until somebody says so.
    link.endFrozen();
  }
}

/** Anonymous memory: pages of the executable come when they are first needed, which is no growth. */
function usageOf({ child }: Run): Omit<Sample, 'seconds'> {
  const pid = child.pid ?? 0;
  return { bytes: memoryOf(pid, 'RssAnon'), descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

/** Mulberry32: the same seed gives the same faults and files; when each comes hangs on the machine. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Bytes that no compression makes smaller; the same seed gives the same. */
function bytesOf(length: number, random: () => number): Buffer {
  const key = Buffer.alloc(16);
  for (let at = 0; at < key.length; at += 4) key.writeUInt32BE(Math.floor(random() * 4_294_967_296), at);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

function pick<T>(values: readonly [T, ...T[]] | readonly T[], random: () => number): T {
  const value = values[Math.floor(random() * values.length)];
  if (value === undefined) throw new Error('there is nothing to pick');
  return value;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
