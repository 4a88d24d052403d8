/** How a file stands: whether it is current or held, and what has failed for it. */
import { type Wanted, wantedBy } from './artifact.ts';
import { jsonEqual } from './json.ts';
import { dueOf } from './pending.ts';
import type { Failure, Reason, Snapshot } from './reconcile.ts';
import { heldBack } from './rollback.ts';

/** Whether what is desired is there, and no hook has refused it: that somebody puts there by hand is no word of its hook. */
export function isCurrent(snapshot: Snapshot): boolean {
  const { desired, installed, failure } = snapshot;
  const wanted = wantedBy(desired);
  if (wanted === undefined || installed?.sha256 !== wanted.artifact.sha256) return false;
  const isRefused = failure?.code === 'HOOK_FAILED' && jsonEqual(failure.value, wanted.value);
  return dueOf(snapshot) === undefined && !isRefused;
}

/** Whether what is desired is what a rollback has refused, and is not there. */
export function isHeld({ desired, installed, held }: Snapshot): boolean {
  const sha256 = wantedBy(desired)?.artifact.sha256;
  return held !== undefined && held.sha256 === sha256 && installed?.sha256 !== sha256;
}

/** The failure of the step that is due, else of what is desired now; one of an earlier value is history. */
export function failureOf(snapshot: Snapshot): Failure | undefined {
  const { desired, failure, blocked } = snapshot;
  if (dueOf(snapshot) !== undefined) return blocked;
  const wanted = wantedBy(desired);
  if (wanted === undefined || isCurrent(snapshot)) return undefined;
  const isPresent = failure !== undefined && jsonEqual(failure.value, wanted.value);
  return isPresent ? failure : changedAgain(snapshot, wanted);
}

/** Installs in a row that were undone, from which on somebody is told. */
const toldChanges = 3;

/** A file that does not stay as it was installed, however often: that is for somebody to mend, and tried again all the same. */
function changedAgain({ installed, lastInstall }: Snapshot, wanted: Wanted): Failure | undefined {
  if (lastInstall === undefined || lastInstall.count < toldChanges) return undefined;
  if (installed?.sha256 === wanted.artifact.sha256 || !jsonEqual(lastInstall.value, wanted.value))
    return undefined;
  return {
    value: wanted.value,
    code: 'INSTALL',
    message: 'Something changes or removes the file after each install',
    hint: 'find what writes to it: a hook must leave the file as it is, and work on a copy',
    retry: 'slow',
    attempt: lastInstall.count,
    retryAtMs: lastInstall.againAtMs,
  };
}

/** Where a file stands for `--once`: still to be tried, done, or failed for now. */
export function settled(snapshot: Snapshot): 'pending' | 'done' | Reason {
  const { desired } = snapshot;
  if (desired.kind === 'unknown' || dueOf(snapshot) !== undefined) return 'pending';
  if (desired.kind === 'absent') return 'done';
  if (desired.kind === 'refused') return desired;
  if (isCurrent(snapshot)) return 'done';
  if (isHeld(snapshot)) return heldBack;
  const failure = failureOf(snapshot);
  return failure === undefined || failure.retry === 'soon' ? 'pending' : failure;
}
