/** The README names the test that holds a claim; here its names are held. */
import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configKeys } from '../src/config/keys.ts';
import { errorCodes } from '../src/core/errors.ts';
import { inlineOf } from './support/documents.ts';
import { program, toolTest } from './support/tools.ts';

const readme = readFileSync('README.md', 'utf8');

/** Everything in backticks in the last column of the tables that name tests, whatever their section. */
function namedInTables(): string[] {
  const tables = readme.split(/\n(?!\|)/).filter((text) => /^\|.*\| tests? +\|/.test(text.trimStart()));
  return tables.flatMap((table) => {
    const rows = table.split('\n').filter((line) => line.startsWith('|'));
    return rows.flatMap((row) => namesIn(row.split(' | ').at(-1) ?? ''));
  });
}

function namesIn(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
}

const sources = globSync('test/**/*.test.ts').map((path) => readFileSync(path, 'utf8'));

test('each test file and each test that the README names is there', () => {
  const names = namedInTables().filter((name) => !/^(on mosquitto|bun run bench )/.test(name));
  expect(names.length).toBeGreaterThan(30);
  expect(names.filter(isMissing)).toEqual([]);
});

/** Where a title leaves something out (…), or is put together of variables, all of its pieces stand in one file. */
function isMissing(name: string): boolean {
  if (name.startsWith('test/')) return !existsSync(name) && globSync(name).length === 0;
  const pieces = name.replace(/^SIG(KILL|TERM)(?= in)/, '}').split('…');
  const titles = [name.split('…'), pieces].map((parts) => parts.map((part) => part.trim()));
  return !sources.some((source) => titles.some((parts) => parts.every((part) => source.includes(part))));
}

test('each test file and each test that SECURITY.md names is there', () => {
  const text = readFileSync('SECURITY.md', 'utf8');
  const rows = text.split('\n').filter((line) => line.startsWith('|'));
  const inRows = rows.flatMap((row) => namesIn(row.split(' | ').at(-1) ?? ''));
  const inText = text
    .split('\n\n')
    .flatMap((part) => namesIn(part.replaceAll('\n', ' ').split(/Tests?: |objects: /)[1] ?? ''));
  const names = [...inRows, ...inText].filter((name) => name.startsWith('test/') || name.includes(' '));
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter(isMissing)).toEqual([]);
});

/** The cells of a key's row in the table of keys. */
function rowOf(path: string): string[] | undefined {
  const [, section = ''] = readme.split('### Every key');
  const [table = ''] = section.split('\n**Strict.**');
  const rows = table.split('\n').map((line) => line.split(/ *\| */).slice(1));
  return rows.find(([names = '']) => names.includes(`\`${path}\``));
}

/** Defaults that depend on something. */
const computed: Record<string, string> = {
  clientId: '`thingName`',
  stateDir: '`/var/lib/NAME`; else `state`',
  's3.region': 'from `endpoint`',
  'files[].mode': '`0644`',
  strict: 'true as root, else false',
  proxy: '`$HTTPS_PROXY`',
};

test('every key of the configuration stands in the table of keys', () => {
  const paths = configKeys.map(({ path }) => path);
  expect(paths.length).toBeGreaterThan(20);
  expect(paths.filter((path) => rowOf(path) === undefined)).toEqual([]);
});

test('the defaults in the table of keys are those of the program', () => {
  const wrong = configKeys.filter(({ path, default: value }) => {
    const cell = rowOf(path)?.[1] ?? '';
    if (value === undefined) return !cell.includes(computed[path] ?? '');
    return !new RegExp(`(^|\\W)${String(value)}\\b`).test(cell);
  });
  expect(configKeys.filter((key) => key.default !== undefined).length).toBeGreaterThan(10);
  expect(wrong.map(({ path }) => path)).toEqual([]);
});

test('the table of codes has each error code of the program, and no other, with its cause and its cure', () => {
  const [, table = ''] = /\n(\| code +\| cause [\s\S]*?)\n\n/.exec(readme) ?? [];
  const rows = table
    .split('\n')
    .slice(2)
    .map((row) =>
      row
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  expect(rows.map(([code]) => code)).toEqual(errorCodes.map((code) => `\`${code}\``));
  for (const row of rows) expect(row.filter((cell) => cell !== '').length).toBe(4);
});

/** What of the README stands in code within its text, from this word on. */
function inline(word: string): string[] {
  return inlineOf('README.md').filter((code) => code.startsWith(word));
}

test('each bench that is named is there, and those that CI is said to run are those that it runs', () => {
  const { status, stdout } = spawnSync(process.execPath, ['test/bench/main.ts', '--help'], {
    encoding: 'utf8',
  });
  expect(status).toBe(0);
  const named = inline('bun run bench ').map((code) => code.split(' ')[3] ?? '');
  expect(named).toContain('speed');
  for (const name of named) expect(stdout).toMatch(new RegExp(`^ *${name} `, 'm'));
  const run = [...readFileSync('.ci/run', 'utf8').matchAll(/^bun run bench (\w+)/gm)].map(([, name]) => name);
  expect(run).toEqual(['check', 'transfer', 'soak']);
});

toolTest([program('zstd')], 'an executable that is packed as is said runs once it is unpacked', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-packed-'));
  try {
    await writeFile(join(dir, 'shadow-agent'), '#!/bin/sh\necho runs\n', { mode: 0o755 });
    const [pack, unpack] = inline('zstd ').filter((code) => code.includes('shadow-agent'));
    const script = `${pack} && rm shadow-agent && ${unpack} && ./shadow-agent && ls`;
    const { stdout } = spawnSync('sh', ['-ec', script], { cwd: dir, encoding: 'utf8' });
    expect(stdout).toBe('runs\nshadow-agent\n');
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
