import { expect, test } from 'bun:test';
import { parseDesired } from '../../src/core/artifact.ts';
import { decide, record, type Snapshot } from '../../src/core/reconcile.ts';
import { reportOf } from '../../src/core/report.ts';
import { released } from '../../src/core/rollback.ts';
import { failureOf, settled } from '../../src/core/standing.ts';

const sha256 = 'ab'.repeat(32);
const value = { url: 's3://bucket/key', hash: sha256 };
const desired = parseDesired(value, {});
const hourMs = 3_600_000;

/** Installs, then another program changes the file at once. */
function installAndSpoil(snapshot: Snapshot, nowMs: number): Snapshot {
  const { installed: _, ...rest } = record(
    snapshot,
    { kind: 'installed', value, installed: { sha256, value } },
    nowMs,
    0.999,
  );
  return { ...rest, installed: { sha256: 'cd'.repeat(32) } };
}

test('a file that was changed after an install is repaired at once', () => {
  expect(decide(installAndSpoil({ desired }, 1_000), 1_000)).toMatchObject({ do: 'install' });
});

test('a file that is changed again and again is repaired ever more seldom, but at least each hour', () => {
  let snapshot = installAndSpoil({ desired }, 0);
  let nowMs = 0;
  const waits: number[] = [];
  for (let repair = 0; repair < 16; repair += 1) {
    snapshot = installAndSpoil(snapshot, nowMs);
    const action = decide(snapshot, nowMs);
    if (action.do !== 'wait' || action.untilMs === undefined)
      throw new Error(`repair ${repair} does not wait`);
    waits.push(action.untilMs - nowMs);
    nowMs = action.untilMs;
    expect(decide(snapshot, nowMs)).toMatchObject({ do: 'install' });
  }
  expect(
    waits.every((wait, index) => index === 0 || wait >= (waits[index - 1] ?? 0) || wait > hourMs / 2),
  ).toBe(true);
  expect(waits[0]).toBeGreaterThanOrEqual(500);
  expect(Math.max(...waits)).toBeLessThanOrEqual(hourMs);
  expect(waits.at(-1)).toBeGreaterThan(hourMs / 2);
});

test('a file that is changed after each of three installs has an error, which ends as soon as one stays', () => {
  let snapshot: Snapshot = { desired };
  for (const nowMs of [0, 1_000]) {
    snapshot = installAndSpoil(snapshot, nowMs);
    expect(failureOf(snapshot)).toBeUndefined();
  }
  snapshot = installAndSpoil(snapshot, 3_000);
  const failure = failureOf(snapshot);
  expect(failure).toMatchObject({ code: 'INSTALL', retry: 'slow', attempt: 3 });
  expect(failure?.message).toContain('after each install');
  expect(reportOf(snapshot, 'idle')).toMatchObject({ status: { status: 'failed', code: 'INSTALL' } });
  expect(settled(snapshot)).toMatchObject({ code: 'INSTALL' });
  expect(decide(snapshot, 3_000)).toEqual({ do: 'wait', untilMs: failure?.retryAtMs ?? Number.NaN });
  const stays = { ...snapshot, installed: { sha256 } };
  expect(failureOf(stays)).toBeUndefined();
  expect(settled(stays)).toBe('done');
  const other = parseDesired({ ...value, note: 'again' }, {});
  expect(failureOf({ ...snapshot, desired: other })).toBeUndefined();
});

test('two quiet hours, or another desired value, makes the next repair immediate again', () => {
  const spoiled = installAndSpoil(installAndSpoil({ desired }, 0), 0);
  expect(decide(spoiled, 0)).toMatchObject({ do: 'wait' });
  const later = installAndSpoil(spoiled, 3 * hourMs);
  expect(decide(later, 3 * hourMs)).toMatchObject({ do: 'install' });
  const other = parseDesired({ ...value, note: 'again' }, {});
  expect(decide({ ...spoiled, desired: other }, 0)).toMatchObject({ do: 'install' });
});

test('while the shadow has not answered, what was desired last is gone by, and nothing else', () => {
  if (desired.kind !== 'artifact') throw new Error('no artifact');
  const unknown = { kind: 'unknown', last: desired } as const;
  expect(decide({ desired: { kind: 'unknown' } }, 0)).toEqual({ do: 'wait' });
  expect(decide({ desired: unknown, installed: { sha256, value } }, 0)).toEqual({ do: 'wait' });
  expect(decide({ desired: unknown }, 0)).toMatchObject({ do: 'install', value });
  const spoiled = { desired: unknown, installed: { sha256: 'cd'.repeat(32) } };
  expect(decide(spoiled, 0)).toMatchObject({ do: 'install', value });
  const error = { code: 'S3', message: 'no answer', retry: 'soon' } as const;
  const failed = record(spoiled, { kind: 'failed', value, error, gained: false }, 0, 0.5);
  expect(decide(failed, 0)).toMatchObject({ do: 'wait', untilMs: expect.any(Number) });
});

test('a rollback that holds another hash is not ended by what was desired last', () => {
  if (desired.kind !== 'artifact') throw new Error('no artifact');
  const held = { sha256: 'ef'.repeat(32) };
  expect(released({ desired: { kind: 'unknown', last: desired }, held }).held).toEqual(held);
});
