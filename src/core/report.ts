/** What the shadow is told of one file: `reportOf` makes it of a snapshot, from values alone. */
import type { ErrorCode } from './errors.ts';
import { type JsonObject, member } from './json.ts';
import { dueOf } from './pending.ts';
import type { Failure, Installed, Snapshot } from './reconcile.ts';
import { heldBack } from './rollback.ts';
import { failureOf, isCurrent, isHeld } from './standing.ts';

/** What goes on while the report is made; `applying` once a hook takes long enough to be told of. */
export type Activity = 'idle' | 'applying' | 'stopping' | { bytes: number; size?: number };

/** The status of one file as the shadow shows it, in `reported.shadowAgent.files.<property>`. */
export interface FileStatus {
  status: 'current' | 'downloading' | 'waiting' | 'failed';
  hash?: string;
  code?: ErrorCode;
  message?: string;
  attempt?: number;
  /** Monotonic ms of the next try. */
  retryAtMs?: number;
  bytes?: number;
  size?: number;
}

/** What the shadow is to be told of one file. What is missing stays as it was; null is taken back. */
export interface Report {
  mirror?: JsonObject | null;
  status?: FileStatus | null;
}

/**
 * The report of one file.
 *
 * `failed` is an error that somebody has to mend (class slow or never), `waiting` one that is likely to pass.
 * Where nothing is desired any more all stays as it was, but for a status that promised more to come, and for what a
 * rollback, or a hook that was still to end, has made untrue.
 *
 * @param last the status that the shadow shows, or is about to, maybe of an earlier run
 */
export function reportOf(snapshot: Snapshot, activity: Activity, last?: JsonObject | null): Report {
  const { desired, installed, pending } = snapshot;
  switch (desired.kind) {
    case 'unknown':
      return {};
    case 'absent':
      if (desired.noShadow && pending === undefined && installed !== undefined)
        return reportInstalled(installed);
      return reportUndesired(snapshot, last ?? {});
    case 'refused':
      return { ...mirrorOfProven(snapshot), status: failed(desired, desired.sha256) };
    case 'artifact': {
      const hash = desired.artifact.sha256;
      if (dueOf(snapshot) !== undefined) return whilePending(snapshot, hash, activity);
      if (isCurrent(snapshot)) return { mirror: desired.value, status: { status: 'current', hash } };
      if (isHeld(snapshot)) {
        return { ...mirrorOf(installed), status: statusOfHeld(hash) };
      }
      if (typeof activity === 'object') return { status: { status: 'downloading', hash, ...activity } };
      const failure = failureOf(snapshot);
      if (failure !== undefined) {
        const mirror = failure.code === 'HOOK_FAILED' ? mirrorOf(installed) : {};
        return { ...mirror, status: afterFailure(failure, hash) };
      }
      return activity === 'stopping' && last?.['status'] === 'downloading'
        ? { status: { status: 'waiting', hash } }
        : {};
    }
  }
}

function reportUndesired(snapshot: Snapshot, last: JsonObject): Report {
  const proven = mirrorOfProven(snapshot);
  const { held, pending } = snapshot;
  if (held !== undefined && pending === undefined) return { ...proven, status: statusOfHeld(held.sha256) };
  if (isPromise(last)) return { ...proven, status: null };
  const { installed } = snapshot;
  const isUntrue = last['status'] === 'current' && last['hash'] !== installed?.sha256;
  return isUntrue && installed !== undefined && proven.mirror !== undefined
    ? reportInstalled(installed)
    : proven;
}

/** What is installed, where it was desired once and nothing of it is to be ended. */
function mirrorOfProven({ pending, installed }: Snapshot): Report {
  return pending === undefined && installed?.value !== undefined ? mirrorOf(installed) : {};
}

function isPromise(status: JsonObject): boolean {
  const word = member(status, 'status');
  return word === 'downloading' || word === 'waiting' || member(status, 'retryAt') !== undefined;
}

/** A hook of two seconds is not worth a message; nothing is current before it has succeeded. */
function whilePending(snapshot: Snapshot, hash: string, activity: Activity): Report {
  const failure = failureOf(snapshot);
  if (failure !== undefined) return { status: afterFailure(failure, hash) };
  if (activity !== 'applying' && activity !== 'stopping') return {};
  return { status: { status: 'waiting', hash, message: 'The hook of the file is to end first' } };
}

function reportInstalled(installed: Installed): Report {
  return { ...mirrorOf(installed), status: { status: 'current', hash: installed.sha256 } };
}

/** What is installed, by the value that it was desired with where that is known. */
function mirrorOf(installed: Installed | undefined): Report {
  if (installed === undefined) return { mirror: null };
  return { mirror: installed.value ?? { hash: installed.sha256 } };
}

function statusOfHeld(hash: string): FileStatus {
  return { status: 'waiting', hash, ...told(heldBack) };
}

function told({ code, message }: { code: ErrorCode; message: string }) {
  return { code, message };
}

function afterFailure(failure: Failure, hash: string): FileStatus {
  const { attempt, retryAtMs, retry } = failure;
  const status = retry === 'soon' ? 'waiting' : 'failed';
  return { ...failed(failure, hash), status, attempt, ...(retryAtMs === undefined ? {} : { retryAtMs }) };
}

function failed(reason: { code: ErrorCode; message: string }, hash?: string): FileStatus {
  return { status: 'failed', ...(hash === undefined ? {} : { hash }), ...told(reason) };
}
