/**
 * What to do about one file. Everything is decided here, from values alone:
 * `decide` says what to do now, `record` what an attempt has changed. How a file stands then is told in standing.ts, what
 * stands between an installed file and a current one in pending.ts, and what the shadow is told in report.ts.
 *
 * Rules: install only what is desired and not yet there; a failure always ends in a wait; a new desired value ends
 * every wait; "current" is said only of bytes that are on the disk, and whose hook has succeeded.
 */
import { type Desired, type Wanted, wantedBy } from './artifact.ts';
import { backoffMs, slow, soon } from './backoff.ts';
import { AgentError, type ErrorCode, type Retry } from './errors.ts';
import { type JsonObject, type JsonValue, jsonEqual } from './json.ts';
import {
  decidePending,
  dueOf,
  failedRepair,
  type HookFailure,
  type Pending,
  recordPending,
  restsUntilMs,
} from './pending.ts';
import { failureOf, isHeld } from './standing.ts';

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
  /** Of an install. */
  failure?: Failure;
  /** The file that the installed one has replaced, where it is kept. */
  previous?: Installed;
  /** What is to be ended first. */
  pending?: Pending;
  /** Why that could not be ended yet, and the value that something was last tried for. */
  blocked?: Failure;
  /** The desired hash that a rollback has refused. */
  held?: { sha256: string };
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
  | ({ do: 'install' } & Wanted)
  /** Run the hook, of which `runs` counts this run as well. */
  | { do: 'hook'; pending: Pending }
  | { do: 'put-back'; pending: Pending }
  /** Nothing is to be done for this outcome. */
  | { do: 'conclude'; outcome: Outcome };

/** How an action ended. `superseded`: it was aborted, by a newer desired value or by shutdown. */
export type Outcome =
  | { kind: 'waited' | 'superseded' }
  /** `pending` where the file has a hook, `previous` where the file that it replaced is kept. */
  | { kind: 'installed'; value: JsonValue; installed: Installed; pending?: Pending; previous?: Installed }
  | { kind: 'hooked'; failed?: HookFailure }
  /** The file that the hook was for is not there. */
  | { kind: 'unapplied' }
  /** `installed` is missing where nothing was there before. */
  | { kind: 'put-back'; installed?: Installed }
  | {
      kind: 'failed';
      value: JsonValue;
      error: { code: ErrorCode; message: string; hint?: string | undefined; retry: Retry };
      /** Whether the attempt brought bytes that the next one can build on. */
      gained: boolean;
      /** It is the pending step that has failed, no install. */
      step?: true;
    };

type Failed = Extract<Outcome, { kind: 'failed' }>;

/** What is to be done now; a wait without `untilMs` lasts until something changes. */
export function decide(snapshot: Snapshot, nowMs: number): Action {
  const againMs = restsUntilMs(snapshot);
  const due = againMs <= nowMs ? snapshot.pending : dueOf(snapshot);
  if (due !== undefined) return decidePending(due, snapshot, nowMs);
  const action = decideInstall(snapshot, nowMs);
  if (action.do !== 'wait' || againMs === Number.POSITIVE_INFINITY) return action;
  return { do: 'wait', untilMs: Math.min(action.untilMs ?? againMs, againMs) };
}

function decideInstall(snapshot: Snapshot, nowMs: number): Action {
  const { desired, installed } = snapshot;
  const wanted = wantedBy(desired);
  if (wanted === undefined || installed?.sha256 === wanted.artifact.sha256) return { do: 'wait' };
  if (isHeld(snapshot)) return { do: 'wait' };
  const failure = failureOf(snapshot);
  if (failure !== undefined && failure.retryAtMs === undefined) return { do: 'wait' };
  if (failure?.retryAtMs !== undefined && failure.retryAtMs > nowMs) {
    return { do: 'wait', untilMs: failure.retryAtMs };
  }
  const { lastInstall } = snapshot;
  if (
    lastInstall !== undefined &&
    lastInstall.againAtMs > nowMs &&
    jsonEqual(lastInstall.value, wanted.value)
  ) {
    return { do: 'wait', untilMs: lastInstall.againAtMs };
  }
  return { do: 'install', artifact: wanted.artifact, value: wanted.value };
}

/** The snapshot after an action. `random` is from 0 to under 1. */
export function record(snapshot: Snapshot, outcome: Outcome, nowMs: number, random: number): Snapshot {
  switch (outcome.kind) {
    case 'waited':
    case 'superseded':
      return snapshot;
    case 'installed':
      return afterInstall(snapshot, outcome, nextInstall(snapshot, outcome.value, nowMs, random));
    case 'hooked': {
      const again = failedRepair(snapshot, outcome);
      const { failed } = outcome;
      if (again === undefined || snapshot.pending === undefined || failed === undefined)
        return recordPending(snapshot, outcome);
      const pending = { ...snapshot.pending, runs: 0, failed };
      return { ...snapshot, pending, blocked: nextBlocked(snapshot, again, nowMs, random) };
    }
    case 'put-back':
    case 'unapplied':
      return recordPending(snapshot, outcome);
    case 'failed':
      if (outcome.step === true)
        return { ...snapshot, blocked: nextBlocked(snapshot, outcome, nowMs, random) };
      if (isRefused(snapshot, outcome.value)) return snapshot;
      return {
        ...snapshot,
        failure: nextFailure(snapshot.failure, outcome, nowMs, random),
        // The value that was desired as that failed ends its wait again.
        ...(snapshot.blocked === undefined ? {} : { blocked: { ...snapshot.blocked, value: outcome.value } }),
      };
  }
}

/** A target that cannot be read for now must not have a refused value tried again later. */
function isRefused({ failure }: Snapshot, value: JsonValue): boolean {
  return failure?.retry === 'never' && jsonEqual(failure.value, value);
}

function afterInstall(
  { desired, held }: Snapshot,
  { installed, pending, previous }: Extract<Outcome, { kind: 'installed' }>,
  lastInstall: LastInstall,
): Snapshot {
  return {
    desired,
    installed,
    ...(held === undefined ? {} : { held }),
    ...(pending === undefined ? {} : { pending }),
    ...(previous === undefined ? {} : { previous }),
    lastInstall,
  };
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

/** Whatever a step is for, another desired value is to end its wait. */
function nextBlocked(
  { blocked, desired }: Snapshot,
  outcome: Failed,
  nowMs: number,
  random: number,
): Failure {
  const value = wantedBy(desired)?.value ?? outcome.value;
  return nextFailure(blocked, { ...outcome, value }, nowMs, random);
}

function nextFailure(
  last: Failure | undefined,
  { value, error, gained }: Failed,
  nowMs: number,
  random: number,
): Failure {
  const isSame = last !== undefined && jsonEqual(last.value, value);
  const attempt = isSame && !gained ? last.attempt + 1 : 1;
  const { code, message, hint, retry } = error;
  const base = { value, code, message, hint, retry, attempt };
  if (retry !== 'soon' && retry !== 'slow') return base;
  return { ...base, retryAtMs: nowMs + backoffMs(retry === 'soon' ? soon : slow, attempt, random) };
}

/** A new link is a reason to try at once what was likely to pass by itself. */
export function reconnected(snapshot: Snapshot, nowMs: number): Snapshot {
  const { failure, blocked } = snapshot;
  return {
    ...snapshot,
    ...(failure?.retry === 'soon' ? { failure: { ...failure, retryAtMs: nowMs } } : {}),
    ...(blocked?.retry === 'soon' ? { blocked: { ...blocked, retryAtMs: nowMs } } : {}),
  };
}

/** An error in the words for the person on call. */
export interface Reason {
  code: ErrorCode;
  message: string;
  hint?: string | undefined;
}

/** The error that tells the reason, and of which file. */
export function reasonError(property: string, { code, message, hint }: Reason): AgentError {
  return new AgentError(code, `${property}: ${message}`, hint === undefined ? {} : { hint });
}
