import type { JsonValue } from '../../src/core/json.ts';
import { at, type Case, T } from './shadow-cases.ts';

const longToken = 'x'.repeat(65);
const big = 'x'.repeat(8000);
const nested = (levels: number): JsonValue => (levels === 1 ? 1 : { k: nested(levels - 1) });

function invalid(message: string, ...requests: Array<[string, JsonValue | Uint8Array]>): Case[] {
  return requests.map(([what, update]) => ({
    rule: `an update with ${what} is rejected`,
    source: 'AWS developer guide',
    steps: [{ update, rejected: { code: 400, message }, shown: null }],
  }));
}

/** What the service accepts and what it says to the rest. */
export const requests: Case[] = [
  {
    rule: 'get of a shadow that is not there is rejected with the thing name and the token',
    source: 'recorded from AWS',
    steps: [
      { get: '', rejected: { code: 404, message: "No shadow exists with name: 'thing'" } },
      {
        get: { clientToken: 't' },
        rejected: { code: 404, message: "No shadow exists with name: 'thing'", clientToken: 't' },
      },
      {
        get: '',
        named: 'files',
        rejected: { code: 404, message: "No shadow exists with name: 'thing~files'" },
      },
    ],
  },
  {
    rule: 'get and delete ignore all of the payload but the client token',
    source: 'recorded from AWS',
    steps: [
      { update: { state: {} } },
      { get: 'no json', accepted: { state: {}, metadata: {}, version: 1, timestamp: T + 1 } },
      {
        get: { x: 1, clientToken: 't' },
        accepted: { state: {}, metadata: {}, version: 1, ...at(T + 2), clientToken: 't' },
      },
      { get: { clientToken: longToken }, rejected: { code: 400, message: 'Invalid clientToken' } },
      {
        delete: { state: 1, clientToken: 't' },
        accepted: { version: 1, timestamp: T + 4, clientToken: 't' },
        shown: null,
      },
    ],
  },
  {
    rule: 'other top-level members of an update are ignored',
    source: 'AWS developer guide',
    steps: [
      {
        update: { state: { desired: { a: 1 } }, other: [null] },
        shown: { state: { desired: { a: 1 }, delta: { a: 1 } } },
      },
    ],
  },
  ...invalid('Invalid JSON', ['no JSON', '{'], ['no object', '[]'], ['an empty payload', '']),
  ...invalid('Invalid JSON', ['null in an array', { state: { desired: { a: [1, null] } } }]),
  ...invalid('Invalid JSON', [
    'null in an array inside an array',
    { state: { reported: { a: [{ b: [null] }] } } },
  ]),
  ...invalid('Missing required node: state', ['no state', { version: 1 }]),
  ...invalid(
    'State node must be an object',
    ['text as state', { state: 'x' }],
    ['an array as state', { state: [] }],
  ),
  ...invalid('Desired node must be an object', ['a number as desired', { state: { desired: 1 } }]),
  ...invalid('Reported node must be an object', ['an array as reported', { state: { reported: [] } }]),
  ...invalid('State contains an invalid node', ['a delta section', { state: { delta: {} } }]),
  ...invalid('State contains an invalid node', [
    'a section beside desired',
    { state: { desired: {}, x: {} } },
  ]),
  ...invalid('Invalid version', ['text as version', { state: {}, version: 'AWS developer guide' }]),
  ...invalid('Invalid version', ['a fraction as version', { state: {}, version: 1.5 }]),
  ...invalid('Invalid version', ['a version of a shadow that is not there', { state: {}, version: 2 }]),
  ...invalid('Invalid clientToken', ['a token of 65 bytes', { state: {}, clientToken: longToken }]),
  ...invalid('Invalid clientToken', ['a number as token', { state: {}, clientToken: 1 }]),
  ...invalid('JSON contains too many levels of nesting; maximum is 6', [
    'nine levels',
    { state: { desired: nested(9) } },
  ]),
  {
    rule: 'an update with ten thousand levels is rejected and harms nobody',
    source: 'AWS developer guide',
    steps: [
      {
        update: `{"state":{"desired":${'{"k":'.repeat(10_000)}1${'}'.repeat(10_000)}}}`,
        rejected: { code: 400, message: 'JSON contains too many levels of nesting; maximum is 6' },
      },
    ],
  },
  {
    rule: 'an update with eight levels is accepted',
    source: 'AWS developer guide',
    steps: [{ update: { state: { reported: nested(8) } }, shown: { version: 1 } }],
  },
  {
    rule: 'an update that is not UTF-8 is rejected',
    source: 'AWS developer guide',
    steps: [
      {
        update: Uint8Array.of(0x7b, 0xff, 0x7d),
        rejected: { code: 415, message: 'Unsupported documented encoding; supported encoding is UTF-8' },
      },
    ],
  },
  {
    rule: 'desired and reported together may hold 8192 bytes, metadata not counted',
    source: 'AWS developer guide',
    steps: [
      { update: { state: { desired: { a: big } } } },
      { update: { state: { reported: { a: 'x'.repeat(8192 - 8000 - 16) } } }, shown: { version: 2 } },
      {
        update: { state: { reported: { a: 'x'.repeat(8192 - 8000 - 15) } }, clientToken: 't' },
        rejected: { code: 413, message: 'The payload exceeds the maximum size allowed', clientToken: 't' },
        shown: { version: 2 },
      },
    ],
  },
  {
    rule: 'a rejection echoes the client token',
    source: 'recorded from AWS',
    steps: [
      {
        update: { clientToken: 't' },
        rejected: { code: 400, message: 'Missing required node: state', clientToken: 't' },
      },
    ],
  },
  {
    rule: 'version must be the current one, else it conflicts and changes nothing',
    source: 'recorded from AWS',
    steps: [
      { update: { state: { desired: { a: 1 } }, version: 1 }, shown: { version: 1 } },
      { update: { state: { desired: { a: 2 } }, version: 1 }, shown: { version: 2 } },
      {
        update: { state: { desired: { a: 3 } }, version: 1, clientToken: 't' },
        rejected: { code: 409, message: 'Version conflict', clientToken: 't' },
        shown: { version: 2 },
      },
      {
        update: { state: { desired: { a: 3 } }, version: 3 },
        rejected: { code: 409, message: 'Version conflict' },
      },
    ],
  },
];

/** Deleting, and what is left of a deleted shadow. */
export const deletes: Case[] = [
  {
    rule: 'delete answers with the version of what was deleted and publishes no delta',
    source: 'AWS developer guide',
    steps: [
      { update: { state: { desired: { a: 1 } } } },
      { update: { state: { desired: { a: 2 } } } },
      {
        delete: { clientToken: 't' },
        accepted: { version: 2, timestamp: T + 2, clientToken: 't' },
        delta: null,
        shown: null,
      },
    ],
  },
  {
    rule: 'delete of a shadow that is not there is rejected',
    source: 'AWS developer guide',
    steps: [
      { delete: '', rejected: { code: 404, message: "No shadow exists with name: 'thing'" } },
      { update: { state: {} } },
      { delete: '' },
      { delete: '', rejected: { code: 404, message: "No shadow exists with name: 'thing'" } },
    ],
  },
  {
    rule: 'made again within 48 hours, a shadow goes on with its versions: the delete counts as one',
    source: 'AWS developer guide',
    steps: [
      { update: { state: { desired: { a: 1 } } } },
      { delete: '' },
      { update: { state: { desired: { b: 1 } } }, afterHours: 47, shown: { version: 3 } },
    ],
  },
  {
    rule: 'made again after 48 hours, a shadow starts with version 1',
    source: 'AWS developer guide',
    steps: [
      { update: { state: { desired: { a: 1 } } } },
      { delete: '' },
      { update: { state: { desired: { b: 1 } } }, afterHours: 48, shown: { version: 1 } },
    ],
  },
  {
    rule: 'named shadows are apart from the classic one',
    source: 'AWS developer guide',
    steps: [
      { update: { state: { desired: { a: 1 } } }, shown: { version: 1 } },
      {
        update: { state: { desired: { a: 2 } } },
        named: 'files',
        shown: { version: 1, state: { desired: { a: 2 }, delta: { a: 2 } } },
      },
      { delete: '', shown: null },
      { get: '', named: 'files', shown: { version: 1 } },
    ],
  },
];
