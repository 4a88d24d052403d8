/** `bun run bench NAME`: measures one thing with the compiled executable, prints a table and writes it as JSON. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { fleet } from './fleet.ts';
import { transfer } from './transfer.ts';

/** A bench gives back its figures, one object for each row of the table. */
export type Bench = () => Promise<JsonObject[]>;

const benches: Record<string, Bench> = { fleet, transfer };

async function main(name = ''): Promise<number> {
  const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
  if (bench === undefined) {
    process.stderr.write(
      `error: there is no bench ${JSON.stringify(name)}\nhint: ${Object.keys(benches).join(', ')}\n`,
    );
    return 64;
  }
  const rows = await bench();
  process.stdout.write(table(rows));
  const path = join('dist', `bench-${name}.json`);
  await mkdir('dist', { recursive: true });
  await writeFile(path, `${JSON.stringify({ bench: name, rows }, null, 2)}\n`);
  process.stdout.write(`\nwritten to ${path}\n`);
  return 0;
}

/** Columns by the names of the first row's members. */
function table(rows: readonly JsonObject[]): string {
  const names = Object.keys(rows[0] ?? {});
  const lines = [names, ...rows.map((row) => names.map((name) => String(row[name])))];
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

process.exitCode = await main(process.argv[2]);
