/**
 * `bun run bench NAME`: measures one thing with the executable, prints a table and writes it as JSON. Alone: `speed`.
 * With `--quick` the least that goes through each of its parts; its figures say nothing then.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import type { JsonObject } from '../../src/core/json.ts';
import { aboveAim } from './aims.ts';
import { arm64 } from './arm64.ts';
import { check } from './check.ts';
import { compare } from './compare.ts';
import { delta } from './delta.ts';
import { resultPath } from './extent.ts';
import { fleet } from './fleet.ts';
import { footprint } from './footprint.ts';
import { growth } from './growth-plots.ts';
import { idle } from './idle.ts';
import { links } from './links.ts';
import { soak } from './soak.ts';
import { speed } from './speed.ts';
import { transfer } from './transfer.ts';
import { optionsOf, UsageError } from './usage.ts';

/** A bench gives back its figures, one object for each row of the table. */
export type Bench = () => Promise<JsonObject[]>;

interface Entry {
  about: string;
  run: Bench;
  /** It looks at its options itself; else `--quick` is the only one, or there is none. */
  options?: 'own' | 'none';
}

const benches: Record<string, Entry> = {
  arm64: {
    about: 'instructions that a MiB costs an arm64 CPU: hash, and TLS',
    run: arm64,
    options: 'none',
  },
  check: {
    about: 'figures that are the same on every machine; fails where one is worse',
    run: check,
    options: 'none',
  },
  compare: { about: 'one object beside curl, boto3 and the AWS CLI: time, CPU, memory, bytes', run: compare },
  delta: { about: 'where the time of a small update goes, beside the tutorial', run: delta },
  fleet: { about: 'what 1,000 devices ask of each service after one upload', run: fleet },
  growth: {
    about: 'costs by size, files, changes an hour and round trip, as .github/growth.svg',
    run: growth,
  },
  idle: { about: 'what an agent that has nothing to do sends and gets in a month', run: idle },
  soak: {
    about:
      'random faults for an hour, or --seconds N: in sync after each; fails where memory or descriptors grow',
    run: soak,
    options: 'own',
  },
  footprint: { about: 'latency, idle memory and wake-ups, growth, size', run: footprint },
  links: {
    about: '200 MB over a link of 200 ms with 10 MB/s a connection, with 1 and 10 connections',
    run: links,
  },
  speed: { about: "compare, links and footprint, as the README's tables in dist/bench-speed.md", run: speed },
  transfer: {
    about: 'bytes that a file costs over a link that is cut every 7 MB',
    run: transfer,
    options: 'none',
  },
};

/** What the README's tables are made by. */
const usual = 'speed';

async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) {
    process.stdout.write(
      `bun run bench [NAME], where NAME is one of\n\n${list()}\n--quick goes through each part of a bench in seconds; its figures say nothing.\n`,
    );
    return 0;
  }
  const [first, ...rest] = args;
  const isNamed = first !== undefined && !first.startsWith('-');
  const [name, options] = isNamed ? [first, rest] : [usual, [...args]];
  const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
  if (bench === undefined) {
    process.stderr.write(`error: there is no bench ${JSON.stringify(name)}\nhint: one of\n${list()}`);
    return 64;
  }
  let rows: JsonObject[];
  try {
    if (bench.options !== 'own') {
      optionsOf(options, bench.options === 'none' ? {} : { quick: { type: 'boolean' } });
    }
    rows = await bench.run();
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`error: ${error.message}\nhint: ${error.hint}\n`);
    return 64;
  }
  process.stdout.write(table(rows));
  const path = resultPath(name, 'json');
  await mkdir('dist', { recursive: true });
  await writeFile(path, `${JSON.stringify({ bench: name, rows }, null, 2)}\n`);
  process.stdout.write(`\nwritten to ${path}\n`);
  const misses = aboveAim(rows);
  for (const miss of misses) process.stderr.write(`error: ${miss}\n`);
  return misses.length === 0 ? 0 : 1;
}

function list(): string {
  return Object.entries(benches)
    .map(([name, { about }]) => `  ${name.padEnd(10)} ${about}\n`)
    .join('');
}

/** Columns by the names of the first row's members; what is no single value is for the JSON alone. */
function table(rows: readonly JsonObject[]): string {
  const names = Object.entries(rows[0] ?? {}).flatMap(([name, value]) =>
    typeof value === 'object' ? [] : name,
  );
  const lines = [names, ...rows.map((row) => names.map((name) => String(row[name] ?? '')))];
  const widths = names.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, column) => cell.padEnd((widths[column] ?? 0) + 2))
          .join('')
          .trimEnd()}\n`,
    )
    .join('');
}

process.exitCode = await main(process.argv.slice(2));
