/** The decisions about one file, enumerated over every combination of what is desired, installed and failed. */
import { describe, expect, test } from 'bun:test';
import { type Desired, parseDesired } from '../../src/core/artifact.ts';
import { backoffMs, slow, soon } from '../../src/core/backoff.ts';
import type { Retry } from '../../src/core/errors.ts';
import { type JsonObject, type JsonValue, jsonEqual } from '../../src/core/json.ts';
import {
  type Activity,
  decide,
  type Failure,
  type FileStatus,
  type Installed,
  type Outcome,
  reconnected,
  record,
  reportOf,
  type Snapshot,
  settled,
} from '../../src/core/reconcile.ts';

const nowMs = 10_000_000;
const hourMs = 3_600_000;
const shaA = 'a'.repeat(64);
const shaB = 'b'.repeat(64);
const shaOther = 'c'.repeat(64);
const valueA: JsonObject = { url: 's3://bucket/a', hash: shaA };
const valueB: JsonObject = { url: 's3://bucket/b', hash: shaB };
/** Asks for the bytes of A, and differs from its value in an unknown key only. */
const valueA2: JsonObject = { ...valueA, note: 'x' };
const valueOther: JsonObject = { url: 's3://bucket/old', hash: shaOther };

const desireds: Desired[] = [
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
const codeOf = { soon: 'NETWORK', slow: 'S3_DENIED', never: 'HOOK_FAILED', exit: 'CONFIG_INVALID' } as const;

function valueOf(desired: Desired): JsonValue {
  return 'value' in desired ? desired.value : valueA;
}

/** None, and each class and time as an answer to the present desired value and to an earlier one. */
function failuresOf(desired: Desired): Array<Failure | undefined> {
  const failures: Array<Failure | undefined> = [undefined];
  for (const value of [valueOf(desired), valueOther]) {
    for (const [retry, retryAtMs] of dues) {
      for (const attempt of attempts) {
        const failure: Failure = { value, code: codeOf[retry], message: 'why', hint: 'do', retry, attempt };
        failures.push(retryAtMs === undefined ? failure : { ...failure, retryAtMs });
      }
    }
  }
  return failures;
}

const snapshots: Snapshot[] = desireds.flatMap((desired) =>
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
    { kind: 'installed', installed: { sha256: shaA, value: valueA } },
    { kind: 'installed', installed: { sha256: shaB, value: valueB } },
  ];
  for (const value of [valueOf(desired), valueOther]) {
    for (const retry of retries) {
      for (const gained of [false, true]) {
        const error = { code: codeOf[retry], message: 'new reason', hint: 'new hint', retry };
        outcomes.push({ kind: 'failed', value, error, gained });
      }
    }
  }
  return outcomes;
}

interface Turn {
  before: Snapshot;
  outcome: Outcome;
  random: number;
  after: Snapshot;
}
const turns: Turn[] = snapshots.flatMap((before) =>
  outcomesOf(before).flatMap((outcome) =>
    [0, 0.5, 0.999_999].map((random) => ({
      before,
      outcome,
      random,
      after: record(before, outcome, nowMs, random),
    })),
  ),
);

interface Telling {
  snapshot: Snapshot;
  activity: Activity;
  last: FileStatus | null | undefined;
  report: ReturnType<typeof reportOf>;
}
const activities: Activity[] = ['idle', 'stopping', { bytes: 5, size: 10 }];
const lasts: Array<FileStatus | null | undefined> = [
  undefined,
  null,
  { status: 'current', hash: shaOther },
  { status: 'downloading', hash: shaOther, bytes: 1, size: 2 },
  { status: 'waiting', hash: shaOther, code: 'NETWORK', attempt: 1, retryAtMs: nowMs },
  { status: 'failed', hash: shaOther, code: 'S3_DENIED', attempt: 1 },
];
const tellings: Telling[] = snapshots.flatMap((snapshot) =>
  activities.flatMap((activity) =>
    lasts.map((last) => ({ snapshot, activity, last, report: reportOf(snapshot, activity, last) })),
  ),
);

/** Holds a sentence over all cases that `where` picks; there must be some. */
function each<T>(cases: readonly T[], where: (one: T) => boolean, holds: (one: T) => boolean): void {
  const picked = cases.filter(where);
  expect(picked.length).toBeGreaterThan(0);
  const offenders = picked.filter((one) => !holds(one));
  expect(offenders.slice(0, 3)).toEqual([]);
}
const always = () => true;

const isMissing = ({ desired, installed }: Snapshot) =>
  desired.kind === 'artifact' && installed?.sha256 !== desired.artifact.sha256;
const isInstalled = ({ desired, installed }: Snapshot) =>
  desired.kind === 'artifact' && installed?.sha256 === desired.artifact.sha256;
/** The failure that holds up the present desired value. */
const answering = ({ desired, failure }: Snapshot) =>
  desired.kind === 'artifact' && failure !== undefined && jsonEqual(failure.value, desired.value)
    ? failure
    : undefined;
const isInstall = (snapshot: Snapshot) => decide(snapshot, nowMs).do === 'install';
const untilOf = (snapshot: Snapshot) => {
  const action = decide(snapshot, nowMs);
  return action.do === 'wait' ? action.untilMs : undefined;
};

test('every combination is there', () => {
  expect(desireds.map(({ kind }) => kind).join(' ')).toBe(
    'unknown absent absent refused refused refused artifact artifact artifact',
  );
  expect(desireds.flatMap((desired) => (desired.kind === 'refused' ? [desired.code] : []))).toEqual([
    'DESIRED_INVALID',
    'DESIRED_INVALID',
    'NOT_ALLOWED',
  ]);
  // 9 desired values x 5 installed x (1 + 2 values x 7 classes and times x 2 attempts)
  expect(snapshots.length).toBe(9 * 5 * 29);
  // 4 + 2 values x 3 classes x gained or not, at 3 random numbers
  expect(turns.length).toBe(1305 * 16 * 3);
  // 3 activities, after 6 statuses
  expect(tellings.length).toBe(1305 * 3 * 6);
  expect([snapshots.length, turns.length, tellings.length]).toEqual([1_305, 62_640, 23_490]);
});

describe('decide()', () => {
  test('installs only what is desired and not installed', () => {
    each(snapshots, isInstall, isMissing);
  });

  test('installs the artifact that is desired, for the value that desires it', () => {
    each(snapshots, isInstall, (snapshot) => {
      const action = decide(snapshot, nowMs);
      if (action.do !== 'install' || snapshot.desired.kind !== 'artifact') return false;
      const { artifact, value } = snapshot.desired;
      return action.artifact === artifact && action.value === value;
    });
  });

  test('installs nothing that is refused, absent or not known yet, and waits for a change', () => {
    each(
      snapshots,
      ({ desired }) => desired.kind !== 'artifact',
      (snapshot) => !isInstall(snapshot) && untilOf(snapshot) === undefined,
    );
  });

  test('waits for a change once the bytes are there, whatever has failed and whichever value brought them', () => {
    each(snapshots, isInstalled, (snapshot) => !isInstall(snapshot) && untilOf(snapshot) === undefined);
  });

  test('installs at once what is missing and has not failed', () => {
    each(snapshots, (snapshot) => isMissing(snapshot) && answering(snapshot) === undefined, isInstall);
  });

  test('lets a failure of another desired value hold up nothing', () => {
    each(
      snapshots,
      (snapshot) =>
        isMissing(snapshot) &&
        snapshot.failure !== undefined &&
        jsonEqual(snapshot.failure.value, valueOther),
      isInstall,
    );
  });

  test('waits until the time of a retry that is not due', () => {
    each(
      snapshots,
      (snapshot) => isMissing(snapshot) && (answering(snapshot)?.retryAtMs ?? 0) > nowMs,
      (snapshot) => !isInstall(snapshot) && untilOf(snapshot) === answering(snapshot)?.retryAtMs,
    );
  });

  test('installs again when the retry is due, to the millisecond', () => {
    each(
      snapshots,
      (snapshot) =>
        isMissing(snapshot) && (answering(snapshot)?.retryAtMs ?? Number.POSITIVE_INFINITY) <= nowMs,
      isInstall,
    );
  });

  test('waits without end after a failure that is never tried again', () => {
    each(
      snapshots,
      (snapshot) => isMissing(snapshot) && answering(snapshot)?.retry === 'never',
      (snapshot) => !isInstall(snapshot) && untilOf(snapshot) === undefined,
    );
  });

  test('never waits until a time that has passed', () => {
    each(
      snapshots,
      (snapshot) => untilOf(snapshot) !== undefined,
      (snapshot) => (untilOf(snapshot) ?? 0) > nowMs,
    );
  });

  test('ends every wait for a new desired value, even one that differs in an unknown key only', () => {
    each(
      snapshots,
      (snapshot) => isMissing(snapshot),
      ({ desired, ...rest }) => {
        if (desired.kind !== 'artifact') return false;
        const news = { ...desired.value, another: { key: 1 } };
        return isInstall({ ...rest, desired: parseDesired(news, {}) });
      },
    );
  });

  test('takes the same value with its keys in another order for the same', () => {
    each(
      snapshots,
      (snapshot) => answering(snapshot) !== undefined,
      ({ desired, ...rest }) => {
        const turned = Object.fromEntries(Object.entries(valueOf(desired) ?? {}).reverse());
        const again = { ...rest, desired: parseDesired(turned, {}) };
        return Bun.deepEquals(decide(again, nowMs), decide({ ...rest, desired }, nowMs), true);
      },
    );
  });
});

describe('record()', () => {
  const isFailed = ({ outcome }: Turn) => outcome.kind === 'failed';
  const retryOf = ({ outcome }: Turn) => (outcome.kind === 'failed' ? outcome.error.retry : undefined);
  const isOfNow = ({ before, outcome }: Turn) =>
    outcome.kind === 'failed' &&
    before.desired.kind === 'artifact' &&
    jsonEqual(outcome.value, before.desired.value);

  test('never changes what is desired', () => {
    each(turns, always, ({ before, after }) => after.desired === before.desired);
  });

  test('changes nothing after a wait or a superseded attempt', () => {
    each(
      turns,
      ({ outcome }) => outcome.kind === 'waited' || outcome.kind === 'superseded',
      ({ before, after }) => Bun.deepEquals(after, before, true),
    );
  });

  test('forgets the failure after an install, and holds what was installed', () => {
    each(
      turns,
      ({ outcome }) => outcome.kind === 'installed',
      ({ outcome, after }) =>
        outcome.kind === 'installed' && after.installed === outcome.installed && !('failure' in after),
    );
  });

  test('waits for a change after the desired artifact was installed', () => {
    each(
      turns,
      ({ outcome, after }) => outcome.kind === 'installed' && isInstalled(after),
      ({ after }) => !isInstall(after) && untilOf(after) === undefined && settled(after) === 'done',
    );
  });

  test('a failure changes nothing of what is installed', () => {
    each(turns, isFailed, ({ before, after }) => after.installed === before.installed);
  });

  test('a failure is held as it was told, with the value that it answers', () => {
    each(turns, isFailed, ({ outcome, after: { failure } }) => {
      if (outcome.kind !== 'failed' || failure === undefined) return false;
      const { code, message, hint, retry } = outcome.error;
      const told = failure.code === code && failure.message === message && failure.hint === hint;
      return told && failure.retry === retry && jsonEqual(failure.value, outcome.value);
    });
  });

  test('a failure always ends in a wait', () => {
    each(
      turns,
      (turn) => isOfNow(turn),
      ({ after }) => !isInstall(after),
    );
  });

  test('a failure of class soon or slow ends in a wait until a time', () => {
    each(
      turns,
      (turn) => isOfNow(turn) && retryOf(turn) !== 'never' && isMissing(turn.before),
      ({ after }) => untilOf(after) !== undefined && untilOf(after) === after.failure?.retryAtMs,
    );
  });

  test('a failure of class never ends in a wait without end', () => {
    each(
      turns,
      (turn) => retryOf(turn) === 'never',
      ({ after }) => after.failure !== undefined && !('retryAtMs' in after.failure),
    );
    each(
      turns,
      (turn) => isOfNow(turn) && retryOf(turn) === 'never' && isMissing(turn.before),
      ({ after }) => !isInstall(after) && untilOf(after) === undefined,
    );
  });

  test('a failure of a value that is no longer desired holds up nothing', () => {
    each(
      turns,
      (turn) => isFailed(turn) && !isOfNow(turn) && isMissing(turn.before),
      ({ after }) => isInstall(after),
    );
  });

  test('waits are within half of the first delay and one hour', () => {
    each(
      turns,
      (turn) => retryOf(turn) === 'soon' || retryOf(turn) === 'slow',
      (turn) => {
        const waitMs = (turn.after.failure?.retryAtMs ?? Number.NaN) - nowMs;
        const { firstMs } = retryOf(turn) === 'soon' ? soon : slow;
        return waitMs >= firstMs / 2 && waitMs <= hourMs;
      },
    );
  });

  test('waits follow the backoff of their class and attempt', () => {
    each(
      turns,
      (turn) => retryOf(turn) === 'soon' || retryOf(turn) === 'slow',
      (turn) => {
        const { failure } = turn.after;
        if (failure === undefined) return false;
        const range = retryOf(turn) === 'soon' ? soon : slow;
        return failure.retryAtMs === nowMs + backoffMs(range, failure.attempt, turn.random);
      },
    );
  });

  test('attempts that fail in a row are counted, as long as they answer one value', () => {
    each(
      turns,
      ({ before, outcome }) =>
        outcome.kind === 'failed' &&
        !outcome.gained &&
        before.failure !== undefined &&
        jsonEqual(before.failure.value, outcome.value),
      ({ before, after }) => after.failure?.attempt === (before.failure?.attempt ?? 0) + 1,
    );
  });

  test('the first failure of a value is attempt 1', () => {
    each(
      turns,
      ({ before, outcome }) =>
        outcome.kind === 'failed' &&
        (before.failure === undefined || !jsonEqual(before.failure.value, outcome.value)),
      ({ after }) => after.failure?.attempt === 1,
    );
  });

  test('bytes gained reset the count of attempts, so that a link that is cut often never waits long', () => {
    each(
      turns,
      ({ outcome }) => outcome.kind === 'failed' && outcome.gained,
      ({ after }) => after.failure?.attempt === 1,
    );
  });

  test('a hundred failures in a row wait longer and longer, up to an hour', () => {
    for (const retry of ['soon', 'slow'] as const) {
      const error = { code: codeOf[retry], message: 'why', retry };
      let snapshot: Snapshot = { desired: parseDesired(valueA, {}) };
      let lastMs = 0;
      for (let attempt = 1; attempt <= 100; attempt += 1) {
        snapshot = record(
          snapshot,
          { kind: 'failed', value: valueA, error, gained: false },
          nowMs,
          0.999_999,
        );
        const waitMs = (untilOf(snapshot) ?? 0) - nowMs;
        expect(snapshot.failure?.attempt).toBe(attempt);
        expect(waitMs).toBeGreaterThanOrEqual(lastMs);
        expect(waitMs).toBeLessThanOrEqual(hourMs);
        lastMs = waitMs;
      }
      expect(lastMs).toBeGreaterThan(hourMs * 0.99);
    }
  });
});

describe('reconnected()', () => {
  test('ends the wait of class soon', () => {
    each(
      snapshots,
      (snapshot) => isMissing(snapshot) && answering(snapshot)?.retry === 'soon',
      (snapshot) => isInstall(reconnected(snapshot, nowMs)),
    );
  });

  test('ends no other wait', () => {
    each(
      snapshots,
      ({ failure }) => failure?.retry !== 'soon',
      (snapshot) => Bun.deepEquals(reconnected(snapshot, nowMs), snapshot, true),
    );
  });

  test('changes nothing but the time of the retry', () => {
    each(snapshots, always, (snapshot) => {
      const { failure, ...rest } = reconnected(snapshot, nowMs);
      const { failure: before, ...restBefore } = snapshot;
      const { retryAtMs: _, ...kept } = failure ?? {};
      const { retryAtMs: __, ...keptBefore } = before ?? {};
      return Bun.deepEquals(rest, restBefore, true) && Bun.deepEquals(kept, keptBefore, true);
    });
  });
});

describe('settled()', () => {
  test('is done exactly where nothing is desired, or what is desired is installed', () => {
    each(
      snapshots,
      always,
      (snapshot) =>
        (settled(snapshot) === 'done') === (snapshot.desired.kind === 'absent' || isInstalled(snapshot)),
    );
  });

  test('is done only where decide() waits for a change', () => {
    each(
      snapshots,
      (snapshot) => settled(snapshot) === 'done',
      (snapshot) => !isInstall(snapshot) && untilOf(snapshot) === undefined,
    );
  });

  test('is pending only where no answer has come, decide() installs, or a retry of class soon is near', () => {
    each(
      snapshots,
      (snapshot) => settled(snapshot) === 'pending',
      (snapshot) =>
        snapshot.desired.kind === 'unknown' ||
        isInstall(snapshot) ||
        (answering(snapshot)?.retry === 'soon' && untilOf(snapshot) !== undefined),
    );
  });

  test('is pending wherever decide() installs, unless a failure of class slow ends the run first', () => {
    each(snapshots, isInstall, (snapshot) =>
      answering(snapshot)?.retry === 'slow'
        ? typeof settled(snapshot) === 'object'
        : settled(snapshot) === 'pending',
    );
  });

  test('gives the reason where the value is refused, or somebody has to mend something', () => {
    each(
      snapshots,
      (snapshot) =>
        snapshot.desired.kind === 'refused' ||
        (isMissing(snapshot) && ['slow', 'never'].includes(answering(snapshot)?.retry ?? '')),
      (snapshot) => {
        const end = settled(snapshot);
        const reason = snapshot.desired.kind === 'refused' ? snapshot.desired : answering(snapshot);
        if (typeof end !== 'object' || reason === undefined) return false;
        return end.code === reason.code && end.message === reason.message;
      },
    );
  });
});

describe('reportOf()', () => {
  const kindOf = ({ snapshot }: Telling) => snapshot.desired.kind;
  const isNoShadow = ({ snapshot: { desired } }: Telling) => desired.kind === 'absent' && desired.noShadow;
  const isQuiet = ({ report }: Telling) => report.mirror === undefined && report.status === undefined;
  const statusOf = ({ report }: Telling) => report.status?.status;
  const isProgress = ({ activity }: Telling) => typeof activity === 'object';
  const hashOf = ({ snapshot: { desired } }: Telling) =>
    desired.kind === 'artifact' ? desired.artifact.sha256 : undefined;

  test('says nothing before the shadow has answered', () => {
    each(tellings, (telling) => kindOf(telling) === 'unknown', isQuiet);
  });

  test('says current only of bytes that are on the disk, and that are desired or where no shadow is', () => {
    each(
      tellings,
      (telling) => statusOf(telling) === 'current',
      (telling) => {
        const { sha256 } = telling.snapshot.installed ?? {};
        const isTrue = sha256 !== undefined && telling.report.status?.hash === sha256;
        return isTrue && (isNoShadow(telling) || isInstalled(telling.snapshot));
      },
    );
  });

  test('mirrors exactly what it calls current', () => {
    each(
      tellings,
      always,
      (telling) => (telling.report.mirror !== undefined) === (statusOf(telling) === 'current'),
    );
  });

  test('mirrors the desired value to the last key once its bytes are there, whichever value brought them', () => {
    each(
      tellings,
      ({ snapshot }) => isInstalled(snapshot),
      (telling) =>
        statusOf(telling) === 'current' &&
        jsonEqual(telling.report.mirror, valueOf(telling.snapshot.desired)) &&
        telling.report.status?.code === undefined &&
        telling.report.status?.retryAtMs === undefined,
    );
  });

  test('tells what is installed where no shadow exists yet', () => {
    each(
      tellings,
      (telling) => isNoShadow(telling) && telling.snapshot.installed !== undefined,
      ({ snapshot: { installed }, report }) =>
        report.status?.status === 'current' &&
        report.status.hash === installed?.sha256 &&
        report.mirror?.['hash'] === installed?.sha256 &&
        (installed?.value === undefined || jsonEqual(report.mirror, installed.value)),
    );
  });

  test('an absent value changes nothing, but takes back a status that promised more', () => {
    each(
      tellings,
      (telling) =>
        kindOf(telling) === 'absent' && !(isNoShadow(telling) && telling.snapshot.installed !== undefined),
      (telling) => {
        const promised = telling.last?.status === 'downloading' || telling.last?.status === 'waiting';
        if (!promised) return isQuiet(telling);
        return telling.report.mirror === undefined && telling.report.status === null;
      },
    );
  });

  test('takes no status back where something is desired', () => {
    each(
      tellings,
      (telling) => kindOf(telling) !== 'absent',
      ({ report }) => report.status !== null,
    );
  });

  test('a refused value has failed with its problems, and mirrors nothing', () => {
    each(
      tellings,
      (telling) => kindOf(telling) === 'refused',
      ({ snapshot: { desired }, report: { mirror, status } }) =>
        desired.kind === 'refused' &&
        mirror === undefined &&
        status?.status === 'failed' &&
        status.code === desired.code &&
        status.message === desired.message &&
        status.hash === desired.sha256,
    );
  });

  test('tells the progress of a download, with the hash that it is for', () => {
    each(
      tellings,
      (telling) => isProgress(telling) && isMissing(telling.snapshot),
      (telling) => {
        const { status, hash, bytes, size } = telling.report.status ?? {};
        return status === 'downloading' && hash === hashOf(telling) && bytes === 5 && size === 10;
      },
    );
  });

  test('says downloading only while a download goes on', () => {
    each(tellings, (telling) => statusOf(telling) === 'downloading', isProgress);
  });

  test('a failure that is likely to pass is waiting, one that somebody has to mend is failed', () => {
    each(
      tellings,
      (telling) =>
        !isProgress(telling) && isMissing(telling.snapshot) && answering(telling.snapshot) !== undefined,
      (telling) =>
        statusOf(telling) === (answering(telling.snapshot)?.retry === 'soon' ? 'waiting' : 'failed'),
    );
  });

  test('a failure is told with hash, code, message, attempt and the time of the retry', () => {
    each(
      tellings,
      (telling) =>
        !isProgress(telling) && isMissing(telling.snapshot) && answering(telling.snapshot) !== undefined,
      (telling) => {
        const failure = answering(telling.snapshot);
        const { hash, code, message, attempt, retryAtMs } = telling.report.status ?? {};
        const told = code === failure?.code && message === failure?.message && attempt === failure?.attempt;
        return told && hash === hashOf(telling) && retryAtMs === failure?.retryAtMs;
      },
    );
  });

  test('never tells of a failure that answers another desired value', () => {
    each(
      tellings,
      ({ snapshot }) =>
        snapshot.desired.kind === 'artifact' && snapshot.failure !== undefined && !answering(snapshot),
      ({ report }) => report.status?.code === undefined && report.status?.message === undefined,
    );
  });

  test('says nothing new before a first attempt', () => {
    each(
      tellings,
      (telling) =>
        telling.activity === 'idle' &&
        isMissing(telling.snapshot) &&
        answering(telling.snapshot) === undefined,
      isQuiet,
    );
  });

  test('leaves no download standing when the agent stops', () => {
    each(
      tellings,
      (telling) =>
        telling.activity === 'stopping' &&
        telling.last?.status === 'downloading' &&
        (kindOf(telling) === 'artifact' || kindOf(telling) === 'refused'),
      (telling) => statusOf(telling) !== undefined && statusOf(telling) !== 'downloading',
    );
    each(
      tellings,
      (telling) =>
        telling.activity === 'stopping' &&
        telling.last?.status === 'downloading' &&
        isMissing(telling.snapshot) &&
        answering(telling.snapshot) === undefined,
      (telling) => statusOf(telling) === 'waiting' && telling.report.status?.hash === hashOf(telling),
    );
  });

  test('the hash is the desired hash that the status answers', () => {
    each(
      tellings,
      (telling) => kindOf(telling) === 'artifact' && telling.report.status !== undefined,
      (telling) => telling.report.status?.hash === hashOf(telling),
    );
  });

  test('leaves out what it does not know: JSON carries no undefined', () => {
    each(tellings, always, ({ report }) =>
      [...Object.values(report), ...Object.values(report.status ?? {})].every((value) => value !== undefined),
    );
  });
});
