/** What several connections bring over a link with a round-trip time, where each has its own speed. */
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { scenario } from '../support/world.ts';
import { Bench, ours } from './compare.ts';
import { extent } from './extent.ts';
import { inTurn, median, spread } from './measure.ts';
import { curlName } from './rivals.ts';

export interface Link {
  rttMs: number;
  bytesPerSecond: number;
}

export const one = `${ours}, 1 connection`;
const link: Link = { rttMs: 200, bytesPerSecond: 10_000_000 };
export const sizeMB = extent(200, 2);
/** The default of boto3 and of the AWS CLI. */
export const connections = 10;
const rounds = extent(5, 1);

/** A slow link to a port. */
export async function slowLink(
  port: number,
  { rttMs, bytesPerSecond }: Link,
): Promise<{ port: number; stop: () => void }> {
  const program = join(import.meta.dir, 'slow-link.ts');
  const child = Bun.spawn([process.execPath, program, String(port), String(rttMs), String(bytesPerSecond)], {
    stdout: 'pipe',
  });
  for await (const text of child.stdout) {
    return { port: Number(new TextDecoder().decode(text)), stop: () => child.kill() };
  }
  throw new Error('the link did not start');
}

/** 200 MB at 200 ms, 10 MB/s a connection: one connection of ours, the default, and ten of each that can be told how many. */
export async function links(): Promise<JsonObject[]> {
  const rows: JsonObject[] = [];
  await scenario(async (world) => {
    const bench = await Bench.start(world, sizeMB * 1e6);
    const slow = await slowLink(bench.port, link);
    bench.origin = `https://127.0.0.1:${slow.port}`;
    try {
      const contenders = await bench.contenders(connections);
      contenders.delete(curlName);
      contenders.set(`${ours}, 4 connections, the default`, () => bench.ours(4));
      contenders.set(one, () => bench.ours(1));
      const results = await inTurn(rounds, contenders);
      const walls = new Map(
        [...results].map(([name, costs]) => [name, costs.map(({ wallSeconds }) => wallSeconds)]),
      );
      const own = median(walls.get(ours) ?? []);
      for (const [client, values] of walls) {
        const ratio = (own / median(values)).toFixed(2);
        rows.push({
          client,
          'wall s': spread(values),
          'ours / its': client === ours ? '' : ratio,
          rounds: values,
        });
      }
    } finally {
      slow.stop();
      await bench.stop();
    }
  });
  return rows;
}
