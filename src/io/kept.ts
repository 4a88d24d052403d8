/**
 * The files that were replaced, in `stateDir/previous/`. Each is named by what it holds, and the state file says which
 * of them count, so that one write of it changes what the way back is. They are second names of the files where that is
 * possible, so that the target is never away.
 */
import { constants, type Stats } from 'node:fs';
import {
  type FileHandle,
  link,
  lstat,
  open,
  readdir,
  readlink,
  rename,
  stat,
  symlink,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AgentError } from '../core/errors.ts';
import {
  diskError,
  errnoOf,
  isNamed,
  makeDirectory,
  readThrough,
  remove,
  syncDirectory,
  writeWhole,
} from './disk.ts';
import { give } from './inherit.ts';
import { fileId, stagedBackPath } from './part.ts';
import type { RoomClaim } from './room.ts';

/** Where the files are kept that one target was before. */
export class KeptFiles {
  readonly #stateDir: string;
  readonly #property: string;
  readonly #directory: string;
  readonly #id: string;

  constructor(stateDir: string, property: string, target: string) {
    this.#stateDir = stateDir;
    this.#property = property;
    this.#directory = join(stateDir, 'previous');
    this.#id = fileId(property, target);
  }

  /** Where those of the same property are kept that another target was before. */
  at(target: string): KeptFiles {
    return new KeptFiles(this.#stateDir, this.#property, target);
  }

  /** Takes over those that were kept for another way to the same target. Never rejects. */
  async takeOver(way: string): Promise<void> {
    const id = fileId(this.#property, way);
    const names = await readdir(this.#directory).catch(() => []);
    for (const name of names.filter((one) => one.startsWith(id))) {
      const own = join(this.#directory, name.replace(id, this.#id));
      await rename(join(this.#directory, name), own).catch(() => undefined);
    }
  }

  /** Where they lie. */
  get directory(): string {
    return this.#directory;
  }

  /** Where a file is kept; without a hash it is none that can have one, such as a link. */
  pathOf({ sha256 = 'link' }: { sha256?: string }): string {
    return join(this.#directory, `${this.#id}.${sha256.slice(0, 16)}`);
  }

  /** Removes all of them but for those to keep. */
  async clean(keep: ReadonlyArray<{ sha256?: string } | undefined>): Promise<void> {
    const paths = keep.flatMap((one) => (one === undefined ? [] : [this.pathOf(one)]));
    const names = await readdir(this.#directory).catch(() => []);
    for (const name of names) {
      const path = join(this.#directory, name);
      if (name.startsWith(this.#id) && !paths.includes(path)) await remove(path).catch(() => undefined);
    }
  }
}

/** How a file is to be kept. */
export interface Keeping {
  path: string;
  /** By default it is not kept where there is no room. */
  mustKeep?: boolean;
  /** A claim on room in a directory, for a copy. */
  claim?: (directory: string) => RoomClaim;
  /** Ends a copy. */
  signal?: AbortSignal;
}

/**
 * Gives what an install replaces a second name.
 *
 * @returns false where nothing is there, or it would have to be copied and there is no room, a reserve left
 * @throws AgentError INSTALL, or DISK_FULL where it must be kept; the signal's reason when it is aborted
 */
export async function keep(
  target: string,
  old: Stats | undefined,
  { path, mustKeep = false, claim, signal }: Keeping,
): Promise<boolean> {
  const isKind = old?.isFile() === true || (mustKeep && old?.isSymbolicLink() === true);
  if (old === undefined || !isKind) return false;
  const staged = `${path}.new`;
  try {
    await makeDirectory(dirname(path), 0o700);
    await remove(staged);
    await linkOrCopy(target, old, staged, signal, claim?.(dirname(path)));
    await rename(staged, path);
    // Between two names of one file rename(2) does nothing.
    await remove(staged);
    await syncDirectory(dirname(path));
    return true;
  } catch (error) {
    await remove(staged).catch(() => undefined);
    const reason = diskError(error, `Cannot keep the previous file in ${dirname(path)}`, dirname(path));
    if (!mustKeep && reason instanceof AgentError && reason.code === 'DISK_FULL') return false;
    throw reason;
  }
}

/**
 * Puts a kept file in the place of the target, which is at every instant one of the two. The kept one stays.
 *
 * @param path where it is kept; undefined where nothing was there: the target goes
 * @throws AgentError INSTALL or DISK_FULL, the signal's reason when it is aborted; the target is then what it was
 */
export async function putBack(
  property: string,
  target: string,
  path: string | undefined,
  signal?: AbortSignal,
): Promise<void> {
  const staged = stagedBackPath(property, target);
  try {
    if (path === undefined) {
      await remove(target);
    } else {
      await remove(staged);
      await linkOrCopy(path, await lstat(path), staged, signal);
      await rename(staged, target);
      await remove(staged);
    }
    await syncDirectory(dirname(target));
  } catch (error) {
    await remove(staged).catch(() => undefined);
    if (errnoOf(error) === 'ENOENT') throw await missing(dirname(target), path);
    throw diskError(error, `Cannot put the previous file back to ${target}`, dirname(target));
  }
}

/** What is missing to put a kept file back: the directory for it, or itself. */
async function missing(directory: string, path: string | undefined): Promise<AgentError> {
  const isThere = await stat(directory).then(
    () => true,
    () => false,
  );
  if (isThere && path !== undefined) return isGone(path);
  return new AgentError('INSTALL', `Cannot put the previous file back: ${directory} is not there`, {
    hint: 'make that directory, or mount what holds it: the way back is kept until then',
  });
}

function isGone(path: string): AgentError {
  return new AgentError('INSTALL', `The previous file is no longer in ${path}`, {
    hint: 'desire the hash of the file that you want',
  });
}

/**
 * A second name of a file or link; a copy with its mode and owner, as far as it may be given these, on another file system, or one without links.
 *
 * Whoever may write to one of the directories may change what the names stand for: no link is followed, and it is the very
 * file that was looked at, or none.
 *
 * @param claim the room for a copy; what goes back is not to fail for a reserve
 */
async function linkOrCopy(
  from: string,
  old: Stats,
  to: string,
  signal?: AbortSignal,
  claim?: RoomClaim,
): Promise<void> {
  try {
    await link(from, to);
  } catch {
    if (old.isSymbolicLink()) await symlink(await readlink(from), to);
    else await inRoom(claim, old.size, () => copy(from, old, to, signal));
    return;
  }
  if (!isSame(await lstat(to), old)) throw isAnother(from, 'kept');
}

async function inRoom(claim: RoomClaim | undefined, bytes: number, work: () => Promise<void>): Promise<void> {
  try {
    await claim?.take(bytes);
    await work();
  } finally {
    claim?.release();
  }
}

async function copy(from: string, old: Stats, to: string, signal?: AbortSignal): Promise<void> {
  const source = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!isSame(await source.stat(), old)) throw isAnother(from, 'kept');
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const made = await open(to, flags, 0o600);
    try {
      await readThrough(source, (chunk, position) => writeWhole(made, chunk, position), signal);
      await dressAs(made, old);
      await made.sync();
      if (!(await isNamed(made, to))) throw isAnother(to, 'written');
    } finally {
      await made.close();
    }
  } finally {
    await source.close();
  }
}

/**
 * Owner, or at least group, as far as there is the right to give them; else the copy stays the agent's own, as the file
 * could not be kept. Then nobody may write to it, or run as its owner or group: that was for whom it belonged to.
 */
async function dressAs(handle: FileHandle, { uid, gid, mode }: Stats): Promise<void> {
  const own = await give(handle, { uid, gid });
  if (own !== undefined) await give(handle, { uid: own.uid, gid });
  await handle.chmod(mode & (own === undefined ? 0o7777 : 0o1755));
}

/** A link may be given the inode of the file that has just been removed for it. */
function isSame(one: Stats, other: Stats): boolean {
  const isKind = ((one.mode ^ other.mode) & constants.S_IFMT) === 0;
  return isKind && one.dev === other.dev && one.ino === other.ino;
}

function isAnother(path: string, done: 'kept' | 'written'): AgentError {
  return new AgentError('INSTALL', `${path} has become another file while it was ${done}`, {
    hint: 'find out who may write to its directory, and has replaced it',
  });
}
