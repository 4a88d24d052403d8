import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/core/json.ts';
import {
  mergeReported,
  parseShadowMessage,
  reportedPatch,
  rings,
  shadowPrefix,
  shadowTopics,
} from '../../src/core/shadow.ts';

const prefix = shadowPrefix('test-thing');

function object(text: string): JsonObject {
  const value: JsonValue = JSON.parse(text);
  if (!isJsonObject(value)) throw new Error('no object');
  return value;
}

/** JSON text with its keys in order: equal values give equal texts. */
function canonical(value: JsonValue): string {
  return JSON.stringify(value, (_, each: JsonValue) =>
    isJsonObject(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each,
  );
}

describe('the topics of a shadow', () => {
  test('stand under the thing for the classic shadow', () => {
    expect(shadowPrefix('test-thing')).toBe('$aws/things/test-thing/shadow');
  });

  test('stand under the name for a named shadow', () => {
    expect(shadowPrefix('test-thing', 'files')).toBe('$aws/things/test-thing/shadow/name/files');
  });

  test('are the five that the agent listens to, without a wildcard', () => {
    expect(shadowTopics('p').sort()).toEqual([
      'p/get/accepted',
      'p/get/rejected',
      'p/update/accepted',
      'p/update/delta',
      'p/update/rejected',
    ]);
  });
});

describe('parseShadowMessage()', () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const read = (topic: string, body: string | Uint8Array) =>
    parseShadowMessage(prefix, `${prefix}/${topic}`, typeof body === 'string' ? bytes(body) : body);

  test('reads the sections of a document', () => {
    const body = `{"state":{"desired":{"s3":{"url":"u"}},"reported":{"s3":{"url":"v"}},"delta":{"s3":{"url":"u"}}},
      "metadata":{"desired":{},"delta":{}},"version":3,"timestamp":1,"clientToken":"t"}`;
    expect(read('get/accepted', body)).toEqual({
      kind: 'get/accepted',
      clientToken: 't',
      document: { desired: { s3: { url: 'u' } }, reported: { s3: { url: 'v' } } },
    });
  });

  test('takes a section that is not there for an empty one', () => {
    for (const body of ['{"state":{}}', '{"state":{},"metadata":{},"version":1,"timestamp":1}']) {
      expect(read('get/accepted', body)).toMatchObject({ document: { desired: {}, reported: {} } });
    }
  });

  test.each<[string, JsonObject | null | undefined]>([
    ['{"reported":{"a":null}}', undefined],
    ['{}', undefined],
    ['{"desired":{"s3":{"hash":"h","note":null}}}', { s3: { hash: 'h', note: null } }],
    ['{"desired":null}', null],
    ['null', null],
  ])('reads an accepted update of %s', (state, desired) => {
    const body = `{"state":${state},"metadata":{"timestamp":1},"version":2,"timestamp":1,"clientToken":"t"}`;
    expect(read('update/accepted', body)).toMatchObject({
      kind: 'update/accepted',
      clientToken: 't',
      desired,
    });
    const anonymous = read('update/accepted', `{"state":${state},"version":2}`);
    expect(anonymous).toMatchObject({ clientToken: undefined, desired });
  });

  test('reads a rejection, with or without message and token', () => {
    for (const kind of ['get/rejected', 'update/rejected'] as const) {
      const body = `{"code":404,"message":"No shadow exists with name: 'test-thing'","timestamp":1,"clientToken":"t"}`;
      const message = "No shadow exists with name: 'test-thing'";
      expect(read(kind, body)).toEqual({ kind, clientToken: 't', code: 404, message });
      expect(read(kind, '{"code":429}')).toMatchObject({ kind, code: 429, message: '' });
    }
  });

  test('reads a delta, whose state is the delta itself', () => {
    const body =
      '{"version":5,"timestamp":1,"state":{"s3":{"hash":"h"}},"metadata":{"s3":{}},"clientToken":"t"}';
    expect(read('update/delta', body)).toMatchObject({
      kind: 'update/delta',
      clientToken: 't',
      state: { s3: { hash: 'h' } },
    });
  });

  test('keeps __proto__ as a plain key', () => {
    const hostile =
      '{"state":{"desired":{"__proto__":{"s3":1}},"__proto__":{"reported":{"a":1}}},"__proto__":{"clientToken":"t"}}';
    const message = read('get/accepted', hostile);
    if (message.kind !== 'get/accepted') throw new Error(message.kind);
    expect(message.clientToken).toBeUndefined();
    expect(JSON.stringify(message.document)).toBe('{"desired":{"__proto__":{"s3":1}},"reported":{}}');
    expect(Reflect.get(message.document.desired, 's3')).toBeUndefined();
    expect(Reflect.get({}, 's3')).toBeUndefined();
  });

  test('counts brackets as depth only outside of text', () => {
    const text = `${'['.repeat(100)}\\"${'{'.repeat(100)}\\\\`;
    const message = read('update/delta', `{"state":{"s3":{"url":"${text}"}}}`);
    expect(message).toMatchObject({ state: { s3: { url: `${'['.repeat(100)}"${'{'.repeat(100)}\\` } } });
  });

  test('takes many brackets beside each other for no depth', () => {
    const desired = Array.from({ length: 100 }, (_, index) => `"${index}":{"a":[]}`).join();
    expect(read('get/accepted', `{"state":{"desired":{${desired}}}}`).kind).toBe('get/accepted');
  });

  test('reads the 8 levels that AWS allows', () => {
    const state = `${'{"a":'.repeat(8)}1${'}'.repeat(8)}`;
    expect(read('get/accepted', `{"state":{"desired":${state}}}`).kind).toBe('get/accepted');
  });

  const nested = (open: string, close: string, levels: number) => open.repeat(levels) + close.repeat(levels);
  const notUtf8 = bytes('{"state":{"desired":{"s3":"?"}}}').map((byte) => (byte === 0x3f ? 0xff : byte));
  const refused: Array<[string, string, string | Uint8Array]> = [
    ['an empty payload', 'get/accepted', ''],
    ['no JSON', 'get/accepted', 'garbage'],
    ['half a document', 'get/accepted', '{"state":{"desired":{"s3"'],
    ['a second document behind the first', 'get/accepted', '{"state":{}}{"state":{}}'],
    ['a number', 'get/accepted', '1'],
    ['null', 'get/accepted', 'null'],
    ['a list', 'get/accepted', '[{"state":{}}]'],
    ['no state', 'get/accepted', '{}'],
    ['a state that is null', 'get/accepted', '{"state":null}'],
    ['a state that is text', 'get/accepted', '{"state":"x"}'],
    ['a state that is a list', 'get/accepted', '{"state":[]}'],
    ['a desired section that is text', 'get/accepted', '{"state":{"desired":"x"}}'],
    ['a desired section that is a list', 'get/accepted', '{"state":{"desired":[]}}'],
    ['a reported section that is a number', 'get/accepted', '{"state":{"reported":1}}'],
    ['a token that is a number', 'get/accepted', '{"state":{},"clientToken":1}'],
    ['a state that is text', 'update/accepted', '{"state":"x"}'],
    ['a desired section that is text', 'update/accepted', '{"state":{"desired":"x"}}'],
    ['a desired section that is a list', 'update/accepted', '{"state":{"desired":[]}}'],
    ['a token that is an object', 'update/accepted', '{"clientToken":{}}'],
    ['a list', 'update/accepted', '[]'],
    ['no state', 'update/delta', '{"version":1}'],
    ['a state that is a list', 'update/delta', '{"state":[1]}'],
    ['a state that is null', 'update/delta', '{"state":null}'],
    ['no code', 'get/rejected', '{"message":"x"}'],
    ['a code that is text', 'get/rejected', '{"code":"404"}'],
    ['a code that is null', 'update/rejected', '{"code":null}'],
    ['a message that is an object', 'update/rejected', '{"code":400,"message":{}}'],
    ['bytes that are no UTF-8', 'get/accepted', notUtf8],
    ['a text that is cut within a character', 'get/accepted', bytes('{"a":"é').subarray(0, 7)],
    ['40 levels of objects', 'get/accepted', `{"state":${'{"a":'.repeat(40)}1${'}'.repeat(40)}}`],
    ['100 000 levels of lists', 'get/accepted', nested('[', ']', 100_000)],
    ['100 000 opened lists', 'update/delta', '['.repeat(100_000)],
    ['more than 256 KiB', 'get/accepted', `{"state":{},"x":"${'x'.repeat(256 * 1024)}"}`],
    ['more than 256 KiB of spaces', 'get/accepted', `{"state":{}}${' '.repeat(256 * 1024)}`],
  ];
  test.each(refused)('%s on %s is an error with a short reason', (_, topic, body) => {
    let reason: unknown;
    try {
      read(topic, body);
    } catch (error) {
      reason = error;
    }
    if (!(reason instanceof Error)) throw new Error('nothing was thrown');
    expect(reason.message.length).toBeWithin(1, 300);
    expect(reason.message).not.toContain('\n');
  });

  test.each([
    `${prefix}/update/documents`,
    `${prefix}/delete/accepted`,
    `${prefix}/get`,
    `${prefix}/`,
    prefix,
    `${prefix}get/accepted`,
    `${prefix}-get/accepted`,
    `${prefix}/name/files/get/accepted`,
    `${prefix}/get/accepted/`,
    '$aws/things/other/shadow/get/accepted',
    'get/accepted',
    '',
  ])('the topic %p is none of the five', (topic) => {
    expect(() => parseShadowMessage(prefix, topic, bytes('{"state":{},"code":1}'))).toThrow();
  });
});

describe('rings()', () => {
  const held = new Map<string, JsonValue | undefined>([
    ['s3', { url: 'u', hash: 'h', tags: [1, { a: 1 }], deep: { x: 1, y: { z: 2 } }, none: {} }],
    ['gone', undefined],
    ['text', 'as it is'],
  ]);
  const isOwnToken = (token: string) => token.startsWith('own-');
  const delta = (state: string, clientToken: string | undefined) =>
    rings({ kind: 'update/delta', version: 1, state: object(state), clientToken }, held, isOwnToken);
  const accepted = (desired: JsonObject | null | undefined, clientToken: string | undefined) =>
    rings({ kind: 'update/accepted', version: 1, desired, clientToken }, held, isOwnToken);

  const foreign: Array<[string, boolean]> = [
    ['{"s3":{"hash":"new"}}', true],
    ['{"s3":{"hash":"h"}}', true],
    ['{"s3":{"url":"u","hash":"h"}}', true],
    ['{"gone":{"hash":"h"}}', true],
    ['{"other":1,"s3":{"hash":"h"}}', true],
    ['{"s3":"no object"}', true],
    ['{}', false],
    ['{"other":1}', false],
    ['{"other":{"s3":{"hash":"new"}}}', false],
    ['{"S3":{"hash":"new"}}', false],
    ['{"__proto__":{"s3":{"hash":"new"}}}', false],
  ];
  test.each(foreign)('a delta of %s without our token rings: %p', (state, expected) => {
    expect(delta(state, undefined)).toBe(expected);
    expect(delta(state, '')).toBe(expected);
    expect(delta(state, 'theirs')).toBe(expected);
  });

  const own: Array<[string, string, boolean]> = [
    ['the leaf that differs from what is reported', '{"s3":{"hash":"h"}}', false],
    ['all of its leaves as they are held', '{"s3":{"url":"u","hash":"h","tags":[1,{"a":1}]}}', false],
    ['a deep leaf as it is held', '{"s3":{"deep":{"x":1}}}', false],
    ['an empty object as it is held', '{"s3":{"none":{}}}', false],
    ['a value that is no object, as it is held', '{"text":"as it is"}', false],
    ['what belongs to others beside it', '{"s3":{"hash":"h"},"other":{"hash":"new"}}', false],
    ['nothing of ours', '{"other":{"hash":"new"}}', false],
    ['nothing at all', '{}', false],
    ['another hash', '{"s3":{"hash":"new"}}', true],
    ['one leaf of several that is new', '{"s3":{"url":"u","hash":"h","deep":{"x":2}}}', true],
    ['a key that is not held', '{"s3":{"hash":"h","versionId":"v"}}', true],
    ['a list with another element', '{"s3":{"tags":[1,{"a":2}]}}', true],
    ['a list that is shorter', '{"s3":{"tags":[1]}}', true],
    ['an object where text is held', '{"s3":{"hash":{"x":1}}}', true],
    ['text where an object is held', '{"s3":{"deep":"x"}}', true],
    ['text in the place of the whole value', '{"s3":"u"}', true],
    ['a property of which nothing is held', '{"gone":{"hash":"h"}}', true],
    ['a second property that is news', '{"s3":{"hash":"h"},"text":"other"}', true],
    ['a leaf named __proto__', '{"s3":{"__proto__":{"hash":"h"}}}', true],
    ['an inherited name', '{"s3":{"toString":1}}', true],
  ];
  test.each(own)('a delta with our token and %s: %s rings: %p', (_, state, expected) => {
    expect(delta(state, 'own-1')).toBe(expected);
  });

  // Withdrawal, and going back to what is reported, cause no delta.
  const updates: Array<[string, string | undefined, boolean]> = [
    ['no desired section, as a report has none', undefined, false],
    ['nothing of ours', '{"other":{"hash":"new"}}', false],
    ['what is held already', '{"s3":{"hash":"h"}}', false],
    ['the removal of what is not held', '{"gone":null,"s3":{"versionId":null}}', false],
    ['another hash', '{"s3":{"hash":"new"}}', true],
    ['a key that is not held', '{"s3":{"versionId":"v"}}', true],
    ['the removal of a property', '{"s3":null}', true],
    ['the removal of a key', '{"s3":{"note":null,"tags":null}}', true],
    ['the whole section removed', 'null', true],
  ];
  test.each(updates)('an accepted update with %s: %s rings: %p', (_, desired, expected) => {
    const section = desired === undefined ? undefined : desired === 'null' ? null : object(desired);
    for (const token of [undefined, 'theirs', 'own-1']) expect(accepted(section, token)).toBe(expected);
  });

  test('no delta rings where no property is configured', () => {
    const message = { kind: 'update/delta', version: 1, state: { s3: 1 }, clientToken: undefined } as const;
    expect(rings(message, new Map(), isOwnToken)).toBe(false);
  });

  test('takes what equals the held value for news while the document is being read: the answer may change what is held', () => {
    const held = new Map<string, JsonValue | undefined>([['s3', { hash: 'a' }]]);
    const accepted = { kind: 'update/accepted', version: 6, clientToken: undefined } as const;
    const same = { ...accepted, desired: { s3: { hash: 'a' } } };
    expect(rings(same, held, isOwnToken, false)).toBe(false);
    expect(rings(same, held, isOwnToken, true)).toBe(true);
    expect(rings({ ...accepted, desired: { other: 1 } }, held, isOwnToken, true)).toBe(false);
    expect(rings({ ...accepted, desired: undefined }, held, isOwnToken, true)).toBe(false);
  });
});

describe('mergeReported()', () => {
  test.each<[string, string, string, string]>([
    [
      'objects merge at every depth',
      '{"a":{"b":1,"c":{"d":1}}}',
      '{"a":{"c":{"e":2}}}',
      '{"a":{"b":1,"c":{"d":1,"e":2}}}',
    ],
    ['null deletes', '{"a":1,"b":2}', '{"a":null}', '{"b":2}'],
    ['null deletes within', '{"a":{"b":1,"c":2}}', '{"a":{"b":null}}', '{"a":{"c":2}}'],
    ['null of what is not there says nothing', '{"a":1}', '{"b":null}', '{"a":1}'],
    ['null is never stored', '{}', '{"a":{"b":null,"c":1}}', '{"a":{"c":1}}'],
    ['an object that is emptied stays', '{"a":{"b":1}}', '{"a":{"b":null}}', '{"a":{}}'],
    ['an empty object is a value', '{}', '{"a":{}}', '{"a":{}}'],
    ['lists are replaced whole', '{"a":[1,2,3]}', '{"a":[4]}', '{"a":[4]}'],
    ['an object replaces a scalar', '{"a":1}', '{"a":{"b":1}}', '{"a":{"b":1}}'],
    ['an object replaces a list', '{"a":[1]}', '{"a":{"b":1}}', '{"a":{"b":1}}'],
    ['a scalar replaces an object', '{"a":{"b":1}}', '{"a":1}', '{"a":1}'],
    [
      '__proto__ is a plain key',
      '{"__proto__":{"a":1}}',
      '{"__proto__":{"b":2}}',
      '{"__proto__":{"a":1,"b":2}}',
    ],
  ])('%s', (_, seen, patch, expected) => {
    expect(canonical(mergeReported(object(seen), object(patch)))).toBe(canonical(object(expected)));
  });
});

describe('reportedPatch()', () => {
  test.each<[string, string, string, string | undefined]>([
    [
      'says all where nothing is reported',
      '{"s3":{"url":"u","hash":"h"}}',
      '{}',
      '{"s3":{"url":"u","hash":"h"}}',
    ],
    [
      'says only what is new',
      '{"s3":{"url":"u","hash":"h"}}',
      '{"s3":{"url":"u","hash":"g"}}',
      '{"s3":{"hash":"h"}}',
    ],
    [
      'drops what desired no longer has',
      '{"s3":{"url":"u"}}',
      '{"s3":{"url":"u","note":{"a":1}}}',
      '{"s3":{"note":null}}',
    ],
    [
      'drops it at every depth',
      '{"s3":{"a":{"b":1}}}',
      '{"s3":{"a":{"b":1,"c":2}}}',
      '{"s3":{"a":{"c":null}}}',
    ],
    ['replaces a list whole', '{"s3":{"a":[1,2]}}', '{"s3":{"a":[1]}}', '{"s3":{"a":[1,2]}}'],
    ['empties an object', '{"s3":{"a":{}}}', '{"s3":{"a":{"b":1}}}', '{"s3":{"a":{"b":null}}}'],
    ['takes back a whole property', '{"s3":null}', '{"s3":{"url":"u"}}', '{"s3":null}'],
    ['says nothing where all is told', '{"s3":{"url":"u"}}', '{"s3":{"url":"u"}}', undefined],
    [
      'says nothing of what others report',
      '{"s3":{"url":"u"}}',
      '{"s3":{"url":"u"},"temperature":20}',
      undefined,
    ],
    ['says nothing where nothing is to be taken back', '{"s3":null}', '{"other":1}', undefined],
    ['says nothing where nothing is wanted', '{}', '{"other":1}', undefined],
  ])('%s', (_, wanted, seen, expected) => {
    const patch = reportedPatch(object(wanted), object(seen));
    expect(patch === undefined ? undefined : canonical(patch)).toBe(
      expected === undefined ? undefined : canonical(object(expected)),
    );
  });

  // Few keys and few values, so that the two documents meet often.
  const key = fc.constantFrom('a', 'b', 'c', '__proto__', 'toString');
  const leaf: fc.Arbitrary<JsonValue> = fc.constantFrom(0, 1, '', 'x', true, false);
  const list: fc.Arbitrary<JsonValue> = fc.array(
    fc.oneof(leaf, fc.constantFrom<JsonValue[]>(null, {}, [], { a: 1 })),
    {
      maxLength: 2,
    },
  );
  const objectOf = (value: fc.Arbitrary<JsonValue>): fc.Arbitrary<JsonObject> =>
    fc.array(fc.tuple(key, value), { maxLength: 4 }).map((entries) => Object.fromEntries(entries));
  const tree = (depth: number, leaves: fc.Arbitrary<JsonValue>): fc.Arbitrary<JsonValue> =>
    depth === 0 ? leaves : fc.oneof(leaves, objectOf(tree(depth - 1, leaves)));
  // The service stores no null outside of lists; at the top of `wanted` null takes a property back.
  const plain = fc.oneof(leaf, list);
  const seenDocument = objectOf(tree(3, plain));
  const wantedDocument = objectOf(fc.oneof(tree(3, plain), fc.constant(null)));
  const hostileDocument = objectOf(tree(3, fc.oneof(plain, fc.constant(null))));

  /** The document without nulls: null and absent are the same to the service, but for lists. */
  function stored(value: JsonValue): JsonValue {
    if (!isJsonObject(value)) return value;
    const entries = Object.entries(value).filter(([, each]) => each !== null);
    return Object.fromEntries(entries.map(([name, each]) => [name, stored(each)]));
  }
  function only(document: JsonObject, has: (key: string) => boolean): JsonObject {
    return Object.fromEntries(Object.entries(document).filter(([name]) => has(name)));
  }
  /** Every path to a leaf of a patch; an empty object and a list are leaves. */
  function leavesOf(value: JsonValue, path: string[] = []): Array<[string[], JsonValue]> {
    if (!isJsonObject(value) || Object.keys(value).length === 0) return [[path, value]];
    return Object.entries(value).flatMap(([name, each]) => leavesOf(each, [...path, name]));
  }
  function at(document: JsonValue | undefined, path: string[]): JsonValue | undefined {
    const [name, ...rest] = path;
    if (name === undefined) return document;
    return isJsonObject(document) && Object.hasOwn(document, name) ? at(document[name], rest) : undefined;
  }

  const wanteds: Array<[string, fc.Arbitrary<JsonObject>]> = [
    ['a report', wantedDocument],
    ['a report with nulls within, as a hostile desired value may make it', hostileDocument],
  ];
  describe.each(wanteds)('of %s', (_, wantedArbitrary) => {
    // Most documents are nearly what is wanted; two by chance would hardly ever be equal.
    const pair = fc.tuple(wantedArbitrary, seenDocument, hostileDocument).chain(([wanted, seen, change]) => {
      const told = object(JSON.stringify(stored(wanted)));
      return fc.tuple(fc.constant(wanted), fc.constantFrom(seen, told, mergeReported(told, change)));
    });
    const holds = (property: (wanted: JsonObject, seen: JsonObject) => void) =>
      fc.assert(
        fc.property(pair, ([wanted, seen]) => property(wanted, seen)),
        { numRuns: 1000 },
      );

    test('makes the reported section what is wanted', () => {
      holds((wanted, seen) => {
        const merged = mergeReported(seen, reportedPatch(wanted, seen) ?? {});
        const ours = only(merged, (name) => Object.hasOwn(wanted, name));
        expect(canonical(ours)).toBe(canonical(stored(wanted)));
      });
    });

    test('leaves the properties of others alone', () => {
      holds((wanted, seen) => {
        const patch = reportedPatch(wanted, seen) ?? {};
        const isForeign = (name: string) => !Object.hasOwn(wanted, name);
        expect(Object.keys(patch).filter(isForeign)).toEqual([]);
        expect(canonical(only(mergeReported(seen, patch), isForeign))).toBe(canonical(only(seen, isForeign)));
      });
    });

    test('is undefined exactly where there is nothing to say', () => {
      holds((wanted, seen) => {
        const ours = only(seen, (name) => Object.hasOwn(wanted, name));
        const isTold = canonical(ours) === canonical(stored(wanted));
        expect(reportedPatch(wanted, seen) === undefined).toBe(isTold);
      });
    });

    test('has nothing more to say once it was accepted', () => {
      holds((wanted, seen) => {
        const merged = mergeReported(seen, reportedPatch(wanted, seen) ?? {});
        expect(reportedPatch(wanted, merged)).toBeUndefined();
      });
    });

    test('repeats no leaf that is reported already, and takes nothing back that is not there', () => {
      holds((wanted, seen) => {
        for (const [path, value] of leavesOf(reportedPatch(wanted, seen) ?? { a: 1 })) {
          if (reportedPatch(wanted, seen) === undefined) continue;
          expect(canonical(at(seen, path) ?? null)).not.toBe(canonical(value));
        }
      });
    });
  });

  test('changes neither of its arguments', () => {
    fc.assert(
      fc.property(wantedDocument, seenDocument, (wanted, seen) => {
        const before = [canonical(wanted), canonical(seen)];
        mergeReported(seen, reportedPatch(wanted, seen) ?? {});
        expect([canonical(wanted), canonical(seen)]).toEqual(before);
      }),
    );
  });
});
