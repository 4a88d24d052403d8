/** One attempt at a file: from what is desired to what is installed. It tries once, and throws a coded error. */
import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { FileConfig } from './config.ts';
import type { Artifact } from './core/artifact.ts';
import type { JsonObject } from './core/json.ts';
import { type Pending, previousAfter } from './core/pending.ts';
import type { Installed, Outcome } from './core/reconcile.ts';
import type { DigestEngine } from './io/digest.ts';
import { DiskFull, makeDirectory, onSameDisk, readBootId } from './io/disk.ts';
import { download } from './io/download.ts';
import { inherit } from './io/inherit.ts';
import { install } from './io/install.ts';
import type { KeptFiles } from './io/kept.ts';
import { cleanParts, type Part, partPath } from './io/part.ts';
import type { Room } from './io/room.ts';
import type { GetObject } from './io/s3.ts';
import { SignedObject } from './io/signature.ts';
import type { FileStamp, StampedInstalled, StateChange } from './io/state.ts';
import type { Target } from './io/target.ts';
import { assertWay, type OpenOnTheWay } from './io/way.ts';

export interface UpdateJob {
  file: FileConfig;
  artifact: Artifact;
  /** The desired value that asks for the artifact. */
  value: JsonObject;
  /** What the target holds now. */
  installed: Installed | undefined;
  kept: KeptFiles;
  stallSeconds: number;
  digest: DigestEngine;
  getObject: GetObject;
  room: Room;
  /** What others could replace on the way to the target; nothing is installed then. */
  openOnTheWay?: OpenOnTheWay | undefined;
  target: Target;
  onReceived: (bytes: number) => void;
  onProgress: (bytes: number, size: number | undefined) => void;
  /** Called before the rename: aborts the signal where the desired value has been withdrawn meanwhile. */
  confirm: () => Promise<void>;
  signal: AbortSignal;
}

/** What an update has installed. */
export type Updated = Extract<Outcome, { kind: 'installed' }> & { installed: StampedInstalled };

/**
 * Downloads, verifies and installs. Where the file has a hook, it is pending then.
 *
 * @throws AgentError of io/download.ts or io/install.ts; the signal's reason when it is aborted. The target is then
 * what it was, or new where only its directory could not be synced: that stays announced as pending.
 */
export async function update(job: UpdateJob): Promise<Updated> {
  const { file, artifact, value, signal, target } = job;
  const { property, path } = file;
  signal.throwIfAborted();
  await makeWay(job);
  await written(job, () => target.assertStorable());
  await cleanParts(property, path, artifact.sha256);
  const signed = signedObject(job);
  const part = await download({
    artifact,
    path: partPath(property, path, artifact.sha256),
    uids: await ownersOf(file),
    getObject: signed?.get ?? job.getObject,
    record: target.stored.part,
    saveRecord: (record) => written(job, () => target.announce({ part: record })),
    digest: job.digest,
    maxBytes: file.maxBytes,
    stallSeconds: job.stallSeconds,
    onReceived: job.onReceived,
    room: job.room,
    bootId: await readBootId(),
    makeRoom: (bytes) => dropPrevious(job, dirname(path), bytes),
    onProgress: job.onProgress,
    signal,
  });
  await orClose(part, async () => {
    const seal = await signed?.seal({ artifact }, part.length, signal);
    await job.confirm();
    signal.throwIfAborted();
    // From here on no older signature is taken, also if this install is cut short.
    if (seal !== undefined) await target.announce({ signature: seal });
  });
  const installed = { sha256: artifact.sha256, value, stamp: await replace(job, part) };
  const past = { part: undefined, failure: undefined, blocked: undefined };
  await target.store({ installed, ...past, ...withoutHook(job) });
  const { previous, pending } = target.stored;
  await job.kept.clean([previous, pending?.before]);
  return {
    kind: 'installed',
    value,
    installed,
    ...(pending === undefined ? {} : { pending }),
    ...(previous === undefined ? {} : { previous }),
  };
}

/** At the start a directory may not have been there: whoever was first to make it could replace what is in it. */
async function makeWay({ file: { path }, openOnTheWay }: UpdateJob): Promise<void> {
  // What keeps it from being made is told where the part is.
  await makeDirectory(dirname(path)).catch(() => undefined);
  await assertWay(path, openOnTheWay);
}

/** Writes to the state file; where its disk is full, the previous file goes for it. @throws what `write` throws */
async function written(job: UpdateJob, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    const isRoomMade = error instanceof DiskFull && (await dropPrevious(job, error.directory, error.short));
    if (!isRoomMade) throw error;
    await write();
  }
}

/** Whom an install would give the file to: nobody else may have held the part open. */
async function ownersOf({ path, owner }: FileConfig): Promise<number[]> {
  if (owner !== undefined) return [owner.uid];
  const old = await lstat(path).catch(() => undefined);
  const kept = await inherit(path, old, owner);
  return kept === undefined ? [] : [kept.uid];
}

function signedObject({ file, getObject, target }: UpdateJob): SignedObject | undefined {
  if (file.verify === undefined) return undefined;
  const { publicKeys } = file.verify;
  return new SignedObject({
    getObject,
    property: file.property,
    publicKeys,
    last: target.stored.signature,
  });
}

async function orClose(part: Part, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    await part.close();
    throw error;
  }
}

/**
 * Installs the part, and says before the rename in the state file what is then pending, and what is kept: whichever file
 * is there after a power cut, the way back from it is known. A file with a hook is always kept until the hook has
 * succeeded.
 */
async function replace(job: UpdateJob, part: Part): Promise<FileStamp> {
  const { file, artifact, value, installed, target, kept, signal } = job;
  const hasHook = file.onInstall !== undefined;
  const isDesired = wasDesired(job);
  const inherited = inheritedWay(job);
  const isWayBack = inherited === undefined && file.keepPrevious && isDesired;
  const { installed: known, pending: owed } = target.stored;
  const unproven = installed === undefined || isDesired ? {} : ({ unproven: true } as const);
  const before = { ...installed, ...unproven };
  // A file that is gone before its hook has taken it is none that was installed before.
  const isProven = owed?.sha256 !== artifact.sha256 || owed.repair === true;
  const isRepair = known?.sha256 === artifact.sha256 && known.unproven !== true && isProven;
  const repair = isRepair ? ({ repair: true } as const) : {};
  // What the announcement takes back, where the install fails; a previous file that went for room is gone.
  let taken: StateChange = {};
  const announce = async (isKept: boolean) => {
    const { sha256 } = artifact;
    const way = inherited ?? (isKept ? { before, keep: isWayBack, runs: 0 } : { keep: false, runs: 0 });
    const over = owed === undefined ? {} : { over: withoutOver(owed) };
    const pending = { step: 'apply', sha256, value, ...way, ...repair, ...over } as const;
    const gone = {
      ...(hasHook ? { failure: undefined } : {}),
      ...(isWayBack && !isKept ? { previous: undefined } : {}),
    };
    const { previous } = target.stored;
    await target.announce({ pending, ...gone });
    taken = { previous };
  };
  try {
    const { path, mode, owner } = file;
    const claim = (directory: string) =>
      job.room.claim(directory, (bytes) => dropPrevious(job, directory, bytes));
    const isKeeping = inherited === undefined && (hasHook || isWayBack);
    const previousPath = isKeeping ? kept.pathOf(before) : undefined;
    return await install({
      part,
      target: path,
      mode,
      owner,
      previousPath,
      mustKeep: hasHook,
      claim,
      announce,
      withdraw: async () => {
        await target.store({ pending: owed, ...taken });
        await kept.clean([target.stored.previous, owed?.before]);
      },
      signal,
    });
  } catch (error) {
    if (error instanceof DiskFull) await dropPrevious(job, error.directory, error.short);
    throw error;
  }
}

/**
 * The way back from a file that no hook has taken, or that is to give way already, is that of the one that replaces it. The
 * same file, after it went out of sight, has the runs of its hook as well.
 */
function inheritedWay(job: UpdateJob): Pick<Pending, 'before' | 'keep' | 'runs'> | undefined {
  const { installed, artifact, target, file } = job;
  const { pending: owed } = target.stored;
  if (owed === undefined) return undefined;
  const { before } = owed;
  const way = before === undefined ? {} : { before };
  if (installed === undefined && owed.sha256 === artifact.sha256)
    return { ...way, keep: owed.keep, runs: owed.runs };
  if (!isUntaken(owed, installed) || before?.sha256 === artifact.sha256) return undefined;
  const isProven = before?.sha256 !== undefined && before.unproven !== true;
  return { ...way, keep: file.keepPrevious && isProven, runs: 0 };
}

function withoutOver({ over: _, ...step }: Pending): Omit<Pending, 'over'> {
  return step;
}

function isUntaken({ step, sha256, repair }: Pending, installed: Installed | undefined): boolean {
  const isIt = installed === undefined || installed.sha256 === sha256;
  return step === 'back' || (step === 'apply' && repair !== true && isIt);
}

/** Without a hook nothing is pending any more once the file is there. */
function withoutHook({ file, target }: UpdateJob): Pick<StateChange, 'pending' | 'previous'> {
  const { pending, previous } = target.stored;
  if (file.onInstall !== undefined || pending === undefined) return {};
  return { pending: undefined, previous: previousAfter(pending, previous) };
}

/**
 * A file that was changed on the device, or that no hook has taken, is no way back: that must lead to something that was
 * desired once.
 */
function wasDesired({ installed, target }: UpdateJob): boolean {
  const { installed: known, pending: owed } = target.stored;
  if (owed !== undefined && isUntaken(owed, installed)) return false;
  if (installed === undefined || known === undefined) return installed !== undefined;
  return known.sha256 === installed.sha256 && known.unproven !== true;
}

/**
 * The previous file is the first thing to go when room is short, if that is of use.
 *
 * @param directory on the file system that has no room
 * @param short bytes that are missing there, as far as that is known
 */
async function dropPrevious({ target, kept }: UpdateJob, directory: string, short: number): Promise<boolean> {
  const { previous, pending } = target.stored;
  if (previous === undefined || !(await onSameDisk(directory, kept.directory))) return false;
  const { size = 0 } = (await lstat(kept.pathOf(previous)).catch(() => undefined)) ?? {};
  if (size < short) return false;
  await target.store({ previous: undefined });
  await kept.clean([pending?.before]);
  return true;
}
