import { expect } from 'bun:test';
import fc from 'fast-check';
import type { JsonValue } from '../../src/core/json.ts';

const quoted = (text: string) => JSON.stringify(text);

/** Names that code trips over: of prototypes, of what the agent looks for, and of nothing that is text. */
const names = fc.oneof(
  fc.constantFrom(
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    'then',
    'toJSON',
    '',
    '0',
    'length',
    'state',
    'desired',
    'reported',
    'delta',
    's3',
    'url',
    'hash',
    'size',
    'versionId',
    'shadowAgent',
    'files',
    'code',
    'message',
    'version',
    'clientToken',
    'credentials',
    'expiration',
    'polluted',
  ),
  fc.string({ unit: 'binary', maxLength: 5 }),
);
/** JSON texts of scalars that no `JSON.stringify` would write. */
const scalars = fc.oneof(
  fc.constantFrom(
    'null',
    'true',
    'false',
    '0',
    '-0',
    '1',
    '404',
    '1e400',
    '-1e400',
    '1e-400',
    '9007199254740993',
    '123456789012345678901234567890',
    '"\\ud83d"',
    '"\\udc00x"',
    '"\\u0000"',
    '""',
    '"s3://bucket/key"',
    `"${'0'.repeat(64)}"`,
    `"${'A'.repeat(64)}"`,
    '"s3://b/../x"',
    '"s3://bucket/\\ud83d"',
    '"2026-01-01T00:00:00Z"',
    '"+275760-09-13"',
    '"__proto__"',
  ),
  fc.string({ unit: 'binary', maxLength: 12 }).map(quoted),
  fc.double().map((value) => (Number.isFinite(value) ? String(value) : '1')),
);

/** JSON texts of any shape, with names and values that were chosen to do harm. */
export const hostileJson: fc.Arbitrary<string> = fc.letrec<{ node: string }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    scalars,
    fc.array(tie('node'), { maxLength: 4 }).map((all) => `[${all.join(',')}]`),
    fc.array(fc.tuple(names, tie('node')), { maxLength: 5 }).map((all) => objectText(all)),
  ),
})).node;

function objectText(members: ReadonlyArray<readonly [string, string]>): string {
  return `{${members.map(([name, text]) => `${quoted(name)}:${text}`).join(',')}}`;
}

/** Texts of objects with these members, of which some are missing, twice there, or anything. */
export function almost(members: Record<string, fc.Arbitrary<string>>): fc.Arbitrary<string> {
  const all = Object.entries(members).map(([name, text]) =>
    fc.oneof(
      { weight: 6, arbitrary: text.map((one) => [[name, one]] as const) },
      { weight: 1, arbitrary: fc.constant([] as const) },
      { weight: 1, arbitrary: hostileJson.map((one) => [[name, one]] as const) },
    ),
  );
  const more = fc.array(fc.tuple(names, hostileJson), { maxLength: 2 });
  return fc.tuple(fc.tuple(...all), more).map(([own, others]) => objectText([...own.flat(), ...others]));
}

/** What comes in the place of JSON: rubbish, JSON that is cut or flipped somewhere, and JSON. */
export function spoilt(text: fc.Arbitrary<string>): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  const bytes = text.map((one) => new Uint8Array(Buffer.from(one)));
  return fc.oneof(
    { weight: 6, arbitrary: bytes },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 64 }).map((one) => new Uint8Array(one)) },
    {
      weight: 1,
      arbitrary: fc.tuple(bytes, fc.nat()).map(([one, at]) => one.slice(0, at % (one.length + 1))),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(bytes, fc.nat(), fc.nat(255))
        .map(([one, at, byte]) => one.with(at % (one.length || 1), byte)),
    },
  );
}

export function jsonOf(text: string): JsonValue {
  return JSON.parse(text);
}

/** The value, or the error where that is a plain one with a reason. */
export function outcome<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(RangeError);
    return undefined;
  }
}

const prototypes = [Object.prototype, Array.prototype, Function.prototype];
const before = prototypes.map((one) => Reflect.ownKeys(one));

/** Nothing has reached the objects that all others inherit from. */
export function expectCleanPrototypes(): void {
  expect(prototypes.map((one) => Reflect.ownKeys(one))).toEqual(before);
}

/** Inputs of a length that make a careless parser go back and forth, or deep. */
export const longInputs: Record<string, (length: number) => string> = {
  brackets: (length) => '['.repeat(length),
  'closed brackets': (length) => '['.repeat(length / 2) + ']'.repeat(length / 2),
  objects: (length) => '{"a":'.repeat(length / 5),
  quotes: (length) => '"'.repeat(length),
  backslashes: (length) => `"${'\\'.repeat(length)}`,
  digits: (length) => '1'.repeat(length),
  'a string': (length) => `"${'a'.repeat(length)}"`,
  letters: (length) => 'a'.repeat(length),
  'many members': (length) =>
    `{${Array.from({ length: length / 10 }, (_, index) => `"k${index}":0`).join(',')}}`,
  'many elements': (length) => `[${'0,'.repeat(length / 2)}0]`,
  spaces: (length) => ' '.repeat(length),
  'open elements': (length) => '<Code>'.repeat(length / 6),
  'less-than': (length) => '<'.repeat(length),
  slashes: (length) => `s3://bucket/${'/'.repeat(length)}`,
  dots: (length) => `s3://bucket/${'./'.repeat(length / 2)}`,
  colons: (length) => 'a://'.repeat(length / 4),
};

/** Linear: twice the input takes about twice the time, and `bytes` next to nothing. */
export function expectLinear(parse: (text: string) => void, bytes = 100_000): void {
  for (const [name, make] of Object.entries(longInputs)) {
    const halfMs = best(parse, make(bytes / 2));
    const wholeMs = best(parse, make(bytes));
    // What takes four times as long for twice the input must be slow at all to tell.
    if (wholeMs > 3 * halfMs + bytes / 1000)
      throw new Error(`${name}: ${halfMs} ms for half of what takes ${wholeMs} ms`);
  }
}

/** The shortest of some runs: the others had to share the machine. */
function best(parse: (text: string) => void, input: string): number {
  let shortest = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 6 && shortest > 5; run += 1) {
    const startedMs = performance.now();
    parse(input);
    shortest = Math.min(shortest, performance.now() - startedMs);
  }
  return shortest;
}
