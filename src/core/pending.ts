/**
 * What stands between a file that is renamed and one that is current: its hook, and the way back.
 *
 * `apply`: the file is about to be there, and its hook, if it has one, to run for it. Where that fails, or somebody asks
 * for a rollback, `back`: the file before is to be put back; then `reapply`: the hook is to run for that one. Each step is
 * on disk before it is begun, so that a restart goes on with it, and a step that kills the agent each time is tried three
 * times. After a repair there is no way back: `apply` is tried until the hook succeeds, or another file is installed.
 */
import { wantedBy } from './artifact.ts';
import { refusalOf } from './hook.ts';
import { type JsonObject, type JsonValue, jsonEqual } from './json.ts';
import type { Action, Installed, Outcome, Reason, Snapshot } from './reconcile.ts';

export interface Pending {
  step: 'apply' | 'back' | 'reapply';
  /** SHA-256 of the file that was installed; past `apply` it is refused. Empty where there was none to go back from. */
  sha256: string;
  /** The desired value that it was installed for. */
  value?: JsonObject;
  /** What goes back; missing where nothing was there. Without a hash it was no regular file. */
  before?: Before;
  /** Whether that is the way of a later rollback, once the hook has succeeded. */
  keep: boolean;
  /** Runs of the hook that were begun in this step. */
  runs: number;
  /** Why the hook failed, for what was installed or after a repair; missing where somebody asked for the rollback. */
  failed?: HookFailure;
  /** The file was installed before, and has been changed on the device since. */
  repair?: true;
  /** What was pending of the file that is replaced: it is so still where that is not replaced after all. */
  over?: Omit<Pending, 'over'>;
}

/** The file that another one has replaced. */
export interface Before {
  sha256?: string;
  value?: JsonObject;
  /** It was changed on the device, or its hook has never taken it: once it is back, it is no way back itself. */
  unproven?: true;
}

/** Why the hook failed. */
export interface HookFailure {
  message: string;
  hint?: string;
}

/** A hook that ends with the agent again and again is taken for failed. */
export const maxRuns = 3;

/**
 * The step that is to be ended before anything else. A hook stays owed, but holds nothing up, while its file is out of
 * sight, as on a disk that is not mounted yet; so does a step that has failed while another file is desired.
 */
export function dueOf(snapshot: Snapshot): Pending | undefined {
  return isOutOfSight(snapshot) || isAtRest(snapshot) ? undefined : snapshot.pending;
}

/** When a step that has failed is tried again while another file is desired; monotonic ms. */
export function restsUntilMs(snapshot: Snapshot): number {
  const { blocked } = snapshot;
  const isSeen = isAtRest(snapshot) && !isOutOfSight(snapshot);
  return isSeen && blocked?.retryAtMs !== undefined ? blocked.retryAtMs : Number.POSITIVE_INFINITY;
}

function isOutOfSight({ pending, installed }: Snapshot): boolean {
  return pending?.step === 'apply' && installed === undefined;
}

function isAtRest(snapshot: Snapshot): boolean {
  const { pending, blocked, installed } = snapshot;
  if (pending === undefined || !isOvertaken(pending, snapshot)) return false;
  if (pending.step === 'apply' && installed?.sha256 !== pending.sha256) return false;
  return blocked !== undefined || (pending.repair === true && pending.failed !== undefined);
}

/** What is to be done for a step: once it is due, it is ended before a newer desired value has its turn. */
export function decidePending(pending: Pending, snapshot: Snapshot, nowMs: number): Action {
  const { blocked, installed, desired } = snapshot;
  if (blocked?.retryAtMs !== undefined && blocked.retryAtMs > nowMs) {
    const wanted = wantedBy(desired);
    const isNew = wanted !== undefined && !jsonEqual(wanted.value, blocked.value);
    if (!isNew) return { do: 'wait', untilMs: blocked.retryAtMs };
  }
  const { step, runs } = pending;
  if (step === 'back') return { do: 'put-back', pending };
  // The run that said what it was about to do has ended before the rename, or somebody has changed the file since.
  if (step === 'apply' && installed?.sha256 !== pending.sha256) {
    return { do: 'conclude', outcome: { kind: 'unapplied' } };
  }
  if (runs < maxRuns) return { do: 'hook', pending: { ...pending, runs: runs + 1 } };
  const failed = {
    message: `The hook was cut short ${runs} times`,
    hint: 'the agent ended during each run: find out whether the hook ends it',
  };
  return { do: 'conclude', outcome: { kind: 'hooked', failed } };
}

/** A step that the disk does not let be ended must not hold up what is desired by now. */
function isOvertaken(pending: Pending, { desired, held }: Snapshot): boolean {
  if (desired.kind !== 'artifact' || desired.artifact.sha256 === held?.sha256) return false;
  // The same file for another value needs its step as well.
  const owed = pending.step === 'reapply' ? pending.before?.sha256 : pending.sha256;
  if (desired.artifact.sha256 === owed) return false;
  return !jsonEqual(desired.value, pendingValue(pending));
}

/** The value that a failure of a pending step answers where none is desired. */
export function pendingValue({ value, sha256 }: Pending): JsonValue {
  return value ?? sha256;
}

/**
 * A hook that fails for a file that it took before has more likely met a fault that will pass than found one in the file,
 * and what goes back would be the damaged one: it stays, and the hook is run again.
 */
export function failedRepair(
  { pending }: Pick<Snapshot, 'pending'>,
  outcome: Outcome,
): Extract<Outcome, { kind: 'failed' }> | undefined {
  if (pending?.step !== 'apply' || pending.repair !== true) return undefined;
  if (outcome.kind !== 'hooked' || outcome.failed === undefined) return undefined;
  const { message } = outcome.failed;
  const hint =
    'the file was repaired and stays; the hook, whose output is in the log, is run again while the agent runs, and at its next start';
  const error = { code: 'HOOK_FAILED', message, hint, retry: 'soon' } as const;
  return { kind: 'failed', value: pendingValue(pending), error, gained: false, step: true };
}

/** The snapshot after a step of what is pending. */
export function recordPending(
  snapshot: Snapshot,
  outcome: Extract<Outcome, { kind: 'hooked' | 'put-back' | 'unapplied' }>,
): Snapshot {
  const { pending, failure, blocked: _, ...rest } = snapshot;
  if (pending === undefined) return snapshot;
  switch (outcome.kind) {
    case 'unapplied':
      // An install that has failed counts, so that the waits for the next ones grow.
      return { ...rest, ...stillOwed(snapshot), ...(failure === undefined ? {} : { failure }) };
    case 'put-back':
      return afterPutBack(rest, pending, outcome.installed);
    case 'hooked':
      if (pending.step === 'reapply') return ended(rest, pending);
      return outcome.failed === undefined
        ? applied(rest, pending)
        : { ...rest, pending: { ...pending, step: 'back', runs: 0, failed: outcome.failed } };
  }
}

/** A file that was not replaced after all is owed its hook, or its way back, still. */
function stillOwed({ pending, installed }: Snapshot): Pick<Snapshot, 'pending'> {
  const { over } = pending ?? {};
  if (over === undefined) return {};
  if (over.step === 'back') return { pending: over };
  const isThere = installed?.sha256 === (over.step === 'apply' ? over.sha256 : over.before?.sha256);
  const { failed: _, ...anew } = over;
  return isThere ? { pending: { ...(over.step === 'apply' ? anew : over), runs: 0 } } : {};
}

function applied({ previous, ...rest }: Snapshot, pending: Pending): Snapshot {
  const next = previousAfter(pending, previous);
  return { ...rest, ...(next === undefined ? {} : { previous: next }) };
}

/** The way back from a file that has become current. */
export function previousAfter(
  { keep, before }: Pending,
  previous: Installed | undefined,
): Installed | undefined {
  if (!keep || before?.sha256 === undefined) return previous;
  const { sha256, value } = before;
  return { sha256, ...(value === undefined ? {} : { value }) };
}

/**
 * What went back is no longer there for a second way back. What somebody has changed where it was kept goes back all the
 * same, since there is nothing better, but is told as what it is.
 */
function afterPutBack(rest: Snapshot, pending: Pending, installed: Installed | undefined): Snapshot {
  const { installed: _, previous, ...others } = rest;
  const isBack = previous?.sha256 === pending.before?.sha256;
  return {
    ...others,
    ...(installed === undefined ? {} : { installed }),
    ...(previous === undefined || isBack ? {} : { previous }),
    pending: { ...asPutBack(pending, installed), step: 'reapply', runs: 0 },
  };
}

function asPutBack(pending: Pending, installed: Installed | undefined): Pending {
  const { before, failed } = pending;
  if (installed?.sha256 === before?.sha256) return pending;
  const message = `What is back is not what was installed before. ${failed?.message}`;
  return {
    ...pending,
    before: installed === undefined ? {} : { sha256: installed.sha256 },
    ...(failed === undefined ? {} : { failed: { ...failed, message } }),
  };
}

/** The way back is over, however the hook has taken it: there is nothing behind it. */
function ended(rest: Snapshot, pending: Pending): Snapshot {
  const refused = refusalOf(pending);
  return refused === undefined ? rest : { ...rest, failure: { ...refused, retry: 'never' } };
}

/** What whoever asked for a rollback is told where the hook failed for the file that went back; it stays all the same. */
export function failedReapply({ pending }: Snapshot, outcome: Outcome): Reason | undefined {
  if (pending?.step !== 'reapply' || outcome.kind !== 'hooked' || outcome.failed === undefined)
    return undefined;
  return {
    code: 'HOOK_FAILED',
    message: `The previous file is back and held, but its hook failed: ${outcome.failed.message}`,
    hint: 'the output of the hook is in the log: do by hand what it should have done',
  };
}
