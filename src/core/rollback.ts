/** The rollback that somebody asks for: where it leads, what it holds, and why there is none. */
import type { Pending } from './pending.ts';
import type { Reason, Snapshot } from './reconcile.ts';

/**
 * The file before goes back, and what is desired now is held until another hash is desired. Where what goes back is
 * desired, the one that was there is held instead. Nothing older is kept behind it, also where a failed hook had begun the
 * way back, or an install that it ends had not yet made its own way the one that is kept.
 *
 * @param lastDesired the hash that was last seen to be desired, for as long as the shadow has not answered
 * @returns the snapshot with the way back pending, to be gone at once, or why there is none
 */
export function rollback(snapshot: Snapshot, lastDesired?: string): Snapshot | Reason {
  const { previous: _previous, held, failure: _failure, blocked: _blocked, ...rest } = snapshot;
  const { desired } = rest;
  const pending = wayBack(snapshot);
  if (pending === undefined) return nothingOlder(snapshot);
  const last = lastDesired ?? held?.sha256 ?? pending.sha256;
  const wanted = desired.kind === 'artifact' ? desired.artifact.sha256 : last;
  const refused = wanted === pending.before?.sha256 ? pending.sha256 : wanted;
  return {
    ...rest,
    ...(refused === '' ? {} : { held: { sha256: refused } }),
    pending,
  };
}

/** One that is being gone already, for a failed hook or an earlier rollback, is gone to its end. */
function wayBack({ pending, previous, installed }: Snapshot): Pending | undefined {
  if (pending !== undefined && pending.step !== 'apply') {
    const { failed: _, ...begun } = pending;
    return { ...begun, runs: 0 };
  }
  // What an install was about to replace is there yet where that was cut short before the rename.
  const ways = [pending?.keep === true ? pending.before : undefined, previous];
  const before = ways.find((way) => way?.sha256 !== undefined && way.sha256 !== installed?.sha256);
  if (before === undefined) return undefined;
  const sha256 = pending?.sha256 ?? installed?.sha256 ?? '';
  const value = pending?.value ?? installed?.value;
  return {
    step: 'back',
    sha256,
    ...(value === undefined ? {} : { value }),
    before,
    keep: false,
    runs: 0,
  };
}

function nothingOlder({ held, installed, pending, previous }: Snapshot): Reason {
  if (held !== undefined) {
    return {
      code: 'HELD',
      message: 'It was rolled back already, and nothing older is kept',
      hint: 'desire the hash of the file that you want',
    };
  }
  const ways = [pending?.before, previous];
  const isThere = ways.some((way) => way?.sha256 !== undefined && way.sha256 === installed?.sha256);
  return isThere ? inPlace : noneKept;
}

const inPlace: Reason = {
  code: 'INSTALL',
  message: 'The previous file is in place already',
  hint: 'desire its hash, so that it stays',
};

/** Why there is no way back where none was gone either. */
export const noneKept: Reason = {
  code: 'INSTALL',
  message: 'No previous file is kept',
  hint: 'one is kept from the second install on, unless "keepPrevious" is false or room was short; desire the hash of the file that you want',
};

/** Why nothing is done about a hash that a rollback has refused. */
export const heldBack: Reason = {
  code: 'HELD',
  message: 'Rolled back by hand: what is installed stays until another hash is desired',
  hint: 'desire another hash',
};

/** Why a rollback that somebody waits for is not over. */
export const agentEnds: Reason = {
  code: 'INSTALL',
  message: 'The agent ends; what was begun is ended at its next start',
};

/** Why a rollback is not begun any more. */
export const agentIsDone: Reason = {
  code: 'INSTALL',
  message: 'The agent is done with this file, and nothing was put back',
  hint: 'ask again once it has ended; with --once that is when its other files are done',
};

/** Drops the hold that a rollback left, as soon as another hash is desired. */
export function released(snapshot: Snapshot): Snapshot {
  const { held, ...rest } = snapshot;
  const { desired } = snapshot;
  if (held === undefined || desired.kind !== 'artifact') return snapshot;
  return desired.artifact.sha256 === held.sha256 ? snapshot : rest;
}
