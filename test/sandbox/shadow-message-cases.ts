import { at, type Case, T } from './shadow-cases.ts';

/** What is published, and what get shows. */
export const published: Case[] = [
  {
    rule: 'metadata mirrors the state; only what an update names gets a new time',
    source: 'recorded from AWS',
    steps: [
      {
        update: { state: { reported: { Color: 'green', l: [1, { a: 2 }], o: { a: 1 } } } },
        shown: { metadata: { reported: { Color: at(T), l: [at(T), { a: at(T) }], o: { a: at(T) } } } },
      },
      {
        update: { state: { reported: { Status: 'Good', o: { a: 1 } } } },
        shown: {
          metadata: {
            reported: { Color: at(T), l: [at(T), { a: at(T) }], o: { a: at(T + 1) }, Status: at(T + 1) },
          },
        },
      },
    ],
  },
  {
    rule: 'accepted echoes the sections of the request only',
    source: 'recorded from AWS',
    steps: [
      { update: { state: { desired: { Color: 'red' } } } },
      {
        update: { state: { reported: { Color: 'green' } }, clientToken: 't' },
        accepted: {
          state: { reported: { Color: 'green' } },
          metadata: { reported: { Color: at(T + 1) } },
          version: 2,
          timestamp: T + 1,
          clientToken: 't',
        },
      },
    ],
  },
  {
    rule: 'accepted shows a deleted key as null with a time',
    source: 'Greengrass shadow manager',
    steps: [
      { update: { state: { reported: { a: 1, b: 1 } } } },
      {
        update: { state: { reported: { a: null } } },
        accepted: {
          state: { reported: { a: null } },
          metadata: { reported: { a: at(T + 1) } },
          version: 2,
          timestamp: T + 1,
        },
      },
    ],
  },
  {
    rule: 'documents has previous and current, previous null at first, never delta',
    source: 'recorded from AWS',
    steps: [
      {
        update: { state: { desired: { a: 1 } }, clientToken: 't' },
        documents: {
          previous: null,
          current: { state: { desired: { a: 1 } }, metadata: { desired: { a: at(T) } }, version: 1 },
          timestamp: T,
          clientToken: 't',
        },
      },
      {
        update: { state: { reported: { a: 1 } } },
        documents: {
          previous: { state: { desired: { a: 1 } }, metadata: { desired: { a: at(T) } }, version: 1 },
          current: {
            state: { desired: { a: 1 }, reported: { a: 1 } },
            metadata: { desired: { a: at(T) }, reported: { a: at(T + 1) } },
            version: 2,
          },
          timestamp: T + 1,
        },
      },
    ],
  },
  {
    rule: 'delta holds all differences, with times of desired and the token of the updater',
    source: 'recorded from AWS',
    steps: [
      { update: { state: { desired: { a: 1, b: 1 } } } },
      {
        update: { state: { desired: { b: 2 } }, clientToken: 't' },
        delta: {
          version: 2,
          timestamp: T + 1,
          state: { a: 1, b: 2 },
          metadata: { a: at(T), b: at(T + 1) },
          clientToken: 't',
        },
      },
    ],
  },
  {
    rule: 'a reported update that leaves a difference publishes delta',
    source: 'recorded from AWS',
    steps: [
      { update: { state: { desired: { a: 1 } } } },
      {
        update: { state: { reported: { progress: 5 } } },
        delta: { version: 2, timestamp: T + 1, state: { a: 1 }, metadata: { a: at(T) } },
      },
    ],
  },
  {
    rule: 'an identical desired while out of sync bumps the version and publishes delta again',
    source: 'Greengrass shadow manager',
    steps: [
      { update: { state: { desired: { a: 1 } } } },
      {
        update: { state: { desired: { a: 1 } } },
        delta: { version: 2, timestamp: T + 1, state: { a: 1 }, metadata: { a: at(T + 1) } },
      },
    ],
  },
  {
    rule: 'no delta when in sync, nor when a desired key is deleted',
    source: 'recorded from AWS',
    steps: [
      { update: { state: { desired: { a: 1, b: 1 }, reported: { a: 1, b: 1 } } }, delta: null },
      { update: { state: { desired: { b: null } } }, delta: null, shown: { version: 2 } },
      { update: { state: { desired: { a: 1 } } }, delta: null, shown: { version: 3 } },
    ],
  },
  {
    rule: 'deleting a desired key publishes the differences that are left',
    source: 'AWS developer guide',
    steps: [
      { update: { state: { desired: { a: 1, b: 1 } } } },
      {
        update: { state: { desired: { b: null } } },
        delta: { version: 2, timestamp: T + 1, state: { a: 1 }, metadata: { a: at(T) } },
      },
    ],
  },
  {
    rule: 'a rejected update publishes nothing',
    source: 'AWS developer guide',
    steps: [
      { update: { state: 1 }, rejected: { code: 400, message: 'State node must be an object' }, delta: null },
    ],
  },
  {
    rule: 'get shows delta only when there is one, no metadata of it, and the time of the answer',
    source: 'recorded from AWS',
    steps: [
      { update: { state: { desired: { a: 1 } } } },
      {
        get: { clientToken: 't' },
        accepted: {
          state: { desired: { a: 1 }, delta: { a: 1 } },
          metadata: { desired: { a: at(T) } },
          version: 1,
          timestamp: T + 1,
          clientToken: 't',
        },
      },
      {
        update: { state: { reported: { a: 1 } } },
        shown: { state: { desired: { a: 1 }, reported: { a: 1 } } },
      },
    ],
  },
];
