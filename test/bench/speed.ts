/** The README's table of figures: all that is measured beside something else, in one run. */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import type { JsonObject } from '../../src/core/json.ts';
import { compare, largest, ours } from './compare.ts';
import { resultPath } from './extent.ts';
import { footprint } from './footprint.ts';
import { links, sizeMB } from './links.ts';

/** Runs compare, links and footprint, and writes the table to dist/bench-speed.md. It takes ten minutes. */
export async function speed(): Promise<JsonObject[]> {
  const rows = [...ofDownloads(await compare()), ...ofLinks(await links()), ...(await footprint())];
  await mkdir('dist', { recursive: true });
  await writeFile(resultPath('speed', 'md'), `${machine()}\n\n${markdown(rows)}`);
  return rows;
}

function ofDownloads(rows: readonly JsonObject[]): JsonObject[] {
  const own = rows.find(({ size, client }) => size === largest && client === ours) ?? {};
  const others = rows.filter(({ size, client }) => size === largest && client !== ours);
  const row = (column: string, ratio: string) => (other: JsonObject) => ({
    figure: `${largest}, ${column}`,
    ours: own[column] ?? '',
    other: `${other[column]}, ${other['client']}`,
    compared: other[ratio] ?? '',
    aim: '',
  });
  return [
    ...others.map(row('wall s', 'ours/its wall')),
    ...others.map(row('CPU s', 'ours/its CPU')),
    ...others.map(row('peak MB', '')),
  ];
}

function ofLinks(rows: readonly JsonObject[]): JsonObject[] {
  const [own = {}, ...others] = rows;
  return others.map((other) => ({
    figure: `${sizeMB} MB at 200 ms, 10 MB/s a connection, s`,
    ours: own['wall s'] ?? '',
    other: `${other['wall s']}, ${other['client']}`,
    compared: '',
    aim: '',
  }));
}

function machine(): string {
  const [cpu] = cpus();
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `${cpus().length} cores of ${cpu?.model ?? 'unknown'}, ${memory}, Linux ${release()}, Bun ${Bun.version}`;
}

function markdown(rows: readonly JsonObject[]): string {
  const names = ['figure', 'ours', 'other', 'compared', 'aim'];
  const lines = [
    names,
    names.map(() => '---'),
    ...rows.map((row) => names.map((name) => String(row[name] ?? ''))),
  ];
  return lines
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`)
    .join('');
}
