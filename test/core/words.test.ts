import { expect, test } from 'bun:test';
import { bytesText, durationText, folded, grouped, oneLine } from '../../src/core/words.ts';

test.each([
  [-5, '0 s'],
  [499, '0 s'],
  [59_400, '59 s'],
  [59_600, '1 min'],
  [61_000, '1 min 1 s'],
  [9 * 60_000 + 59_000, '9 min 59 s'],
  [10 * 60_000 + 59_000, '10 min'],
  [3_600_000, '1 h'],
  [11_520_000, '3 h 12 min'],
  [47 * 3_600_000, '47 h'],
  [8_436 * 86_400_000, '8,436 days'],
])('%d ms is %s', (ms, text) => {
  expect(durationText(ms)).toBe(text);
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_000, '1.0 kB'],
  [12_345_678, '12.3 MB'],
  [5e15, '5000.0 TB'],
])('%d bytes are %s', (bytes, text) => {
  expect(bytesText(bytes)).toBe(text);
});

test('long figures are grouped', () => {
  expect([grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)]).toEqual([
    '0',
    '999',
    '1,000',
    '1,234,567',
  ]);
});

test('what turns the direction of a text, or is not seen, is shown as an escape', () => {
  expect(oneLine('a\u202ecba\u2066\u200bd')).toBe('a\\u202ecba\\u2066\\u200bd');
  expect(oneLine('a\u{e0041}b')).toBe('a\\udb40\\udc41b');
  expect(oneLine('é ü ‑ 日本 🙂')).toBe('é ü ‑ 日本 🙂');
});

test('a text of others stays one line and steers no terminal', () => {
  expect(oneLine(' a\r\n\u001b[31mb\u0007 ')).toBe('a [31mb');
});

test('a figure is not parted from its unit, and a word that begins like one is no unit', () => {
  expect(folded('good for 1 h', 10)).toEqual(['good for', '1 h']);
  expect(folded('53 %, 364 days left', 8)).toEqual(['53 %,', '364 days', 'left']);
  expect(folded('one of 2 Beds', 8)).toEqual(['one of 2', 'Beds']);
});

test('a text is folded at its blanks, and a long word stays whole', () => {
  expect(folded('one two three-and-more four', 8)).toEqual(['one two', 'three-and-more', 'four']);
});
