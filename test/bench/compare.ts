/** One object, verified and synced: the executable beside what people would use in its place. */

import { createHash, randomFillSync } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { bucketName, executable, scenario, type World } from '../support/world.ts';
import { extent } from './extent.ts';
import { type Cost, costOf, inTurn, median, spread } from './measure.ts';
import { Nginx } from './nginx.ts';
import { type Job, type Rival, rivals } from './rivals.ts';

const sizes: ReadonlyMap<string, number> = new Map(
  extent(
    [
      ['64 MiB', 2 ** 26],
      ['1 GiB', 2 ** 30],
    ],
    [['1 MiB', 2 ** 20]],
  ),
);
/** The name of the largest object. */
export const largest = extent('1 GiB', '1 MiB');
const rounds = extent(5, 1);
export const ours = 'shadow-agent';
const MB = 1e6;

/** Answers that bring no part of an object are no larger. */
const mostHeadBytes = 4096;

export interface Row extends Cost {
  wireBytes: number;
  requests: number;
  /** Those that brought no part of the object. */
  emptyAnswers: number;
}

export async function compare(): Promise<JsonObject[]> {
  const rows: JsonObject[] = [];
  for (const [name, bytes] of sizes) {
    await scenario(async (world) => void rows.push(...(await compareAt(world, name, bytes))));
  }
  return rows;
}

async function compareAt(world: World, size: string, bytes: number): Promise<JsonObject[]> {
  const bench = await Bench.start(world, bytes);
  try {
    return figures(size, await inTurn(rounds, await bench.contenders()));
  } finally {
    await bench.stop();
  }
}

/** An nginx with one object, and a device whose S3 it is. */
export class Bench {
  readonly #world: World;
  readonly #nginx: Nginx;
  readonly #job: Job;

  private constructor(world: World, nginx: Nginx, job: Job) {
    this.#world = world;
    this.#nginx = nginx;
    this.#job = job;
  }

  static async start(world: World, bytes: number): Promise<Bench> {
    const { sandbox } = world;
    const nginx = await Nginx.start(join(sandbox.dir, 'nginx'), sandbox.pki);
    const key = 'object.bin';
    const file = await nginx.fileOf(bucketName, key);
    await writeNoise(file, bytes);
    const sha256 = await hashOf(file);
    world.desire({ s3: { url: `s3://${bucketName}/${key}`, hash: sha256, size: bytes } });
    const caPath = join(sandbox.dir, 'ca.pem');
    const path = join(sandbox.dir, 'downloads', 'object.bin');
    await mkdir(join(sandbox.dir, 'downloads'));
    return new Bench(world, nginx, {
      origin: nginx.origin,
      caPath,
      bucket: bucketName,
      key,
      sha256,
      path,
    });
  }

  get job(): Readonly<Job> {
    return this.#job;
  }

  get port(): number {
    return this.#nginx.port;
  }

  /** Where clients are sent, in the place of nginx itself. */
  set origin(origin: string) {
    this.#job.origin = origin;
  }

  /** What can be run, by name; with `connections` those that can be told how many. */
  async contenders(connections?: number): Promise<Map<string, () => Promise<Row>>> {
    const all = new Map([[ours, () => this.ours(connections)]]);
    const job = connections === undefined ? this.#job : { ...this.#job, connections };
    for (const [name, rival] of await rivals()) all.set(name, () => this.rival(rival, job));
    return all;
  }

  /** One of the others, verified and synced. */
  async rival({ command, env }: Rival, job: Job = this.#job): Promise<Row> {
    return await this.#run(command(job), env(job), job.path);
  }

  /**
   * The whole program from its start to its end: connect, read the shadow, credentials, download, install, report.
   * @param wrapper a program that runs it
   */
  async ours(connections?: number, wrapper: string[] = []): Promise<Row> {
    const { device, sandbox } = this.#world;
    await rm(join(device.dir, 'state'), { recursive: true, force: true });
    // The shadow must not say that this is done already.
    sandbox.shadows.update('test-thing', undefined, new TextEncoder().encode('{"state":{"reported":null}}'));
    const flags = ['--s3-endpoint', this.#job.origin, '--log-level', 'warning'];
    if (connections !== undefined) flags.push('--s3-connections', String(connections));
    return await this.#run(
      [...wrapper, await executable(), '--once', '--config', device.configPath, ...flags],
      {},
      this.#world.path(),
    );
  }

  /** @throws Error when the file that it leaves is not the object */
  async #run(command: string[], env: Record<string, string>, path: string): Promise<Row> {
    await rm(path, { force: true });
    const before = this.#nginx.sent.length;
    const cost = await costOf(command, this.#world.sandbox.dir, env);
    const sent = this.#nginx.sent.slice(before);
    if ((await hashOf(path)) !== this.#job.sha256) {
      throw new Error(`${command.join(' ')} left another file than the object at ${path}`);
    }
    return {
      ...cost,
      wireBytes: sent.reduce((sum, bytes) => sum + bytes, 0),
      requests: sent.length,
      emptyAnswers: sent.filter((bytes) => bytes <= mostHeadBytes).length,
    };
  }

  async stop(): Promise<void> {
    await this.#nginx.stop();
  }
}

async function writeNoise(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'w');
  const block = Buffer.alloc(2 ** 20);
  for (let done = 0; done < bytes; done += block.length) {
    await file.write(randomFillSync(block), 0, Math.min(block.length, bytes - done));
  }
  await file.close();
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk);
  return hash.digest('hex');
}

function figures(size: string, results: ReadonlyMap<string, Row[]>): JsonObject[] {
  const base = results.get(ours) ?? [];
  const wall = ({ wallSeconds }: Row) => wallSeconds;
  const cpu = ({ userSeconds, systemSeconds }: Row) => userSeconds + systemSeconds;
  const times = (rows: readonly Row[], figure: (row: Row) => number) =>
    rows === base ? '' : (median(base.map(figure)) / median(rows.map(figure))).toFixed(2);
  const column = (rows: readonly Row[], figure: (row: Row) => number, digits = 2) =>
    spread(rows.map(figure), digits);
  return [...results].map(([client, rows]) => ({
    size,
    client,
    'wall s': column(rows, wall),
    'ours / its wall': times(rows, wall),
    'user s': column(rows, ({ userSeconds }) => userSeconds),
    'system s': column(rows, ({ systemSeconds }) => systemSeconds),
    'CPU s': column(rows, cpu),
    'ours / its CPU': times(rows, cpu),
    'peak MB': column(rows, ({ peakBytes }) => peakBytes / MB, 0),
    'wire MB': column(rows, ({ wireBytes }) => wireBytes / MB, 1),
    'written MB': column(rows, ({ writtenBytes }) => writtenBytes / MB, 1),
    rounds: rows.map((row) => ({ ...row })),
  }));
}
