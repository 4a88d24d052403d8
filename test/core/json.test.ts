import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { isJsonObject, type JsonObject, type JsonValue, jsonEqual, member } from '../../src/core/json.ts';

const json = fc.jsonValue() as fc.Arbitrary<JsonValue>;

/** A second way to compare: the JSON text with its keys in order. */
function canonical(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key] ?? null)}`);
  return `{${members.join()}}`;
}

function parse(text: string): JsonValue {
  return JSON.parse(text);
}

describe('isJsonObject()', () => {
  test.each<[string, JsonValue | undefined, boolean]>([
    ['an object', {}, true],
    ['an object with members', { a: 1 }, true],
    ['an array', [], false],
    ['null', null, false],
    ['undefined', undefined, false],
    ['a string', '{}', false],
    ['a number', 0, false],
    ['a boolean', true, false],
  ])('%s is told from the other values', (_, value, expected) => {
    expect(isJsonObject(value)).toBe(expected);
  });
});

describe('member()', () => {
  test('gives own members, whatever their value', () => {
    expect(member({ a: 1 }, 'a')).toBe(1);
    expect(member({ a: null }, 'a')).toBeNull();
    expect(member({}, 'a')).toBeUndefined();
  });

  test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty'])('%s is a plain name', (name) => {
    expect(member({}, name)).toBeUndefined();
    const hostile = parse(`{"${name}":"own"}`) as JsonObject;
    expect(member(hostile, name)).toBe('own');
  });
});

describe('jsonEqual()', () => {
  test.each<[string, string, boolean]>([
    ['1', '1.0', true],
    ['0', '-0', true],
    ['1', '"1"', false],
    ['1', 'true', false],
    ['0', 'false', false],
    ['null', 'false', false],
    ['""', 'null', false],
    ['"a"', '"A"', false],
    ['{"a":1,"b":2}', '{"b":2,"a":1}', true],
    ['{"a":{"b":[1,{"c":2}]}}', '{"a":{"b":[1,{"c":2}]}}', true],
    ['{"a":{"b":[1,{"c":2}]}}', '{"a":{"b":[1,{"c":3}]}}', false],
    ['{"a":1}', '{"a":1,"b":1}', false],
    ['{"a":1,"b":1}', '{"a":1}', false],
    ['{"a":1,"b":1}', '{"a":1,"c":1}', false],
    ['{"a":null}', '{"b":null}', false],
    ['{"a":null}', '{}', false],
    ['[1,2]', '[2,1]', false],
    ['[1,2]', '[1,2,3]', false],
    ['[]', '{}', false],
    ['["a"]', '{"0":"a"}', false],
    ['{"__proto__":1}', '{"__proto__":1}', true],
    ['{"__proto__":{"a":1}}', '{"__proto__":{"a":2}}', false],
    ['{"__proto__":null}', '{}', false],
    ['{"__proto__":{}}', '{"a":1}', false],
    ['{"toString":1}', '{"valueOf":1}', false],
  ])('%s and %s: %p', (left, right, expected) => {
    expect(jsonEqual(parse(left), parse(right))).toBe(expected);
    expect(jsonEqual(parse(right), parse(left))).toBe(expected);
  });

  test('what is absent equals only what is absent', () => {
    expect(jsonEqual(undefined, undefined)).toBe(true);
    expect(jsonEqual(undefined, null)).toBe(false);
    expect(jsonEqual({}, undefined)).toBe(false);
  });

  test('a copy is equal, with its keys in any order', () => {
    fc.assert(fc.property(json, (value) => expect(jsonEqual(value, parse(canonical(value)))).toBe(true)));
  });

  test('two values are equal exactly when their ordered JSON texts are', () => {
    const small = fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<JsonValue>;
    fc.assert(
      fc.property(small, small, (a, b) => expect(jsonEqual(a, b)).toBe(canonical(a) === canonical(b))),
      { numRuns: 500 },
    );
  });
});
