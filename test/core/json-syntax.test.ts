import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { findSyntaxProblem } from '../../src/core/json-syntax.ts';

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe('findSyntaxProblem()', () => {
  test('agrees with JSON.parse on every JSON value', () => {
    const shallow = fc.jsonValue({ maxDepth: 6 });
    fc.assert(
      fc.property(shallow, fc.nat(3), (value, indent) => {
        expect(findSyntaxProblem(JSON.stringify(value, null, indent))).toBeUndefined();
      }),
    );
  });

  test('agrees with JSON.parse on texts in which something was changed', () => {
    const text = '{"a":[1,2.5e-3,{"b":null}],"c":"\\u00e9\\n\\"","d":true,"e":-0}';
    const piece = fc.oneof(
      fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '\\', '0', '-', '.', 'e', 'n', ' ', '\n'),
      fc.string({ unit: 'binary', maxLength: 1 }),
    );
    const change = fc.tuple(fc.nat(text.length), fc.nat(2), piece);
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        const changed = changes.reduce(
          (before, [at, gone, put]) => before.slice(0, at) + put + before.slice(at + gone),
          text,
        );
        expect([changed, findSyntaxProblem(changed) === undefined]).toEqual([changed, isJson(changed)]);
      }),
      { numRuns: 5000 },
    );
  });

  test('counts lines and columns from 1', () => {
    expect(findSyntaxProblem('}')).toMatchObject({ line: 1, column: 1 });
    expect(findSyntaxProblem('{\r\n  "a": 1,\r\n  b\r\n}')).toMatchObject({ line: 3, column: 3 });
  });

  test.each([
    ['{"a": 1 // one\n}', 'JSON has no comments'],
    ["{'a': 1}", 'JSON quotes with "'],
    ['{"a": 1 "b": 2}', 'a comma is missing'],
    ['{"a": 1,}', 'no comma after the last'],
    ['{a: 1}', 'keys stand in "quotes"'],
    ['{"a": "x\ny"}', 'not closed on its line'],
    ['{"a": [1', 'cut short'],
    ['{"a": \u00a01}', 'correct the file at this place'],
  ])('tells what to do about %j', (text, hint) => {
    expect(findSyntaxProblem(text)?.hint).toContain(hint);
  });
});
