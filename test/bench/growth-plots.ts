/** How costs grow: with the size of an object, the number of files, of changes an hour, and the round-trip time. */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { quietBucket } from '../support/faults.ts';
import { bucketName, noise, scenario, sha256, until, type World } from '../support/world.ts';
import { Bench, ours } from './compare.ts';
import { extent, quick, resultPath } from './extent.ts';
import { connections, slowLink } from './links.ts';
import { inTurn, median, spread } from './measure.ts';
import { Nginx } from './nginx.ts';
import { type Line, linear, logarithmic, type Plot, svgOf } from './plot.ts';
import { curlName } from './rivals.ts';

const [KB, MB] = [1e3, 1e6];
const sizes = extent([10, 16, 20, 24, 26, 28, 30, 32], [10, 20]).map((exponent) => 2 ** exponent);
const fileCounts = extent([1, 2, 5, 10], [1, 2]);
const fileBytes = extent(2 ** 24, 2 ** 16);
const rates = extent([60, 300, 1_000], [1_800, 3_600]);
const changeBytes = 100_000;
const windowSeconds = extent(120, 2);
// Until then what a start leaves to collect is collected.
const settleSeconds = extent(65, 0);
const rttsMs = extent([0, 50, 200], [0, 20]);
const linkBytesPerSecond = 10_000_000;
const linkBytes = extent(100_000_000, 1_000_000);
const picture = quick ? resultPath('growth', 'svg') : join(import.meta.dir, '../../.github/growth.svg');

type Point = readonly [x: number, y: number];

/** A row for each point, and all of them as `.github/growth.svg`. It takes a quarter of an hour, and 13 GB of disk. */
export async function growth(): Promise<JsonObject[]> {
  const plots = [...(await bySize()), await byFiles(), ...(await byRate()), await byRoundTrip()];
  const about =
    'Time and memory by size of the object, time by number of files, CPU and flash by changes an hour, speed by round-trip time';
  await writeFile(picture, svgOf(plots, about));
  return plots.flatMap(({ title, x, lines }) =>
    lines.flatMap(({ name, points }) =>
      points.map(([at, value]) => ({
        plot: title,
        line: name,
        [`at`]: `${at} ${x.title}`,
        value: Number(value.toPrecision(3)),
      })),
    ),
  );
}

async function bySize(): Promise<Plot[]> {
  const [wall, peak] = [new Map<string, Point[]>(), new Map<string, Point[]>()];
  for (const bytes of sizes) {
    await scenario(async (world) => {
      const bench = await Bench.start(world, bytes);
      try {
        const all = await bench.contenders();
        const two = new Map([...all].filter(([name]) => name === ours || name === curlName));
        // The peak of the largest is what is told of memory: one round alone may be a fifth off.
        const rounds = bytes < 2 ** 28 || bytes === sizes.at(-1) ? 3 : 1;
        for (const [name, rows] of await inTurn(rounds, two)) {
          add(wall, name, bytes, median(rows.map(({ wallSeconds }) => wallSeconds)));
          if (name !== ours) continue;
          const peaks = rows.map(({ peakBytes }) => peakBytes / MB);
          add(peak, name, bytes, median(peaks));
          process.stderr.write(`peak memory at ${bytesText(bytes)}: ${spread(peaks, 0)} MB\n`);
        }
      } finally {
        await bench.stop();
      }
    });
  }
  const x = logarithmic('bytes of the object', sizes, bytesText);
  return [
    {
      title: 'Start to verified, synced and reported',
      x,
      y: logarithmic('seconds', valuesOf(wall)),
      lines: linesOf(wall),
    },
    { title: 'Peak memory', x, y: linear('MB resident', valuesOf(peak)), lines: linesOf(peak) },
  ];
}

/** From the change of the desired state until the last file is reported. */
async function byFiles(): Promise<Plot> {
  const files = Array.from({ length: 10 }, (_, index) => ({ property: `f${index}`, path: `f${index}` }));
  const points: Point[] = [];
  await scenario(
    async (world) => {
      const nginx = await Nginx.start(join(world.sandbox.dir, 'nginx'), world.sandbox.pki);
      try {
        await world.run(['--config', world.device.configPath, '--s3-endpoint', nginx.origin]);
        for (const count of fileCounts) {
          const seconds: number[] = [];
          for (let round = 0; round < 3; round += 1) seconds.push(await changed(world, nginx, count));
          points.push([count, median(seconds)]);
        }
      } finally {
        await nginx.stop();
      }
    },
    { files },
  );
  return {
    title: `Several files of ${bytesText(fileBytes)} at once`,
    x: linear('files', [0, 10]),
    y: linear(
      'seconds until the last is reported',
      points.map(([, y]) => y),
    ),
    lines: [{ name: ours, points }],
  };
}

async function changed(world: World, nginx: Nginx, count: number): Promise<number> {
  const desired: JsonObject = {};
  for (let index = 0; index < count; index += 1) {
    const body = noise(fileBytes);
    const hash = sha256(body);
    await writeFile(await nginx.fileOf(bucketName, hash), body);
    desired[`f${index}`] = { url: `s3://${bucketName}/${hash}`, hash, size: body.length };
  }
  const startedMs = performance.now();
  world.desire(desired);
  for (const [property, value] of Object.entries(desired)) {
    const hash = (value as JsonObject)['hash'];
    await until(
      property,
      () => world.status(property)['status'] === 'current' && world.status(property)['hash'] === hash,
    );
  }
  return (performance.now() - startedMs) / 1000;
}

/** A minute at each rate; what an hour takes at a lower one is reckoned from a minute without any change. */
async function byRate(): Promise<Plot[]> {
  const [cpu, written]: [Point[], Point[]] = [[], []];
  await scenario(
    async (world) => {
      world.sandbox.s3.store.createBucket(quietBucket);
      const run = await world.start();
      const pid = run.child.pid ?? 0;
      await change(world, 0);
      await pause(settleSeconds);
      const idle = await spent(pid, async () => pause(windowSeconds));
      let number = 0;
      for (const rate of rates) {
        const changes = Math.round((rate * windowSeconds) / 3_600);
        const busy = await spent(pid, async () => {
          for (let nth = 0; nth < changes; nth += 1) {
            const startedMs = performance.now();
            number += 1;
            await change(world, number);
            await pause(windowSeconds / changes - (performance.now() - startedMs) / 1000);
          }
        });
        if (rate === rates[0]) {
          for (const low of [1, 10]) {
            const between = (of: (cost: Spent) => number) => of(idle) + ((of(busy) - of(idle)) * low) / rate;
            cpu.push([low, between(({ cpuSeconds }) => cpuSeconds)]);
            written.push([low, between(({ writtenBytes }) => writtenBytes) / MB]);
          }
        }
        cpu.push([rate, busy.cpuSeconds]);
        written.push([rate, busy.writtenBytes / MB]);
      }
    },
    { files: [{ property: 's3', path: 'tmpfile' }] },
  );
  const x = logarithmic(`changes an hour, of ${bytesText(changeBytes)} each`, [1, ...rates]);
  return [
    {
      title: 'CPU by changes an hour',
      x,
      y: logarithmic('seconds an hour', valuesOf([cpu])),
      lines: [{ name: ours, points: cpu }],
    },
    {
      title: 'Flash by changes an hour',
      x,
      y: logarithmic('MB written an hour', valuesOf([written])),
      lines: [{ name: ours, points: written }],
    },
  ];
}

async function change(world: World, number: number): Promise<void> {
  const body = noise(changeBytes);
  const hash = sha256(body);
  await world.sandbox.s3.store.put(quietBucket, `${number}`, body);
  world.desire({ s3: { url: `s3://${quietBucket}/${number}`, hash, size: body.length } });
  await world.inSync(hash);
}

interface Spent {
  cpuSeconds: number;
  writtenBytes: number;
}

/** What a process takes meanwhile, as for an hour. */
async function spent(pid: number, work: () => Promise<void>): Promise<Spent> {
  const [before, startedMs] = [usageOf(pid), performance.now()];
  await work();
  const after = usageOf(pid);
  const hours = (performance.now() - startedMs) / 3_600_000;
  return {
    cpuSeconds: (after.cpuSeconds - before.cpuSeconds) / hours,
    writtenBytes: (after.writtenBytes - before.writtenBytes) / hours,
  };
}

/** Since its start. Source: proc(5): utime and stime are in hundredths of a second. */
function usageOf(pid: number): Spent {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const written = /^write_bytes: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1];
  return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100, writtenBytes: Number(written) };
}

async function byRoundTrip(): Promise<Plot> {
  const speed = new Map<string, Point[]>();
  for (const rttMs of rttsMs) {
    await scenario(async (world) => {
      const bench = await Bench.start(world, linkBytes);
      const slow = await slowLink(bench.port, { rttMs, bytesPerSecond: linkBytesPerSecond });
      bench.origin = `https://127.0.0.1:${slow.port}`;
      try {
        const all = await bench.contenders();
        const three = new Map([
          [`${connections} connections`, () => bench.ours(connections)],
          ['1 connection', () => bench.ours(1)],
          ...[...all].filter(([name]) => name === curlName),
        ]);
        for (const [name, rows] of await inTurn(1, three)) {
          add(speed, name, rttMs, linkBytes / MB / median(rows.map(({ wallSeconds }) => wallSeconds)));
        }
      } finally {
        slow.stop();
        await bench.stop();
      }
    });
  }
  return {
    title: `${linkBytes / MB} MB, 10 MB/s a connection`,
    x: linear('ms of round-trip time', [0, 200]),
    y: linear('MB/s', valuesOf(speed)),
    lines: linesOf(speed),
  };
}

function add(lines: Map<string, Point[]>, name: string, x: number, y: number): void {
  lines.set(name, [...(lines.get(name) ?? []), [x, y]]);
}

function linesOf(lines: ReadonlyMap<string, Point[]>): Line[] {
  return [...lines].map(([name, points]) => ({ name, points }));
}

function valuesOf(lines: ReadonlyMap<string, Point[]> | readonly Point[][]): number[] {
  return [...lines.values()].flat().map(([, y]) => y);
}

function bytesText(bytes: number): string {
  if (bytes % KB === 0) return `${bytes / KB} kB`;
  const exponent = Math.log2(bytes);
  return `${2 ** (exponent % 10)} ${['B', 'KiB', 'MiB', 'GiB'][Math.floor(exponent / 10)]}`;
}

async function pause(seconds: number): Promise<void> {
  if (seconds > 0) await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
