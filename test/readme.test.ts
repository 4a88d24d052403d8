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
  return columns.flatMap((column) => [...column.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name));
}

const sources = globSync('test/**/*.test.ts').map((path) => readFileSync(path, 'utf8'));

test('each test file and each test that the README names is there', () => {
  const names = namedInTables().filter((name) => !name.startsWith('on mosquitto'));
  const missing = names.filter((name) => {
    if (name.startsWith('test/')) return !existsSync(name) && globSync(name).length === 0;
    const start = name.replace(/\s*…$/, '');
    // A title may be put together: the signal's name stands before the rest.
    const title = start.replace(/^SIG(KILL|TERM) in/, '} in');
    return !sources.some((source) => source.includes(start) || source.includes(title));
  });
  expect(names.length).toBeGreaterThan(30);
  expect(missing).toEqual([]);
});

test('every key of the configuration stands in the table of keys', () => {
  const paths = configKeys.map(({ path }) => path);
  expect(paths.length).toBeGreaterThan(20);
  expect(paths.filter((path) => !readme.includes(`\`${path}\``))).toEqual([]);
});
