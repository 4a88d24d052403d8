import { afterEach, beforeEach, expect, test } from 'bun:test';
import { lstatSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../src/io/clock.ts';
import { keepMetricsFile } from '../../src/io/metrics-file.ts';

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'metrics-'));
  path = join(dir, 'agent.prom');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Renders these texts, one each 15 s, and then ends; gives back what was written, with undefined for no write. */
async function keep(
  texts: string[],
): Promise<{ written: Array<string | undefined>; waits: number[]; warnings: string[] }> {
  const ended = new AbortController();
  const [written, waits, warnings]: [Array<string | undefined>, number[], string[]] = [[], [], []];
  let turn = 0;
  let inode = 0n;
  const look = () => {
    const found = statSync(path, { bigint: true, throwIfNoEntry: false });
    written.push(found === undefined || found.ino === inode ? undefined : readFileSync(path, 'utf8'));
    inode = found?.ino ?? 0n;
  };
  const clock: Clock = {
    nowMs: () => 0,
    wallMs: () => 0,
    sleep: async (ms) => {
      waits.push(ms);
      look();
      turn += 1;
      if (turn === texts.length - 1) ended.abort();
    },
  };
  const ignore = () => undefined;
  const log = {
    debug: ignore,
    info: ignore,
    error: ignore,
    warning: (text: string) => void warnings.push(text),
  };
  await keepMetricsFile({ path, render: () => texts[turn] ?? '', clock, log, signal: ended.signal });
  look();
  return { written, waits, warnings };
}

test('writes at once, then every 15 s where something has changed, and at the end', async () => {
  const { written, waits } = await keep(['a 1\n', 'a 1\n', 'a 2\n', 'a 3\n']);
  expect(written).toEqual(['a 1\n', undefined, 'a 2\n', 'a 3\n']);
  expect(new Set(waits)).toEqual(new Set([15_000]));
  expect(statSync(path).mode & 0o777).toBe(0o644);
  expect(readdirSync(dir)).toEqual(['agent.prom']);
});

test('a time that comes out a second off is no change', async () => {
  const line = (seconds: number) => `a_timestamp_seconds ${seconds}\n`;
  expect((await keep([line(100), line(101), line(99), line(102)])).written).toEqual([
    line(100),
    undefined,
    undefined,
    line(102),
  ]);
});

test('never follows a link that somebody has put in the way', async () => {
  const victim = join(dir, 'victim');
  writeFileSync(victim, 'mine');
  symlinkSync(victim, `${path}.new`);
  symlinkSync(victim, path);
  await keep(['a 1\n', 'a 1\n']);
  expect(readFileSync(victim, 'utf8')).toBe('mine');
  expect(lstatSync(path).isFile()).toBe(true);
});

test('trouble is told once, and written is what can be as soon as it can', async () => {
  path = join(dir, 'missing', 'agent.prom');
  const { written, warnings } = await keep(['a 1\n', 'a 2\n', 'a 3\n']);
  expect(written).toEqual([undefined, undefined, undefined]);
  expect(warnings).toEqual([`Cannot write the metrics to ${path}: ENOENT`]);
});
