/** Small steps on the file system that several parts take, each in its safe order. */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AgentError } from '../core/errors.ts';
import { createDigest, type DigestEngine } from './digest.ts';

/** The `code` of a system error, such as ENOENT; '' for anything else. */
export function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** Tells whether a disk or a quota is full. */
export function isNoRoom(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(errnoOf(error));
}

/** DISK_FULL, and where: the target, what is kept of it and the state need not be on one file system. */
export class DiskFull extends AgentError {
  readonly directory: string;
  /** How many bytes would have to be freed, where that is known; else 0. */
  readonly short: number;

  /** @param directory on the file system that is full */
  constructor(
    message: string,
    directory: string,
    { short = 0, cause }: { short?: number; cause?: unknown } = {},
  ) {
    const hint = `free some room on the file system of ${directory}`;
    super('DISK_FULL', message, cause === undefined ? { hint } : { hint, cause });
    this.directory = directory;
    this.short = short;
  }
}

/**
 * A full disk is DISK_FULL, every other failure of the file system INSTALL. Aborts are handed on.
 * @param directory where it failed
 */
export function diskError(error: unknown, what: string, directory: string): unknown {
  if (error instanceof AgentError || (error instanceof Error && error.name === 'AbortError')) return error;
  const errno = errnoOf(error);
  if (isNoRoom(error)) return new DiskFull(`${what}: ${errno}`, directory, { cause: error });
  const hints: Record<string, string> = {
    EACCES: 'give the user of the agent access to the file and write access to its directory',
    EPERM: 'run the agent as the owner of the file or as root',
    EFBIG:
      'the file system (FAT ends at 4 GiB) or a limit of the process (ulimit -f) takes no file of this size',
    EROFS: 'the file system is mounted read-only',
    EEXIST:
      'something that is no directory stands in the way, such as a link that leads nowhere: remove it, or make what it leads to',
    ENOTDIR: 'a file stands where a directory is needed: move it, or set another path',
    EISDIR: 'a directory stands in the way: move it, or set another "path"',
    ELOOP: 'a link stands where the agent keeps its part: remove it',
  };
  const hint = hints[errno];
  const reason = errno === '' ? String(error) : errno;
  return new AgentError('INSTALL', `${what}: ${reason}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Makes a file and its name outlast a power cut, whoever has written it. */
export async function syncNamed(path: string): Promise<void> {
  await sync(path);
  await sync(dirname(path));
}

/** Makes a rename, link or removal in a directory outlast a power cut. */
export function syncDirectory(directory: string): Promise<void> {
  return sync(directory);
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Directories that this run has seen to be safe: each sync more would cost a board's flash. */
const safeDirectories = new Set<string>();

/**
 * Makes a directory and what is missing above it, so that a power cut does not take them away. Those that are there are
 * made as safe once: the run that made them may have been killed before it came to that.
 *
 * @param mode less what the umask takes; whatever that is, by default nobody else may write there
 */
export async function makeDirectory(path: string, mode = 0o755): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode });
  const { dev, ino, birthtimeMs } = await stat(path);
  // One that is made anew may be given the inode of the one before.
  const identity = `${dev}:${ino}:${birthtimeMs}`;
  if (made === undefined && safeDirectories.has(identity)) return;
  await syncAbove(path, dev);
  safeDirectories.add(identity);
}

async function syncAbove(path: string, dev: number): Promise<void> {
  for (let made = path; dirname(made) !== made; made = dirname(made)) {
    const parent = dirname(made);
    // What is mounted is not in its parent, and what is not ours to read was not made here.
    if ((await stat(parent)).dev !== dev) return;
    await syncDirectory(parent).catch((error) => {
      if (errnoOf(error) !== 'EACCES') throw error;
    });
  }
}

/** Replaces a small file: at every instant it holds the old text or the new one. */
export async function writeFileAtomic(path: string, text: string, mode: number): Promise<void> {
  const staged = `${path}.new`;
  try {
    const handle = await open(staged, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, mode);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(staged, path);
  } catch (error) {
    await remove(staged).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Removes a file if it is there. */
export async function remove(path: string): Promise<void> {
  await rm(path, { force: true });
}

const readBytes = 1024 * 1024;

/** Feeds a file from its start to `take`, in order, which is waited for. @throws the signal's reason when it is aborted */
export async function readThrough(
  handle: FileHandle,
  take: (chunk: Uint8Array, position: number) => unknown,
  signal?: AbortSignal,
): Promise<number> {
  const buffer = new Uint8Array(readBytes);
  let position = 0;
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return position;
    await take(buffer.subarray(0, bytesRead), position);
    position += bytesRead;
  }
}

/** Writes all of a chunk at a position. */
export async function writeWhole(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    const { bytesWritten } = await handle.write(chunk, done, chunk.length - done, position + done);
    done += bytesWritten;
  }
}

/** Tells whether a name is that of an open file, not of another one, or a link, that was put in its place. */
export async function isNamed(handle: FileHandle, path: string): Promise<boolean> {
  const [named, opened] = await Promise.all([lstat(path, { bigint: true }), handle.stat({ bigint: true })]);
  return named.dev === opened.dev && named.ino === opened.ino;
}

/** The SHA-256 of an open file. */
export async function hashFile(
  handle: FileHandle,
  engine: DigestEngine,
  signal: AbortSignal,
): Promise<string> {
  const digest = createDigest(engine);
  await readThrough(handle, (chunk) => digest.update(chunk), signal);
  return digest.hex();
}

const reserveBytes = 16 * 1024 * 1024;

/** Bytes that may still be written in a directory, with a reserve left: 16 MiB, or 5 % where that is less. */
export async function roomIn(directory: string): Promise<number> {
  const { bavail, bsize, blocks } = await statfs(directory);
  return bavail * bsize - Math.min(reserveBytes, Math.ceil(blocks * bsize * 0.05));
}

/** Whether two paths are on one file system; for one that is not there, the directory above it counts. */
export async function onSameDisk(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([deviceOf(one), deviceOf(other)]);
  return a === b;
}

async function deviceOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined || dirname(path) === path) return found?.dev;
  return await deviceOf(dirname(path));
}

/** What a file system still takes: bytes, and files where it counts them. No reserve is kept back. */
export async function freeIn(directory: string): Promise<{ bytes: number; files: number | undefined }> {
  const { bavail, bsize, files, ffree } = await statfs(directory);
  return { bytes: bavail * bsize, files: files === 0 ? undefined : ffree };
}

/** Names the present boot of the device (Linux): what was written before another one may not have reached the disk. */
export async function readBootId(): Promise<string | undefined> {
  const text = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
  return text.trim() || undefined;
}

/**
 * Has a program that writes the state of an agent be of the agent's user: another could not read what root leaves.
 *
 * @returns whether the directory is there
 * @throws AgentError INSTALL where it is another user's, or cannot be looked at
 */
export async function isOwnDirectory(path: string): Promise<boolean> {
  const found = await stat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw diskError(error, `Cannot use the state directory ${path}`, path);
  });
  if (found === undefined) return false;
  const { uid } = found;
  if (uid === process.geteuid?.()) return true;
  throw new AgentError('INSTALL', `${path} belongs to another user, the one of the agent`, {
    hint: `run this as that user: setpriv --reuid=${uid} --clear-groups shadow-agent …, or sudo -u '#${uid}' shadow-agent …`,
  });
}
