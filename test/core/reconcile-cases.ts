/** Every combination of what is desired of one file, what is installed and what has failed, with all that follows. */
import { expect } from 'bun:test';
import { type Desired, parseDesired } from '../../src/core/artifact.ts';
import type { Retry } from '../../src/core/errors.ts';
import { type JsonObject, type JsonValue, jsonEqual } from '../../src/core/json.ts';
import {
  decide,
  type Failure,
  type Installed,
  type Outcome,
  record,
  type Snapshot,
} from '../../src/core/reconcile.ts';
import { type Activity, reportOf } from '../../src/core/report.ts';

export const nowMs = 10_000_000;
export const hourMs = 3_600_000;
const shaA = 'a'.repeat(64);
const shaB = 'b'.repeat(64);
const shaOther = 'c'.repeat(64);
export const valueA: JsonObject = { url: 's3://bucket/a', hash: shaA };
const valueB: JsonObject = { url: 's3://bucket/b', hash: shaB };
/** Asks for the bytes of A, and differs from its value in an unknown key only. */
const valueA2: JsonObject = { ...valueA, note: 'x' };
export const valueOther: JsonObject = { url: 's3://bucket/old', hash: shaOther };

export const desireds: Desired[] = [
  { kind: 'unknown' },
  { kind: 'absent', noShadow: false },
  { kind: 'absent', noShadow: true },
  parseDesired({ url: 'http://bucket/a', hash: shaA }, {}),
  parseDesired('garbage', {}),
  parseDesired(valueA, { allow: ['s3://elsewhere/'] }),
  parseDesired(valueA, {}),
  parseDesired(valueA2, {}),
  parseDesired(valueB, {}),
];
const installeds: Array<Installed | undefined> = [
  undefined,
  { sha256: shaA },
  { sha256: shaA, value: valueA },
  { sha256: shaOther },
  { sha256: shaOther, value: valueOther },
];
const retries = ['soon', 'slow', 'never'] as const;
/** Retry class and when it is due; a failure that is never tried again has no time. */
const dues: Array<[Retry, number | undefined]> = [
  ['soon', nowMs - 1],
  ['soon', nowMs],
  ['soon', nowMs + 1],
  ['slow', nowMs - 1],
  ['slow', nowMs],
  ['slow', nowMs + hourMs],
  ['never', undefined],
];
const attempts = [1, 60];
export const codeOf = {
  soon: 'NETWORK',
  slow: 'S3_DENIED',
  never: 'HOOK_FAILED',
  exit: 'CONFIG_INVALID',
} as const;

export function desiredValue(desired: Desired): JsonValue {
  return 'value' in desired ? desired.value : valueA;
}

/** None, and each class and time as an answer to the present desired value and to an earlier one. */
function failuresOf(desired: Desired): Array<Failure | undefined> {
  const failures: Array<Failure | undefined> = [undefined];
  for (const value of [desiredValue(desired), valueOther]) {
    for (const [retry, retryAtMs] of dues) {
      for (const attempt of attempts) {
        const failure: Failure = { value, code: codeOf[retry], message: 'why', hint: 'do', retry, attempt };
        failures.push(retryAtMs === undefined ? failure : { ...failure, retryAtMs });
      }
    }
  }
  return failures;
}

export const snapshots: Snapshot[] = desireds.flatMap((desired) =>
  installeds.flatMap((installed) =>
    failuresOf(desired).map((failure) => ({
      desired,
      ...(installed === undefined ? {} : { installed }),
      ...(failure === undefined ? {} : { failure }),
    })),
  ),
);

function outcomesOf({ desired }: Snapshot): Outcome[] {
  const outcomes: Outcome[] = [
    { kind: 'waited' },
    { kind: 'superseded' },
    { kind: 'installed', value: valueA, installed: { sha256: shaA, value: valueA } },
    { kind: 'installed', value: valueB, installed: { sha256: shaB, value: valueB } },
  ];
  for (const value of [desiredValue(desired), valueOther]) {
    for (const retry of retries) {
      for (const gained of [false, true]) {
        const error = { code: codeOf[retry], message: 'new reason', hint: 'new hint', retry };
        outcomes.push({ kind: 'failed', value, error, gained });
      }
    }
  }
  return outcomes;
}

export interface Turn {
  before: Snapshot;
  outcome: Outcome;
  random: number;
  after: Snapshot;
}
export const turns: Turn[] = snapshots.flatMap((before) =>
  outcomesOf(before).flatMap((outcome) =>
    [0, 0.5, 0.999_999].map((random) => ({
      before,
      outcome,
      random,
      after: record(before, outcome, nowMs, random),
    })),
  ),
);

export interface Telling {
  snapshot: Snapshot;
  activity: Activity;
  last: JsonObject | null | undefined;
  report: ReturnType<typeof reportOf>;
}
const activities: Activity[] = ['idle', 'stopping', { bytes: 5, size: 10 }];
const lasts: Array<JsonObject | null | undefined> = [
  undefined,
  null,
  { status: 'current', hash: shaOther },
  { status: 'downloading', hash: shaOther, bytes: 1, size: 2 },
  { status: 'waiting', hash: shaOther, code: 'NETWORK', attempt: 1, retryAt: '2026-11-23T10:00:00Z' },
  { status: 'failed', hash: shaOther, code: 'HOOK_FAILED', attempt: 1 },
  { status: 'failed', hash: shaOther, code: 'S3_DENIED', attempt: 1, retryAt: '2026-11-23T10:00:00Z' },
];
export const tellings: Telling[] = snapshots.flatMap((snapshot) =>
  activities.flatMap((activity) =>
    lasts.map((last) => ({ snapshot, activity, last, report: reportOf(snapshot, activity, last) })),
  ),
);

/** Holds a sentence over all cases that `where` picks; there must be some. */
export function each<T>(cases: readonly T[], where: (one: T) => boolean, holds: (one: T) => boolean): void {
  const picked = cases.filter(where);
  expect(picked.length).toBeGreaterThan(0);
  const offenders = picked.filter((one) => !holds(one));
  expect(offenders.slice(0, 3)).toEqual([]);
}
export const always = () => true;

export const isMissing = ({ desired, installed }: Snapshot) =>
  desired.kind === 'artifact' && installed?.sha256 !== desired.artifact.sha256;
export const isInstalled = ({ desired, installed }: Snapshot) =>
  desired.kind === 'artifact' && installed?.sha256 === desired.artifact.sha256;
/** … and no hook has refused it. */
export const isTaken = (snapshot: Snapshot) =>
  isInstalled(snapshot) && answering(snapshot)?.code !== 'HOOK_FAILED';
/** The failure that holds up the present desired value. */
export const answering = ({ desired, failure }: Snapshot) =>
  desired.kind === 'artifact' && failure !== undefined && jsonEqual(failure.value, desired.value)
    ? failure
    : undefined;
export const isInstall = (snapshot: Snapshot) => decide(snapshot, nowMs).do === 'install';
export const untilOf = (snapshot: Snapshot) => {
  const action = decide(snapshot, nowMs);
  return action.do === 'wait' ? action.untilMs : undefined;
};
