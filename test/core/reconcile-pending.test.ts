/** Hooks, the way back and holds, over every combination of what is pending, desired, installed, kept and failed. */
import { describe, expect, test } from 'bun:test';
import { parseDesired } from '../../src/core/artifact.ts';
import { type JsonObject, type JsonValue, jsonEqual } from '../../src/core/json.ts';
import { type Before, maxRuns, type Pending } from '../../src/core/pending.ts';
import {
  decide,
  type Failure,
  type Installed,
  type Outcome,
  record,
  type Snapshot,
} from '../../src/core/reconcile.ts';
import { type Activity, reportOf } from '../../src/core/report.ts';
import { released, rollback } from '../../src/core/rollback.ts';
import { settled } from '../../src/core/standing.ts';
import { statusOfFile } from '../../src/core/status.ts';
import { desireds, each, hourMs, nowMs, valueA, valueOther } from './reconcile-cases.ts';

const shaA = 'a'.repeat(64);
const shaB = 'b'.repeat(64);
const shaOther = 'c'.repeat(64);
const older: Installed = { sha256: shaOther, value: valueOther };

const installeds: Array<Installed | undefined> = [
  undefined,
  { sha256: shaA, value: valueA },
  { sha256: shaOther },
  older,
];
const failures: Array<Pick<Snapshot, 'failure' | 'blocked'>> = [
  {},
  { failure: failure(valueA, 'S3_NOT_FOUND', nowMs + hourMs) },
  { blocked: failure(valueA, 'INSTALL', nowMs + hourMs) },
  { blocked: failure(valueA, 'DISK_FULL', nowMs) },
  {
    failure: failure(valueOther, 'S3_NOT_FOUND', nowMs + 2 * hourMs),
    blocked: failure(valueOther, 'INSTALL', nowMs + hourMs),
  },
  { failure: failure(valueA, 'HOOK_FAILED', undefined) },
];
const befores: Array<Before | undefined> = [undefined, {}, older];
const pendings: Pending[] = (['apply', 'back', 'reapply'] as const).flatMap((step) =>
  [0, maxRuns - 1, maxRuns].flatMap((runs) =>
    befores.flatMap((before) =>
      [false, true].map(
        (keep): Pending => ({
          step,
          sha256: shaA,
          value: valueA,
          runs,
          keep,
          ...(before === undefined ? {} : { before }),
          ...(step === 'apply' ? {} : { failed: { message: 'why', hint: 'do' } }),
        }),
      ),
    ),
  ),
);
const previouses: Array<Installed | undefined> = [undefined, older, { sha256: shaB }];
const helds = [undefined, { sha256: shaA }, { sha256: shaB }];

function failure(value: JsonObject, code: Failure['code'], retryAtMs: number | undefined): Failure {
  const base = { value, code, message: 'why', attempt: 1 };
  return retryAtMs === undefined ? { ...base, retry: 'never' } : { ...base, retry: 'slow', retryAtMs };
}

const idle: Snapshot[] = desireds.flatMap((desired) =>
  installeds.flatMap((installed) =>
    failures.flatMap((failed) =>
      previouses.flatMap((previous) =>
        helds.map((held) => ({
          desired,
          ...(installed === undefined ? {} : { installed }),
          ...failed,
          ...(previous === undefined ? {} : { previous }),
          ...(held === undefined ? {} : { held }),
        })),
      ),
    ),
  ),
);
const waiting: Snapshot[] = idle.flatMap((snapshot) => pendings.map((pending) => ({ ...snapshot, pending })));
const all = [...idle, ...waiting];

const stepOf = ({ pending }: Snapshot) => pending?.step;
const actionOf = (snapshot: Snapshot) => decide(snapshot, nowMs);
const doOf = (snapshot: Snapshot) => actionOf(snapshot).do;
const desiredHash = ({ desired }: Snapshot) =>
  desired.kind === 'artifact' ? desired.artifact.sha256 : undefined;
const isThere = ({ pending, installed }: Snapshot) => installed?.sha256 === pending?.sha256;
/** The disk has not let the step be ended, and its time has not come. */
const isInWait = ({ pending, blocked }: Snapshot) =>
  pending !== undefined && (blocked?.retryAtMs ?? 0) > nowMs;
const isAnother = ({ desired }: Snapshot, value: JsonValue | undefined) =>
  desired.kind === 'artifact' && !jsonEqual(desired.value, value);
/** What is desired by now needs the step no more. */
const isOvertaken = (snapshot: Snapshot) => {
  const owed = stepOf(snapshot) === 'reapply' ? snapshot.pending?.before?.sha256 : shaA;
  return isAnother(snapshot, valueA) && !isHeld(snapshot) && desiredHash(snapshot) !== owed;
};
/** It is not to be tried now. */
const isStuck = (snapshot: Snapshot) =>
  isInWait(snapshot) && (isAtRest(snapshot) || !isAnother(snapshot, snapshot.blocked?.value));
/** As on a disk that is not mounted yet. */
const isOutOfSight = ({ pending, installed }: Snapshot) =>
  pending?.step === 'apply' && installed === undefined;
/** It has failed, and what is desired by now has its turns meanwhile. */
const isAtRest = (snapshot: Snapshot) =>
  snapshot.blocked !== undefined &&
  isOvertaken(snapshot) &&
  (stepOf(snapshot) !== 'apply' || isThere(snapshot));
const isDue = (snapshot: Snapshot) =>
  snapshot.pending !== undefined && !isOutOfSight(snapshot) && !isAtRest(snapshot);
const isHeld = (snapshot: Snapshot) =>
  snapshot.held !== undefined && desiredHash(snapshot) === snapshot.held.sha256;

test('every combination is there', () => {
  // 9 desired values x 4 installed x 6 failures x 3 previous x 3 holds; x 3 steps x 3 runs x 3 before x 2 keep
  expect(idle.length).toBe(9 * 4 * 6 * 3 * 3);
  expect(waiting.length).toBe(1_944 * 54);
});

describe('decide() with something pending', () => {
  test('ends it before anything is installed, whatever is desired', () => {
    each(waiting, isDue, (snapshot) => doOf(snapshot) !== 'install');
  });

  test('holds nothing up by a hook whose file is out of sight', () => {
    each(waiting, isOutOfSight, (snapshot) => {
      const { pending: _, ...rest } = snapshot;
      return (
        Bun.deepEquals(actionOf(snapshot), actionOf(rest), true) &&
        Bun.deepEquals(settled(snapshot), settled(rest), true)
      );
    });
  });

  test('runs the hook for the file that is there, and counts the run', () => {
    each(
      waiting,
      (snapshot) =>
        stepOf(snapshot) === 'apply' &&
        isThere(snapshot) &&
        !isStuck(snapshot) &&
        (snapshot.pending?.runs ?? 0) < maxRuns,
      (snapshot) => {
        const action = actionOf(snapshot);
        return action.do === 'hook' && action.pending.runs === (snapshot.pending?.runs ?? 0) + 1;
      },
    );
  });

  test('drops a hook where another file is there: the rename never was, or somebody has changed the file', () => {
    each(
      waiting,
      (snapshot) =>
        stepOf(snapshot) === 'apply' && isDue(snapshot) && !isThere(snapshot) && !isStuck(snapshot),
      (snapshot) => {
        const action = actionOf(snapshot);
        return action.do === 'conclude' && action.outcome.kind === 'unapplied';
      },
    );
  });

  test('takes a hook that was begun three times for failed', () => {
    each(
      waiting,
      (snapshot) =>
        stepOf(snapshot) === 'apply' &&
        isThere(snapshot) &&
        !isStuck(snapshot) &&
        snapshot.pending?.runs === maxRuns,
      (snapshot) => {
        const action = actionOf(snapshot);
        if (action.do !== 'conclude' || action.outcome.kind !== 'hooked') return false;
        return action.outcome.failed?.message === 'The hook was cut short 3 times';
      },
    );
  });

  test('puts the file before back, whatever is there now', () => {
    each(
      waiting,
      (snapshot) => stepOf(snapshot) === 'back' && !isStuck(snapshot),
      (snapshot) => doOf(snapshot) === 'put-back',
    );
  });

  test('runs the hook for what was put back, three times at most', () => {
    each(
      waiting,
      (snapshot) => stepOf(snapshot) === 'reapply' && !isStuck(snapshot),
      (snapshot) => doOf(snapshot) === ((snapshot.pending?.runs ?? 0) < maxRuns ? 'hook' : 'conclude'),
    );
  });

  test('waits for a disk that does not let it go on', () => {
    const isStuckNow = (snapshot: Snapshot) => isDue(snapshot) && isStuck(snapshot);
    each(waiting, isStuckNow, (snapshot) => {
      const action = actionOf(snapshot);
      return action.do === 'wait' && action.untilMs === snapshot.blocked?.retryAtMs;
    });
  });

  test("is in nobody's way meanwhile where something else is desired by then, and comes again in its time", () => {
    const isAtRestNow = (snapshot: Snapshot) => isAtRest(snapshot) && isInWait(snapshot);
    each(waiting, isAtRestNow, (snapshot) => {
      const { pending: _, blocked, ...rest } = snapshot;
      const [action, other] = [actionOf(snapshot), actionOf(rest)];
      if (other.do !== 'wait') return Bun.deepEquals(action, other, true);
      const againMs = blocked?.retryAtMs ?? 0;
      const isInTime = action.do === 'wait' && action.untilMs === Math.min(other.untilMs ?? againMs, againMs);
      const { do: next } = decide(snapshot, againMs);
      return isInTime && next !== 'install' && next !== 'wait';
    });
  });

  test('lets no failed install hold it up, also not one of the same value', () => {
    each(
      waiting,
      (snapshot) =>
        isDue(snapshot) && snapshot.blocked === undefined && snapshot.failure?.retryAtMs !== undefined,
      (snapshot) => doOf(snapshot) !== 'wait',
    );
  });

  test('tries it at once where another value is desired by now, also one of the same hash', () => {
    each(
      waiting,
      (snapshot) => isDue(snapshot) && isInWait(snapshot) && isAnother(snapshot, snapshot.blocked?.value),
      (snapshot) => doOf(snapshot) !== 'wait',
    );
  });
});

const outcomes: Outcome[] = [
  { kind: 'hooked' },
  { kind: 'hooked', failed: { message: 'new', hint: 'mend' } },
  { kind: 'put-back' },
  { kind: 'put-back', installed: older },
  { kind: 'unapplied' },
];
const turns = waiting.flatMap((before) =>
  outcomes.map((outcome) => ({ before, outcome, after: record(before, outcome, nowMs, 0.5) })),
);
type Turn = (typeof turns)[number];
const isHook = ({ outcome }: Turn) => outcome.kind === 'hooked';
const hasFailed = ({ outcome }: Turn) => outcome.kind === 'hooked' && outcome.failed !== undefined;
const stepBefore = ({ before }: Turn) => before.pending?.step;

describe('record() of what was pending', () => {
  test('a hook that has succeeded ends it, and what it replaced is the way back if it is to be', () => {
    each(
      turns,
      (turn) => isHook(turn) && !hasFailed(turn) && stepBefore(turn) === 'apply',
      ({ before, after }) => {
        const { pending } = before;
        const isWay = pending?.keep === true && pending.before?.sha256 !== undefined;
        const previous = isWay ? older : before.previous;
        return after.pending === undefined && Bun.deepEquals(after.previous, previous, true);
      },
    );
  });

  test('a hook that has failed leads back, and is not counted with the runs of before', () => {
    each(
      turns,
      (turn) => hasFailed(turn) && stepBefore(turn) === 'apply',
      ({ after }) =>
        after.pending?.step === 'back' && after.pending.runs === 0 && after.pending.failed?.message === 'new',
    );
  });

  test('what was put back is installed, and gets its hook; it is no way back any more, and by hand there is none', () => {
    each(
      turns,
      ({ outcome }) => outcome.kind === 'put-back',
      ({ before, outcome, after }) => {
        if (outcome.kind !== 'put-back') return false;
        const { previous, pending } = before;
        const isGone = previous?.sha256 === pending?.before?.sha256;
        return (
          after.pending?.step === 'reapply' &&
          after.pending.runs === 0 &&
          after.installed === outcome.installed &&
          after.previous === (isGone ? undefined : previous)
        );
      },
    );
  });

  test('the way back is over after its hook, however that ends, and what was refused is never tried again', () => {
    each(
      turns,
      (turn) => isHook(turn) && stepBefore(turn) === 'reapply',
      ({ before, after }) => {
        const { failure: failed } = after;
        const isTold = failed?.code === 'HOOK_FAILED' && failed.message === before.pending?.failed?.message;
        return (
          after.pending === undefined && isTold && failed.retry === 'never' && jsonEqual(failed.value, valueA)
        );
      },
    );
    each(
      turns,
      (turn) =>
        isHook(turn) &&
        stepBefore(turn) === 'reapply' &&
        desiredHash(turn.before) === shaA &&
        turn.after.failure !== undefined &&
        turn.before.desired.kind === 'artifact' &&
        jsonEqual(turn.before.desired.value, valueA),
      ({ after }) => {
        const action = decide(after, nowMs);
        return action.do === 'wait' && action.untilMs === undefined;
      },
    );
  });

  test('what was dropped leaves all else as it was, the count of failed installs too, but no failure of its own', () => {
    each(
      turns,
      ({ outcome }) => outcome.kind === 'unapplied',
      ({ before: { pending: _, blocked, ...rest }, after }) => Bun.deepEquals(after, rest, true),
    );
  });

  test('nothing of it changes what is desired or held', () => {
    each(
      turns,
      () => true,
      ({ before, after }) => after.desired === before.desired && after.held === before.held,
    );
  });
});

test('whatever happens, and wherever a restart comes, what is pending ends', () => {
  const desired = parseDesired(valueA, {});
  const start: Snapshot = {
    desired,
    installed: { sha256: shaA, value: valueA },
    pending: { step: 'apply', sha256: shaA, value: valueA, before: older, keep: true, runs: 0 },
  };
  /** Each way that it can go: the hook succeeds, fails, or the agent ends during it. */
  const follow = (snapshot: Snapshot, depth: number): number => {
    expect(depth).toBeLessThan(12);
    if (snapshot.pending === undefined) return depth;
    const action = decide(snapshot, nowMs);
    if (action.do === 'conclude') return follow(record(snapshot, action.outcome, nowMs, 0), depth + 1);
    if (action.do === 'put-back') {
      return follow(record(snapshot, { kind: 'put-back', installed: older }, nowMs, 0), depth + 1);
    }
    if (action.do !== 'hook') throw new Error(`it does not go on: ${action.do}`);
    const begun = { ...snapshot, pending: action.pending };
    const ends = outcomes.slice(0, 2).map((outcome) => record(begun, outcome, nowMs, 0));
    return Math.max(...[...ends, begun].map((next) => follow(next, depth + 1)));
  };
  expect(follow(start, 0)).toBe(9);
});

describe('a hold', () => {
  test('keeps the held hash from being installed', () => {
    each(idle, isHeld, (snapshot) => doOf(snapshot) === 'wait');
  });

  test('holds nothing else up', () => {
    const isMissing = (snapshot: Snapshot) =>
      snapshot.desired.kind === 'artifact' && snapshot.installed?.sha256 !== desiredHash(snapshot);
    each(
      idle,
      (snapshot) => isMissing(snapshot) && !isHeld(snapshot) && snapshot.failure === undefined,
      (snapshot) => doOf(snapshot) === 'install',
    );
  });

  test('ends exactly when another hash is desired', () => {
    each(
      all,
      ({ held }) => held !== undefined,
      (snapshot) => {
        const isEnded = released(snapshot).held === undefined;
        return isEnded === (snapshot.desired.kind === 'artifact' && !isHeld(snapshot));
      },
    );
  });
});

describe('rollback()', () => {
  const asked = all.map((snapshot) => ({ snapshot, end: rollback(snapshot, shaB) }));
  const isGoing = (snapshot: Snapshot) => stepOf(snapshot) === 'back' || stepOf(snapshot) === 'reapply';

  /** What a pending install has replaced, if it has come so far; else what the one before has. */
  const wayOf = ({ pending, previous, installed }: Snapshot) => {
    const isReplaced = pending?.keep === true && pending.before?.sha256 !== installed?.sha256;
    return (isReplaced ? pending.before?.sha256 : undefined) ?? previous?.sha256;
  };

  test('puts back what a pending install has replaced, or the previous file; never one that is there already', () => {
    each(
      asked,
      ({ snapshot, end }) => !isGoing(snapshot) && !('code' in end),
      ({ snapshot, end }) => {
        if ('code' in end) return false;
        const way = wayOf(snapshot);
        const goesBack = end.pending?.step === 'back' && end.pending.before?.sha256 === way;
        return goesBack && way !== undefined && way !== snapshot.installed?.sha256;
      },
    );
  });

  test('goes on at once with a way back that was begun, as one that somebody has asked for', () => {
    each(
      asked,
      ({ snapshot }) => isGoing(snapshot),
      ({ snapshot, end }) => {
        if ('code' in end) return false;
        const { step, before, failed, runs } = end.pending ?? {};
        const isSame = step === stepOf(snapshot) && before === snapshot.pending?.before;
        const next = doOf(end);
        return isSame && failed === undefined && runs === 0 && (next === 'put-back' || next === 'hook');
      },
    );
  });

  test('finds the way back of before wherever an install was announced, but never was', () => {
    each(
      asked,
      ({ snapshot: { pending, previous, installed } }) =>
        pending?.step === 'apply' &&
        pending.before?.sha256 === installed?.sha256 &&
        previous !== undefined &&
        previous.sha256 !== installed?.sha256,
      ({ snapshot, end }) => !('code' in end) && end.pending?.before === snapshot.previous,
    );
  });

  type Asked = (typeof asked)[number];
  const lastHash = (snapshot: Snapshot) => desiredHash(snapshot) ?? shaB;
  const isBackToDesired = ({ snapshot, end }: Asked) =>
    !('code' in end) && end.pending?.before?.sha256 === lastHash(snapshot);
  const isHolding = (one: Asked) => !('code' in one.end) && !isBackToDesired(one);

  test('holds the desired hash, or the last one that was known to be', () => {
    each(
      asked,
      isHolding,
      ({ snapshot, end }) => !('code' in end) && end.held?.sha256 === lastHash(snapshot),
    );
  });

  test('holds nothing that goes back, but what was there', () => {
    each(
      asked,
      isBackToDesired,
      ({ snapshot, end }) =>
        !('code' in end) &&
        end.held?.sha256 !== lastHash(snapshot) &&
        (end.held?.sha256 ?? '') === end.pending?.sha256,
    );
  });

  test('leaves the hash that was refused waiting, with nothing failed', () => {
    each(asked, isHolding, ({ end }) => {
      if ('code' in end || end.failure !== undefined) return false;
      const back = record(end, { kind: 'put-back', installed: older }, nowMs, 0);
      const done = record(back, { kind: 'hooked' }, nowMs, 0);
      return done.pending === undefined && done.failure === undefined && decide(done, nowMs).do === 'wait';
    });
  });

  test('says that the previous file is in place where its bytes are', () => {
    each(
      asked,
      ({ snapshot, end }) => 'code' in end && snapshot.held === undefined && snapshot.previous !== undefined,
      ({ end }) => 'message' in end && end.message === 'The previous file is in place already',
    );
  });

  test('says that nothing older is kept after one, and that no previous file is kept without one', () => {
    each(
      asked,
      ({ snapshot, end }) =>
        'code' in end && (snapshot.pending === undefined || snapshot.pending.step === 'apply'),
      ({ snapshot, end }) => 'code' in end && end.code === (snapshot.held === undefined ? 'INSTALL' : 'HELD'),
    );
  });

  test('is the only one: nothing older is kept behind it, whatever it has ended', () => {
    each(asked, isHolding, ({ end }) => {
      if ('code' in end) return false;
      const back = record(end, { kind: 'put-back', installed: older }, nowMs, 0);
      const done = record(back, { kind: 'hooked' }, nowMs, 0);
      const second = rollback(done, shaB);
      return Bun.deepEquals(rollback(back, shaB), back) && 'code' in second && second.code === 'HELD';
    });
  });
});

describe('the report', () => {
  const activities: Activity[] = ['idle', 'applying', 'stopping', { bytes: 5, size: 10 }];
  const tellings = all.flatMap((snapshot) =>
    activities.map((activity) => ({ snapshot, activity, report: reportOf(snapshot, activity) })),
  );

  test('calls nothing current while something is pending, and mirrors nothing', () => {
    each(
      tellings,
      ({ snapshot }) => isDue(snapshot),
      ({ report }) => report.status?.status !== 'current' && report.mirror === undefined,
    );
  });

  test('says that it waits once a hook takes long, or the agent stops before it has ended', () => {
    each(
      tellings,
      ({ snapshot, activity }) =>
        isDue(snapshot) &&
        snapshot.desired.kind === 'artifact' &&
        snapshot.blocked === undefined &&
        (activity === 'applying' || activity === 'stopping'),
      ({ snapshot, report }) =>
        report.status?.status === 'waiting' && report.status.hash === desiredHash(snapshot),
    );
  });

  test('of a held hash says HELD, and mirrors what is installed', () => {
    each(
      tellings,
      ({ snapshot }) =>
        snapshot.pending === undefined &&
        isHeld(snapshot) &&
        snapshot.installed?.sha256 !== desiredHash(snapshot),
      ({ snapshot, report }) => {
        const { installed } = snapshot;
        const mirror = installed === undefined ? null : (installed.value ?? { hash: installed.sha256 });
        const { status, code, hash } = report.status ?? {};
        const told = status === 'waiting' && code === 'HELD' && hash === desiredHash(snapshot);
        return told && Bun.deepEquals(report.mirror, mirror, true);
      },
    );
  });
});

test('a value that was refused stays so where the disk fails after that', () => {
  const refused = idle.filter((snapshot) => snapshot.failure?.code === 'HOOK_FAILED');
  each(
    refused,
    () => true,
    (snapshot) => {
      const error = { code: 'INSTALL', message: 'Cannot read it: EIO', retry: 'slow' } as const;
      const after = record(snapshot, { kind: 'failed', value: valueA, error, gained: false }, nowMs, 0.5);
      return decide(after, nowMs + 2 * hourMs).do === decide(snapshot, nowMs).do;
    },
  );
});

describe('a hook that fails for a file that was repaired', () => {
  const pending: Pending = { step: 'apply', sha256: shaA, value: valueA, keep: false, runs: 1, repair: true };
  const repaired: Snapshot = {
    desired: parseDesired(valueA, {}),
    installed: { sha256: shaA, value: valueA },
    pending,
  };
  const failed: Outcome = { kind: 'hooked', failed: { message: 'no network' } };

  test('has the file stay, and is run again ever more seldom', () => {
    let snapshot = record(repaired, failed, nowMs, 0.999);
    for (let attempt = 1; attempt < 20; attempt += 1) {
      expect(snapshot).toMatchObject({ pending: { step: 'apply', runs: 0 }, blocked: { attempt } });
      const wait = decide(snapshot, nowMs);
      if (wait.do !== 'wait' || wait.untilMs === undefined) throw new Error(`it does ${wait.do}`);
      expect(decide(snapshot, wait.untilMs).do).toBe('hook');
      snapshot = record(snapshot, failed, nowMs, 0.999);
    }
    expect(reportOf(snapshot, 'idle').status).toMatchObject({ status: 'waiting', code: 'HOOK_FAILED' });
  });

  test('also where its runs were cut short', () => {
    const action = decide({ ...repaired, pending: { ...pending, runs: maxRuns } }, nowMs);
    if (action.do !== 'conclude') throw new Error(`it does ${action.do}`);
    expect(record(repaired, action.outcome, nowMs, 0)).toMatchObject({ pending: { step: 'apply', runs: 0 } });
  });

  test('holds up nothing else that is desired, but is owed once that value is desired again', () => {
    const snapshot = record(repaired, failed, nowMs, 0.999);
    const other = { ...snapshot, desired: parseDesired(valueOther, {}) };
    expect(decide(other, nowMs)).toMatchObject({ do: 'install', value: valueOther });
    expect(reportOf(other, 'idle')).toEqual({});
    const error = { code: 'S3', message: 'no object', retry: 'slow' } as const;
    const missing = record(other, { kind: 'failed', value: valueOther, error, gained: false }, nowMs, 0.5);
    const againMs = missing.blocked?.retryAtMs ?? 0;
    expect(decide(missing, nowMs)).toEqual({ do: 'wait', untilMs: againMs });
    expect(decide(missing, againMs).do).toBe('hook');
    expect(reportOf(missing, 'idle').status).toMatchObject({ code: 'S3', hash: shaOther });
    expect(settled(missing)).toMatchObject({ code: 'S3' });
    expect(decide({ ...missing, desired: repaired.desired }, nowMs).do).toBe('hook');
  });

  test('is owed also to the same file for another value', () => {
    const snapshot = record(repaired, failed, nowMs, 0.999);
    const renamed = { ...snapshot, desired: parseDesired({ ...valueA, note: 'again' }, {}) };
    expect(decide(renamed, nowMs).do).toBe('hook');
    expect(decide(record(renamed, failed, nowMs, 0.999), nowMs).do).toBe('wait');
    expect(reportOf(renamed, 'idle').status).toMatchObject({ status: 'waiting', code: 'HOOK_FAILED' });
    const moment = { nowMs, wallMs: nowMs };
    expect(statusOfFile('/f', renamed, undefined, moment).error).toMatchObject({ code: 'HOOK_FAILED' });
  });

  test('is owed still where another file was announced, but never came', () => {
    const { pending: owed, ...rest } = record(repaired, failed, nowMs, 0.999);
    const before: Before = { sha256: shaA, value: valueA };
    const over = { ...pending, runs: 0, failed: { message: 'no network' } };
    const announced: Snapshot = {
      ...rest,
      desired: parseDesired(valueOther, {}),
      pending: { step: 'apply', sha256: shaOther, value: valueOther, before, keep: true, runs: 0, over },
    };
    const outcome: Outcome = { kind: 'unapplied' };
    expect(decide(announced, nowMs)).toEqual({ do: 'conclude', outcome });
    const restored = record(announced, outcome, nowMs, 0);
    expect(restored.pending).toEqual({ ...pending, runs: 0 });
    expect(decide(restored, nowMs).do).toBe('hook');
    expect(owed).toMatchObject({ sha256: shaA, repair: true });
    const other = { ...announced, installed: { sha256: shaB } };
    expect(record(other, outcome, nowMs, 0).pending).toBeUndefined();
  });

  test('has its turn before another file that is desired before it could run', () => {
    expect(decide({ ...repaired, desired: parseDesired(valueOther, {}) }, nowMs).do).toBe('hook');
  });

  test('ends with a run that succeeds', () => {
    const snapshot = record(repaired, failed, nowMs, 0.999);
    const done = record(snapshot, { kind: 'hooked' }, nowMs, 0);
    expect([done.pending, done.blocked]).toEqual([undefined, undefined]);
    expect(settled(done)).toBe('done');
  });
});

test('a way back that was due is due still where what was to replace the refused file never came', () => {
  const failed = { message: 'refused' };
  const over: Pending = {
    step: 'back',
    sha256: shaA,
    value: valueA,
    before: older,
    keep: true,
    runs: 0,
    failed,
  };
  const way = { before: older, keep: true, runs: 0, over };
  const announced: Snapshot = {
    desired: parseDesired({ ...valueOther, hash: shaB }, {}),
    installed: { sha256: shaA, value: valueA },
    pending: { step: 'apply', sha256: shaB, value: valueOther, ...way },
  };
  const outcome: Outcome = { kind: 'unapplied' };
  expect(decide(announced, nowMs)).toEqual({ do: 'conclude', outcome });
  const restored = record(announced, outcome, nowMs, 0);
  expect(restored.pending).toEqual(over);
  expect(decide(restored, nowMs).do).toBe('put-back');
});

test('a step that failed is not dropped for the same file with another value, but tried at once', () => {
  const failedStep = { sha256: shaA, value: valueA, keep: true, runs: 0, failed: { message: 'refused' } };
  const again = { ...valueA, note: 'again' };
  const back: Snapshot = {
    desired: parseDesired(again, {}),
    installed: { sha256: shaA, value: valueA },
    pending: { ...failedStep, step: 'back', before: older },
    blocked: failure(valueA, 'INSTALL', nowMs + hourMs),
  };
  expect(decide(back, nowMs).do).toBe('put-back');
  const error = { code: 'INSTALL', message: 'EIO', retry: 'slow' } as const;
  const failed: Outcome = { kind: 'failed', value: valueA, error, gained: false, step: true };
  expect(decide(record(back, failed, nowMs, 0.5), nowMs).do).toBe('wait');
  const reapply: Snapshot = {
    ...back,
    desired: parseDesired(valueOther, {}),
    installed: older,
    pending: { ...failedStep, step: 'reapply', before: older },
  };
  expect(decide(reapply, nowMs).do).toBe('hook');
  expect(decide(record(reapply, failed, nowMs, 0.5), nowMs).do).toBe('wait');
});

test('--once waits for what is pending, and gives HELD as the reason of what is held', () => {
  each(waiting, isDue, (snapshot) => settled(snapshot) === 'pending');
  each(
    idle,
    (snapshot) => isHeld(snapshot) && snapshot.installed?.sha256 !== desiredHash(snapshot),
    (snapshot) => {
      const end = settled(snapshot);
      return typeof end === 'object' && end.code === 'HELD';
    },
  );
});
