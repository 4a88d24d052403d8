/**
 * What to do about one file. Everything is decided here, from values alone:
 * `decide` says what to do now, `record` what an attempt has changed, `reportOf` what the shadow is told.
 *
 * Rules: install only what is desired and not yet there; a failure always ends in a wait; a new desired value ends
 * every wait; "current" is said only of bytes that are on the disk.
 */
import type { Artifact, Desired } from './artifact.ts';
import { backoffMs, slow, soon } from './backoff.ts';
import type { ErrorCode, Retry } from './errors.ts';
import { type JsonObject, type JsonValue, jsonEqual } from './json.ts';

/** What the target hashes to, and the desired value that it was installed for where that is known. */
export interface Installed {
  sha256: string;
  value?: JsonObject;
}

/** The last failed attempt, and the desired value that it answers. */
export interface Failure {
  value: JsonValue;
  code: ErrorCode;
  message: string;
  hint?: string | undefined;
  retry: Retry;
  /** Failed attempts in a row, from 1. */
  attempt: number;
  /** Monotonic ms of the next try; never where it is missing. */
  retryAtMs?: number;
}

/** All that is known of one file at the start of a turn. */
export interface Snapshot {
  desired: Desired;
  installed?: Installed;
  failure?: Failure;
  /** The last install of this run; another program that keeps changing the file must not make a loop of downloads. */
  lastInstall?: LastInstall;
}

/** An install, and when the same desired value may be installed again. Times are monotonic ms. */
export interface LastInstall {
  value: JsonValue;
  /** Installs of this value in a row, from 1. */
  count: number;
  atMs: number;
  againAtMs: number;
}

export type Action =
  | { do: 'wait'; untilMs?: number }
  | { do: 'install'; artifact: Artifact; value: JsonObject };

/** How an action ended. `superseded`: it was aborted, by a newer desired value or by shutdown. */
export type Outcome =
  | { kind: 'waited' | 'superseded' }
  | { kind: 'installed'; value: JsonValue; installed: Installed }
  | {
      kind: 'failed';
      value: JsonValue;
      error: { code: ErrorCode; message: string; hint?: string | undefined; retry: Retry };
      /** Whether the attempt brought bytes that the next one can build on. */
      gained: boolean;
    };

/** What is to be done now; a wait without `untilMs` lasts until something changes. */
export function decide(snapshot: Snapshot, nowMs: number): Action {
  const { desired, installed } = snapshot;
  if (desired.kind !== 'artifact') return { do: 'wait' };
  if (installed?.sha256 === desired.artifact.sha256) return { do: 'wait' };
  const failure = failureOf(snapshot);
  if (failure !== undefined && failure.retryAtMs === undefined) return { do: 'wait' };
  if (failure?.retryAtMs !== undefined && failure.retryAtMs > nowMs) {
    return { do: 'wait', untilMs: failure.retryAtMs };
  }
  const { lastInstall } = snapshot;
  if (
    lastInstall !== undefined &&
    lastInstall.againAtMs > nowMs &&
    jsonEqual(lastInstall.value, desired.value)
  ) {
    return { do: 'wait', untilMs: lastInstall.againAtMs };
  }
  return { do: 'install', artifact: desired.artifact, value: desired.value };
}

/** The failure that answers the present desired value; one of an earlier value is history. */
export function failureOf({ desired, failure }: Snapshot): Failure | undefined {
  if (failure === undefined || desired.kind !== 'artifact') return undefined;
  return jsonEqual(failure.value, desired.value) ? failure : undefined;
}

/** The snapshot after an action. `random` is from 0 to under 1. */
export function record(snapshot: Snapshot, outcome: Outcome, nowMs: number, random: number): Snapshot {
  switch (outcome.kind) {
    case 'waited':
    case 'superseded':
      return snapshot;
    case 'installed':
      return {
        desired: snapshot.desired,
        installed: outcome.installed,
        lastInstall: nextInstall(snapshot, outcome.value, nowMs, random),
      };
    case 'failed':
      return { ...snapshot, failure: nextFailure(snapshot, outcome, nowMs, random) };
  }
}

/** A file that was changed is repaired at once; if it is changed again, with growing waits, until two hours were quiet. */
function nextInstall(
  { lastInstall }: Snapshot,
  value: JsonValue,
  nowMs: number,
  random: number,
): LastInstall {
  const isRepair =
    lastInstall !== undefined &&
    nowMs - lastInstall.atMs < soon.maxMs * 2 &&
    jsonEqual(lastInstall.value, value);
  const count = isRepair ? lastInstall.count + 1 : 1;
  return {
    value,
    count,
    atMs: nowMs,
    againAtMs: nowMs + (isRepair ? backoffMs(soon, count - 1, random) : 0),
  };
}

function nextFailure(
  { failure }: Snapshot,
  { value, error, gained }: Extract<Outcome, { kind: 'failed' }>,
  nowMs: number,
  random: number,
): Failure {
  const again = failure !== undefined && !gained && jsonEqual(failure.value, value);
  const attempt = again ? failure.attempt + 1 : 1;
  const { code, message, hint, retry } = error;
  const base = { value, code, message, hint, retry, attempt };
  if (retry !== 'soon' && retry !== 'slow') return base;
  return { ...base, retryAtMs: nowMs + backoffMs(retry === 'soon' ? soon : slow, attempt, random) };
}

/** A new link is a reason to try at once what was likely to pass by itself. */
export function reconnected(snapshot: Snapshot, nowMs: number): Snapshot {
  const { failure } = snapshot;
  if (failure?.retry !== 'soon') return snapshot;
  return { ...snapshot, failure: { ...failure, retryAtMs: nowMs } };
}

/** An error in the words for the person on call. */
interface Reason {
  code: ErrorCode;
  message: string;
  hint?: string | undefined;
}

/** Where a file stands for `--once`: still to be tried, done, or failed for now. */
export function settled(snapshot: Snapshot): 'pending' | 'done' | Reason {
  const { desired, installed } = snapshot;
  if (desired.kind === 'unknown') return 'pending';
  if (desired.kind === 'absent') return 'done';
  if (desired.kind === 'refused') return desired;
  if (installed?.sha256 === desired.artifact.sha256) return 'done';
  const failure = failureOf(snapshot);
  return failure === undefined || failure.retry === 'soon' ? 'pending' : failure;
}

/** What goes on while the report is made. */
export type Activity = 'idle' | 'stopping' | { bytes: number; size?: number };

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

/** What the shadow is to be told of one file. What is missing stays as it was; a null status is taken back. */
export interface Report {
  mirror?: JsonObject;
  status?: FileStatus | null;
}

/**
 * The report of one file.
 *
 * `failed` is an error that somebody has to mend (class slow or never), `waiting` one that is likely to pass.
 * Where nothing is desired any more all stays as it was, but for a status that promised more to come.
 */
export function reportOf(snapshot: Snapshot, activity: Activity, last?: FileStatus | null): Report {
  const { desired, installed } = snapshot;
  switch (desired.kind) {
    case 'unknown':
      return {};
    case 'absent':
      if (desired.noShadow && installed !== undefined) return reportInstalled(installed);
      return last?.status === 'downloading' || last?.status === 'waiting' ? { status: null } : {};
    case 'refused':
      return { status: failed(desired, desired.sha256) };
    case 'artifact': {
      const hash = desired.artifact.sha256;
      if (installed?.sha256 === hash) return { mirror: desired.value, status: { status: 'current', hash } };
      if (typeof activity === 'object') return { status: { status: 'downloading', hash, ...activity } };
      const failure = failureOf(snapshot);
      if (failure !== undefined) return { status: afterFailure(failure, hash) };
      return activity === 'stopping' && last?.status === 'downloading'
        ? { status: { status: 'waiting', hash } }
        : {};
    }
  }
}

function reportInstalled({ sha256, value }: Installed): Report {
  return { mirror: value ?? { hash: sha256 }, status: { status: 'current', hash: sha256 } };
}

function afterFailure(failure: Failure, hash: string): FileStatus {
  const { attempt, retryAtMs, retry } = failure;
  const status = retry === 'soon' ? 'waiting' : 'failed';
  return { ...failed(failure, hash), status, attempt, ...(retryAtMs === undefined ? {} : { retryAtMs }) };
}

function failed({ code, message }: { code: ErrorCode; message: string }, hash?: string): FileStatus {
  return { status: 'failed', ...(hash === undefined ? {} : { hash }), code, message };
}
