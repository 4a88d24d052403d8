/**
 * The atomic install: at every instant the target is exactly the old file or exactly the new one.
 *
 * Order: sync the part, keep the previous file, owner and mode on the part, sync these, rename, sync the directory. Only
 * then may anybody be told. What is kept is a second name of the old file, so that the target is never away.
 */
import type { BigIntStats, Stats } from 'node:fs';
import { constants } from 'node:fs';
import { lstat, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AgentError } from '../core/errors.ts';
import type { Owner } from './accounts.ts';
import type { DigestEngine } from './digest.ts';
import {
  DiskFull,
  diskError,
  errnoOf,
  hashFile,
  isNamed,
  onSameDisk,
  remove,
  syncDirectory,
} from './disk.ts';
import { give, type Inherited, inherit, notGiven } from './inherit.ts';
import { keep } from './kept.ts';
import type { Part } from './part.ts';
import type { RoomClaim } from './room.ts';
import type { FileStamp } from './state.ts';

export interface InstallJob {
  /** Whole, verified and open; it is closed here. */
  part: Part;
  target: string;
  /** Permission bits; without them what the file has, as far as that is to be trusted, else 0644. */
  mode: number | undefined;
  /** Without it what the file has, as far as that is to be trusted, else the agent's own. */
  owner: Owner | undefined;
  /** Where the file that is replaced is kept; nowhere without it. */
  previousPath: string | undefined;
  /** Without a way back nothing is installed; by default a file that there is no room for is not kept. */
  mustKeep?: boolean;
  /** A claim on room in a directory, for a copy of the file that is replaced. */
  claim?: (directory: string) => RoomClaim;
  /** Called before the rename, with whether the file is kept. */
  announce?: (kept: boolean) => Promise<void>;
  /** Called where it has failed and the target is what it was. */
  withdraw?: () => Promise<void>;
  /** Once it is aborted, nothing is put in place any more. */
  signal?: AbortSignal;
}

/**
 * Puts a verified part in the place of the target.
 *
 * @returns the stamp of the installed file
 * @throws AgentError INSTALL, and the part is still there unless its sync failed, or DISK_FULL, and it is not, unless the
 * full disk is another one or other downloads hold its room; the signal's reason when it is aborted. The target is what
 * it was, or new where only its directory could not be synced
 */
export async function install(job: InstallJob): Promise<FileStamp> {
  const { part, target, owner, previousPath, announce } = job;
  try {
    const old = await lookAt(target);
    if (old?.isDirectory()) throw isDirectory(target);
    await part.flush();
    const kept = previousPath !== undefined && (await keep(target, old, { ...job, path: previousPath }));
    await announce?.(kept);
    await dress(job, await inherit(target, old, owner));
    await part.seal();
    const before = stampOf(await part.handle.stat({ bigint: true }));
    await assertNamed(part);
    // Copy and syncs may have taken long.
    job.signal?.throwIfAborted();
    await rename(part.path, target);
    await syncDirectory(dirname(target));
    const after = stampOf(await part.handle.stat({ bigint: true }));
    // The rename changes the ctime alone. Whoever wrote to the file meanwhile must not hide behind our stamp.
    const isOurs = sameStamp({ ...before, ctimeNs: after.ctimeNs }, after);
    return isOurs ? after : before;
  } catch (error) {
    const reason = diskError(error, `Cannot install ${target}`, dirname(target));
    // What cannot be installed for want of room is not to take more of it.
    const isInTheWay = reason instanceof DiskFull && (await onSameDisk(reason.directory, part.path));
    if (isInTheWay) await remove(part.path).catch(() => undefined);
    const isThere = await isNamed(part.handle, target).catch((error) => errnoOf(error) !== 'ENOENT');
    if (!isThere) await job.withdraw?.();
    throw reason;
  } finally {
    await part.close();
  }
}

/** The name must still be that of the file that was verified, not of another that was put in its place. */
async function assertNamed({ handle, path }: Part): Promise<void> {
  if (await isNamed(handle, path)) return;
  throw new AgentError('INSTALL', `${path} is no longer the file that was downloaded`, {
    hint: 'find out who replaced it, and remove it',
  });
}

async function lookAt(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function isDirectory(target: string): AgentError {
  return new AgentError('INSTALL', `Cannot install ${target}: it is a directory`, {
    hint: 'move the directory away, or set another "path"',
  });
}

async function dress({ part, target, mode, owner }: InstallJob, kept: Inherited | undefined): Promise<void> {
  const { handle } = part;
  const to = owner ?? kept;
  if (to !== undefined) {
    const own = await give(handle, to);
    if (own !== undefined) throw notGiven(target, own, to, owner === undefined);
  }
  await handle.chmod(mode ?? kept?.mode ?? 0o644);
}

function stampOf(stat: BigIntStats): FileStamp {
  const { dev, ino, size, mtimeNs, ctimeNs } = stat;
  return {
    dev: `${dev}`,
    ino: `${ino}`,
    size: `${size}`,
    mtimeNs: `${mtimeNs}`,
    ctimeNs: `${ctimeNs}`,
  };
}

/** Tells whether a file is, to all that stat shows, the one that it was. */
export function sameStamp(a: FileStamp, b: FileStamp): boolean {
  return (
    a.dev === b.dev &&
    a.ino === b.ino &&
    a.size === b.size &&
    a.mtimeNs === b.mtimeNs &&
    a.ctimeNs === b.ctimeNs
  );
}

/** What a target holds, and the stamp under which that is true. */
export interface Inspected {
  sha256: string;
  stamp: FileStamp;
}

/**
 * Looks at what is installed. A file whose stamp is the known one is not read again, so it need not be readable.
 *
 * @returns undefined where no regular file is: nothing, or something that an install will replace
 * @throws AgentError INSTALL when it cannot be read; the signal's reason when it is aborted
 */
export async function inspect(
  target: string,
  known: Inspected | undefined,
  engine: DigestEngine,
  signal: AbortSignal,
): Promise<Inspected | undefined> {
  try {
    const stat = await lstat(target, { bigint: true });
    if (!stat.isFile()) return undefined;
    if (known !== undefined && sameStamp(known.stamp, stampOf(stat))) return known;
    return await hashTarget(target, engine, signal);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) return undefined;
    throw signal.aborted ? error : diskError(error, `Cannot read ${target}`, dirname(target));
  }
}

/** The stamp is of the very file that is hashed, whatever the name stands for by then. */
async function hashTarget(target: string, engine: DigestEngine, signal: AbortSignal): Promise<Inspected> {
  const handle = await open(target, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stamp = stampOf(await handle.stat({ bigint: true }));
    return { sha256: await hashFile(handle, engine, signal), stamp };
  } finally {
    await handle.close();
  }
}
