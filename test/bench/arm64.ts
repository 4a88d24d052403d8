/**
 * What a MiB costs an arm64 CPU, in instructions: the hash, natively and in JavaScript, and TLS. The figure is the
 * difference between more and fewer MiB, so that the start of a program is not in it. The emulated CPU has ARMv8's
 * instructions for AES and SHA, which some boards lack (the Raspberry Pi 4).
 */
import { join, resolve } from 'node:path';
import { buildTarget } from '../../build.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { scenario } from '../support/world.ts';
import { Bench } from './compare.ts';
import { instructionsOf } from './instructions.ts';

const target = 'linux-arm64';
const few = 1;
const many = 9;
const mebibyte = 2 ** 20;

type Count = (mebibytes: number) => Promise<number>;

export async function arm64(): Promise<JsonObject[]> {
  const { path: work } = await buildTarget(target, resolve('dist', 'bench'), {
    entry: join(import.meta.dir, 'work.ts'),
  });
  const cwd = process.cwd();
  const counts: Array<[what: string, count: Count]> = [
    ['SHA-256, the runtime’s own', (size) => instructionsOf([work, 'native', `${size}`], cwd)],
    ['SHA-256, @noble/hashes', (size) => instructionsOf([work, 'noble', `${size}`], cwd)],
    [
      'TLS and HTTP, by fetch',
      (size) =>
        withObject(size, ({ job: { origin, bucket, key, caPath } }) =>
          instructionsOf([work, 'tls', `${size}`, `${origin}/${bucket}/${key}`, caPath], cwd),
        ),
    ],
  ];
  const rows: JsonObject[] = [];
  for (const [what, count] of counts) {
    process.stderr.write(`${what}\n`);
    const [start, end] = [await count(few), await count(many)];
    const each = (end - start) / (many - few);
    rows.push({ what, 'million a MiB': (each / 1e6).toFixed(1), 'a byte': (each / mebibyte).toFixed(1) });
  }
  return rows;
}

/** Plays with an object of so many MiB on the server. */
async function withObject(mebibytes: number, play: (bench: Bench) => Promise<number>): Promise<number> {
  let count = 0;
  await scenario(async (world) => {
    const bench = await Bench.start(world, mebibytes * mebibyte);
    try {
      count = await play(bench);
    } finally {
      await bench.stop();
    }
  });
  return count;
}
