import { expect, test } from 'bun:test';
import { HookOutput } from '../../src/io/hook-output.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `line ${from + index}`);

function printed(texts: readonly string[]): { lines: string[]; last: string[] } {
  const lines: string[] = [];
  const output = new HookOutput((line) => lines.push(line));
  const take = output.source();
  for (const text of texts) take(bytes(text));
  const last = output.end();
  return { lines, last };
}

test('of many lines the first hundred and the last ten are told, and how many are not', () => {
  const all = numbered(0, 100_000);
  const { lines, last } = printed([`${all.join('\n')}\n`]);
  expect(lines).toEqual([...all.slice(0, 100), '[99890 lines are left out]', ...all.slice(-10)]);
  expect(last).toEqual(all.slice(-10));
});

test('however the output is cut into pieces, the same is told', () => {
  const text = `${numbered(0, 30_000).join('\r\n')}\n\nthe end`;
  const whole = printed([text]);
  for (const size of [1_000, 4_097, 65_536])
    expect(printed(text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [])).toEqual(whole);
  expect(whole.last.at(-1)).toBe('the end');
  expect(whole.lines[100]).toBe('[29891 lines are left out]');
});

test('the last lines of two streams are told in the order in which they came', () => {
  const lines: string[] = [];
  const output = new HookOutput((line) => lines.push(line));
  const [out, err] = [output.source(), output.source()];
  out(bytes(`${numbered(0, 50_000).join('\n')}\n`));
  err(bytes('it has failed\n'));
  out(bytes('bye\n'));
  expect(output.end().slice(-2)).toEqual(['it has failed', 'bye']);
});

test('a private key whose start was left out is not told either', () => {
  const start = '-----BEGIN PRIVATE KEY-----\n';
  const long = `${'x'.repeat(30_000)}\n`;
  const { lines } = printed([`${numbered(0, 200).join('\n')}\n${start}`, long.repeat(8), 'c2VjcmV0\n']);
  expect(lines.join('\n')).not.toMatch(/x{10}|c2VjcmV0/);
});

test('a line without an end is cut, whatever its length', () => {
  const { lines } = printed(Array.from({ length: 100 }, () => 'z'.repeat(100_000)));
  expect(lines).toEqual([`${'z'.repeat(500)}…`]);
});
