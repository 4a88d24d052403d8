/** What the shadow is told of one file, held over every combination, activity and earlier status. */
import { describe, expect, test } from 'bun:test';
import { jsonEqual } from '../../src/core/json.ts';
import {
  always,
  answering,
  desiredValue,
  each,
  isMissing,
  isTaken,
  type Telling,
  tellings,
} from './reconcile-cases.ts';

describe('reportOf()', () => {
  test('is asked in every combination', () => {
    expect(tellings.length).toBe(27_405);
  });

  const kindOf = ({ snapshot }: Telling) => snapshot.desired.kind;
  const isNoShadow = ({ snapshot: { desired } }: Telling) => desired.kind === 'absent' && desired.noShadow;
  const isQuiet = ({ report }: Telling) => report.mirror === undefined && report.status === undefined;
  const statusOf = ({ report }: Telling) => report.status?.status;
  const isProgress = ({ activity }: Telling) => typeof activity === 'object';
  const hashOf = ({ snapshot: { desired } }: Telling) =>
    desired.kind === 'artifact' ? desired.artifact.sha256 : undefined;

  const isUndesired = (telling: Telling) => ['absent', 'refused'].includes(kindOf(telling));
  /** What is there was desired once, though nothing that could be had is now. */
  const isProven = ({ snapshot: { installed, pending } }: Telling) =>
    installed?.value !== undefined && pending === undefined;
  const mirrorsProven = (telling: Telling) =>
    isProven(telling)
      ? jsonEqual(telling.report.mirror, telling.snapshot.installed?.value)
      : telling.report.mirror === undefined;

  test('says nothing before the shadow has answered', () => {
    each(tellings, (telling) => kindOf(telling) === 'unknown', isQuiet);
  });

  test('says current only of bytes that are on the disk, and that are desired or where nothing is', () => {
    each(
      tellings,
      (telling) => statusOf(telling) === 'current',
      (telling) => {
        const { sha256 } = telling.snapshot.installed ?? {};
        const isTrue = sha256 !== undefined && telling.report.status?.hash === sha256;
        return isTrue && (kindOf(telling) === 'absent' || isTaken(telling.snapshot));
      },
    );
  });

  test('mirrors exactly what it calls current, and what is installed where a hook has refused what is desired', () => {
    const isDesired = (telling: Telling) => !isUndesired(telling);
    each(tellings, isDesired, (telling) => {
      const { snapshot, report } = telling;
      const isRefused = statusOf(telling) === 'failed' && report.status?.code === 'HOOK_FAILED';
      if (!isRefused) return (report.mirror !== undefined) === (statusOf(telling) === 'current');
      const { installed } = snapshot;
      return jsonEqual(
        report.mirror,
        installed === undefined ? null : (installed.value ?? { hash: installed.sha256 }),
      );
    });
  });

  test('mirrors the desired value to the last key once its bytes are there, whichever value brought them', () => {
    each(
      tellings,
      ({ snapshot }) => isTaken(snapshot),
      (telling) =>
        statusOf(telling) === 'current' &&
        jsonEqual(telling.report.mirror, desiredValue(telling.snapshot.desired)) &&
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

  test('an absent value changes nothing but what has become untrue, and takes back a status that promised more', () => {
    each(
      tellings,
      (telling) =>
        kindOf(telling) === 'absent' && !(isNoShadow(telling) && telling.snapshot.installed !== undefined),
      (telling) => {
        const { last, report, snapshot } = telling;
        const { status = '', retryAt, hash } = last ?? {};
        const promised = ['downloading', 'waiting'].includes(`${status}`) || retryAt !== undefined;
        if (!mirrorsProven(telling)) return false;
        if (promised) return report.status === null;
        const isUntrue = status === 'current' && isProven(telling) && hash !== snapshot.installed?.sha256;
        return isUntrue ? report.status?.hash === snapshot.installed?.sha256 : report.status === undefined;
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

  test('a refused value has failed with its problems, and mirrors what was desired before it', () => {
    each(
      tellings,
      (telling) => kindOf(telling) === 'refused',
      (telling) => {
        const { desired } = telling.snapshot;
        if (desired.kind !== 'refused' || !mirrorsProven(telling)) return false;
        const { code, message, sha256: hash } = desired;
        const told = { status: 'failed' as const, code, message, ...(hash === undefined ? {} : { hash }) };
        return Bun.deepEquals(telling.report.status, told);
      },
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
        telling.last?.['status'] === 'downloading' &&
        (kindOf(telling) === 'artifact' || kindOf(telling) === 'refused'),
      (telling) => statusOf(telling) !== undefined && statusOf(telling) !== 'downloading',
    );
    each(
      tellings,
      (telling) =>
        telling.activity === 'stopping' &&
        telling.last?.['status'] === 'downloading' &&
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
