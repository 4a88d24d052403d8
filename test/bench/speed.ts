/** The README's tables of figures: all that is measured beside something else, in one run. */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import type { JsonObject } from '../../src/core/json.ts';
import { scenario } from '../support/world.ts';
import { compare, largest, ours } from './compare.ts';
import { resultPath } from './extent.ts';
import { footprint } from './footprint.ts';
import { connections, links, one, sizeMB } from './links.ts';
import { idleBytes } from './measure.ts';
import { curlName } from './rivals.ts';

const downloadColumns = [
  'size',
  'client',
  'wall s',
  'ours / its wall',
  'user s',
  'system s',
  'ours / its CPU',
  'peak MB',
  'wire MB',
  'written MB',
];
const figureColumns = ['figure', 'ours', 'beside', 'ours / its', 'aim'];

/** Runs compare, links and footprint, and writes the README's tables to dist/bench-speed.md. It takes a quarter of an hour. */
export async function speed(): Promise<JsonObject[]> {
  const downloads = await compare();
  let idle = 0;
  await scenario(async (world) => {
    idle = await idleBytes(world);
  });
  const figures = [
    ...ofDownloads(downloads),
    aboveIdle(downloads, idle),
    ...ofLinks(await links()),
    ...(await footprint()),
  ];
  await mkdir('dist', { recursive: true });
  const tables = [tableOf(downloads, downloadColumns), tableOf(figures, figureColumns)];
  await writeFile(resultPath('speed', 'md'), [`${machine()}\n`, ...tables].join('\n'));
  return [...figures, { figure: 'downloads', downloads }];
}

/** The ratios of the largest object that have an aim. */
function ofDownloads(downloads: readonly JsonObject[]): JsonObject[] {
  const aims = new Map([
    [curlName, 0.8],
    ['boto3 + hashlib', 0.6],
  ]);
  const rows = downloads.filter(({ size }) => size === largest);
  const own = rows.find(({ client }) => client === ours);
  const ratio = (figure: 'wall' | 'CPU', its: JsonObject, most: number) => ({
    figure: `${largest}, ${figure}, s`,
    ours: own?.[`${figure} s`] ?? '',
    beside: `${its[`${figure} s`]}, ${its['client']}`,
    'ours / its': its[`ours / its ${figure}`] ?? '',
    aim: `${most}`,
  });
  return rows.flatMap((its) => {
    const aim = aims.get(String(its['client']));
    return aim === undefined ? [] : [ratio('wall', its, aim), ratio('CPU', its, 0.6)];
  });
}

function aboveIdle(downloads: readonly JsonObject[], idle: number): JsonObject {
  const own = downloads.find(({ size, client }) => size === largest && client === ours);
  const peak = Number.parseFloat(String(own?.['peak MB']));
  return {
    figure: `${largest}, peak RSS above idle, MB`,
    ours: `${Math.round(peak - idle / 1e6)}`,
    beside: '',
    'ours / its': '',
    aim: '32',
  };
}

function ofLinks(rows: readonly JsonObject[]): JsonObject[] {
  const own = rows.find(({ client }) => client === ours);
  return rows.flatMap(({ client, 'wall s': wall, 'ours / its': ratio, rounds }) =>
    client === ours
      ? []
      : {
          figure: `${sizeMB} MB at 200 ms, 10 MB/s a connection, ${connections} of them, s`,
          ours: own?.['wall s'] ?? '',
          beside: `${wall}, ${client}`,
          'ours / its': ratio ?? '',
          aim: client === one ? '1 / 3.5 = 0.29' : String(client).startsWith(ours) ? '' : '1',
          rounds: { ours: own?.['rounds'] ?? null, its: rounds ?? null },
        },
  );
}

function machine(): string {
  const [cpu] = cpus();
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `${cpus().length} cores of ${cpu?.model ?? 'unknown'}, ${memory}, Linux ${release()}, Bun ${Bun.version}`;
}

function tableOf(rows: readonly JsonObject[], names: readonly string[]): string {
  const lines = [
    names,
    names.map(() => '---'),
    ...rows.map((row) => names.map((name) => String(row[name] ?? ''))),
  ];
  return lines
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`)
    .join('');
}
