/** The decisions about one file, held over every combination of what is desired, installed and failed. */
import { describe, expect, test } from 'bun:test';
import { parseDesired } from '../../src/core/artifact.ts';
import { backoffMs, slow, soon } from '../../src/core/backoff.ts';
import { jsonEqual } from '../../src/core/json.ts';
import { decide, reconnected, record, type Snapshot } from '../../src/core/reconcile.ts';
import { settled } from '../../src/core/standing.ts';
import {
  always,
  answering,
  codeOf,
  desireds,
  desiredValue,
  each,
  hourMs,
  isInstall,
  isInstalled,
  isMissing,
  isTaken,
  nowMs,
  snapshots,
  type Turn,
  tellings,
  turns,
  untilOf,
  valueA,
  valueOther,
} from './reconcile-cases.ts';

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
  // 3 activities, after 7 statuses
  expect(tellings.length).toBe(1305 * 3 * 7);
  expect([snapshots.length, turns.length, tellings.length]).toEqual([1_305, 62_640, 27_405]);
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
        const turned = Object.fromEntries(Object.entries(desiredValue(desired) ?? {}).reverse());
        const again = { ...rest, desired: parseDesired(turned, {}) };
        return Bun.deepEquals(decide(again, nowMs), decide({ ...rest, desired }, nowMs), true);
      },
    );
  });
});

describe('record()', () => {
  const isOfRefused = ({ before: { failure }, outcome }: Turn) =>
    outcome.kind === 'failed' && failure?.retry === 'never' && jsonEqual(failure.value, outcome.value);
  const isFailed = (turn: Turn) => turn.outcome.kind === 'failed' && !isOfRefused(turn);
  const retryOf = (turn: Turn) =>
    turn.outcome.kind === 'failed' && !isOfRefused(turn) ? turn.outcome.error.retry : undefined;
  const isOfNow = (turn: Turn) => {
    const { before, outcome } = turn;
    const isDesired = 'value' in outcome && jsonEqual(outcome.value, desiredOf(before));
    return isFailed(turn) && isDesired;
  };
  const desiredOf = ({ desired }: Snapshot) => (desired.kind === 'artifact' ? desired.value : undefined);

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

  test('a failure of a value that is refused for good changes nothing', () => {
    each(turns, isOfRefused, ({ before, after }) => after === before);
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
      (turn) => {
        const { before, outcome } = turn;
        if (outcome.kind !== 'failed' || outcome.gained || before.failure === undefined) return false;
        return isFailed(turn) && jsonEqual(before.failure.value, outcome.value);
      },
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
      (turn) => isFailed(turn) && turn.outcome.kind === 'failed' && turn.outcome.gained,
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
  test('is done exactly where nothing is desired, or what is desired is installed and no hook has refused it', () => {
    each(
      snapshots,
      always,
      (snapshot) =>
        (settled(snapshot) === 'done') === (snapshot.desired.kind === 'absent' || isTaken(snapshot)),
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
