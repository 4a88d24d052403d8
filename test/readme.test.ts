/** The README names the test that holds a claim; here its names are held. */
import { expect, test } from 'bun:test';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { configKeys } from '../src/config/keys.ts';

const readme = readFileSync('README.md', 'utf8');

/** Everything in backticks in the tables of the sections that name tests. */
function namedInTables(): string[] {
  const sections = readme
    .split(/^## /m)
    .filter((section) => /^What (is promised|it is proven on)/.test(section));
  const rows = sections.flatMap((section) => section.split('\n').filter((line) => line.startsWith('|')));
  const columns = rows.map((row) => row.split(' | ').at(-1) ?? '');
  return columns.flatMap(namesIn);
}

function namesIn(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
}

const sources = globSync('test/**/*.test.ts').map((path) => readFileSync(path, 'utf8'));

test('each test file and each test that the README names is there', () => {
  const names = namedInTables().filter((name) => !name.startsWith('on mosquitto'));
  expect(names.length).toBeGreaterThan(30);
  expect(names.filter(isMissing)).toEqual([]);
});

function isMissing(name: string): boolean {
  if (name.startsWith('test/')) return !existsSync(name) && globSync(name).length === 0;
  const start = name.replace(/\s*…$/, '');
  // A title may be put together: the signal's name stands before the rest.
  const title = start.replace(/^SIG(KILL|TERM) in/, '} in');
  return !sources.some((source) => source.includes(start) || source.includes(title));
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

test('every key of the configuration stands in the table of keys', () => {
  const paths = configKeys.map(({ path }) => path);
  expect(paths.length).toBeGreaterThan(20);
  expect(paths.filter((path) => !readme.includes(`\`${path}\``))).toEqual([]);
});
