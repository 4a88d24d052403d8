import type { JsonObject } from '../../src/core/json.ts';
import { at, type Case, inSync, T } from './shadow-cases.ts';

/** How an update changes the document. */
export const merging: Case[] = [
  {
    rule: 'objects merge; scalars and arrays replace',
    source: 'AWS developer guide',
    steps: [
      { update: { state: { desired: { o: { a: 1, b: 1 }, l: [1, 2], s: 1 } } } },
      {
        update: { state: { desired: { o: { b: 2 }, l: [3], s: 'x' } } },
        shown: {
          state: {
            desired: { o: { a: 1, b: 2 }, l: [3], s: 'x' },
            delta: { o: { a: 1, b: 2 }, l: [3], s: 'x' },
          },
        },
      },
    ],
  },
  {
    rule: 'a type may change, the new value wins',
    source: 'Greengrass shadow manager',
    steps: [
      { update: { state: { reported: { a: 1, b: { c: 1 }, d: [1] } } } },
      {
        update: { state: { reported: { a: { timestamp: 5 }, b: [1], d: 1 } } },
        shown: {
          state: { reported: { a: { timestamp: 5 }, b: [1], d: 1 } },
          metadata: { reported: { a: { timestamp: at(T + 1) }, b: [at(T + 1)], d: at(T + 1) } },
        },
      },
    ],
  },
  {
    rule: 'null deletes a key, and the section goes with its last key',
    source: 'recorded from AWS',
    steps: [
      { update: { state: { reported: { a: 1, b: 2 } } } },
      {
        update: { state: { reported: { a: null } } },
        shown: { state: { reported: { b: 2 } }, metadata: { reported: { b: at(T) } } },
      },
      { update: { state: { reported: { b: null } } }, shown: { state: {}, metadata: {} } },
    ],
  },
  {
    rule: 'nulls of a new section are not stored, at any depth',
    source: 'recorded from AWS',
    steps: [
      { update: { state: { reported: { x: null } } }, shown: { state: {}, version: 1 } },
      {
        update: { state: { reported: { x: { y: null, z: 1 } } } },
        shown: { state: { reported: { x: { z: 1 } } } },
      },
    ],
  },
  {
    rule: 'null removes a whole section',
    source: 'recorded from AWS',
    steps: [
      { update: inSync },
      { update: { state: { desired: null } }, shown: { state: { reported: { a: 1 } } } },
      { update: { state: { reported: null } }, shown: { state: {}, metadata: {}, version: 3 } },
    ],
  },
  {
    rule: 'state null clears both sections and the shadow stays',
    source: 'recorded from AWS',
    steps: [
      { update: inSync },
      {
        update: { state: null },
        accepted: { state: null, metadata: at(T + 1), version: 2, timestamp: T + 1 },
        delta: null,
        shown: { state: {}, metadata: {}, version: 2 },
      },
    ],
  },
  {
    rule: 'empty state and empty sections are accepted and not shown',
    source: 'recorded from AWS',
    steps: [
      { update: { state: {} }, shown: { state: {}, version: 1 } },
      { update: { state: { desired: {}, reported: {} } }, shown: { state: {}, metadata: {}, version: 2 } },
    ],
  },
  {
    rule: 'empty nested objects are values, and an object that loses its keys stays',
    source: 'recorded from AWS',
    steps: [
      {
        update: { state: { reported: { d: {}, b: { c: {} } } } },
        shown: { state: { reported: { d: {}, b: { c: {} } } } },
      },
      {
        update: { state: { reported: { d: { e: 1 }, b: { c: null } } } },
        shown: {
          state: { reported: { d: { e: 1 }, b: {} } },
          metadata: { reported: { d: { e: at(T + 1) }, b: {} } },
        },
      },
    ],
  },
  {
    rule: 'names such as __proto__ are names like any other',
    source: 'hostile input',
    steps: [
      {
        update: '{"state":{"reported":{"__proto__":{"a":1},"constructor":2}}}',
        shown: {
          state: { reported: JSON.parse('{"__proto__":{"a":1},"constructor":2}') },
          metadata: {
            reported: JSON.parse(`{"__proto__":{"a":{"timestamp":${T}}},"constructor":{"timestamp":${T}}}`),
          },
        },
      },
    ],
  },
];

function difference(rule: string, source: string, state: JsonObject, delta: JsonObject | undefined): Case {
  const wanted = delta === undefined ? state : { ...state, delta };
  return { rule, source, steps: [{ update: { state }, shown: { state: wanted } }] };
}

const hashes = { desired: { s3: { url: 'u', hash: 'new' } }, reported: { s3: { url: 'u', hash: 'old' } } };
const nestedPair = {
  desired: { a: { b: { c: 1, d: 1 }, e: 1 } },
  reported: { a: { b: { c: 1, d: 2 }, e: 1 } },
};

/** What of desired is in delta. */
export const deltas: Case[] = [
  difference(
    'a nested object that only lacks what reported has besides is not in delta',
    'recorded from AWS',
    { desired: { a: { b: 1 } }, reported: { a: { b: 1, c: 2 } } },
    undefined,
  ),
  difference(
    'a key only in desired is in delta whole',
    'recorded from AWS',
    { desired: { a: { b: 1 } }, reported: { c: 1 } },
    { a: { b: 1 } },
  ),
  difference(
    'a key only in reported is not in delta',
    'recorded from AWS',
    { desired: { a: 1 }, reported: { a: 1, b: 2 } },
    undefined,
  ),
  difference('without desired there is no delta', 'recorded from AWS', { reported: { a: 1 } }, undefined),
  difference(
    'without reported delta is all of desired',
    'recorded from AWS',
    { desired: { a: 1, b: {} } },
    { a: 1, b: {} },
  ),
  difference('of nested objects only the differing leaves are in delta', 'recorded from AWS', nestedPair, {
    a: { b: { d: 1 } },
  }),
  difference('a new upload of the same key differs in its hash only', 'recorded from AWS', hashes, {
    s3: { hash: 'new' },
  }),
  difference(
    'arrays compare as values',
    'recorded from AWS',
    { desired: { a: [1, { b: 2 }] }, reported: { a: [1, { b: 2 }] } },
    undefined,
  ),
  difference(
    'an array that differs is in delta whole',
    'recorded from AWS',
    { desired: { a: [1, 2] }, reported: { a: [2, 1] } },
    { a: [1, 2] },
  ),
  difference(
    'of another type, delta has the desired value',
    'Greengrass shadow manager',
    { desired: { a: { b: 1 } }, reported: { a: 1 } },
    { a: { b: 1 } },
  ),
  difference(
    'a truth value is no number',
    'AWS developer guide',
    { desired: { a: true }, reported: { a: 1 } },
    { a: true },
  ),
  {
    rule: 'numbers compare by value',
    source: 'Greengrass shadow manager',
    steps: [{ update: '{"state":{"desired":{"a":1.0},"reported":{"a":1}}}', delta: null }],
  },
  {
    rule: 'a key that is removed from reported is in delta again',
    source: 'AWS developer guide',
    steps: [
      { update: inSync, delta: null },
      {
        update: { state: { reported: { a: null } } },
        delta: { version: 2, timestamp: T + 1, state: { a: 1 }, metadata: { a: at(T) } },
      },
    ],
  },
];
