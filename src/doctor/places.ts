/** The directories that the agent writes to: whether they are there, and have room. */
import { lstat, readlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AgentError } from '../core/errors.ts';
import { bytesText } from '../core/words.ts';
import { freeIn } from '../io/disk.ts';
import { fileKind } from '../io/text-file.ts';

/**
 * The directory itself, or the nearest one above it, in which it would be made.
 *
 * @returns an error where a link on the way leads nowhere: nothing can be made behind it
 */
export async function nearestDirectory(path: string): Promise<string | AgentError> {
  if ((await fileKind(path)) !== 'missing') return path;
  const entry = await lstat(path).catch(() => undefined);
  if (entry?.isSymbolicLink()) {
    const target = await readlink(path).catch(() => '?');
    return new AgentError('INSTALL', `${path} is a link to ${target}, which is not there`, {
      hint: `make the directory that it leads to (mount it, if it is a disk of its own), or remove the link`,
    });
  }
  const above = dirname(path);
  return above === path ? path : nearestDirectory(above);
}

// The state, the metrics and the notes of hooks are a few kilobytes; each is written beside the one before.
const smallBytes = 64 * 1024;

/** Why not even a small file can be written in a directory; undefined where it can. */
export async function crowded(directory: string): Promise<AgentError | undefined> {
  const { bytes, files } = await freeIn(directory);
  if (bytes < smallBytes) {
    return new AgentError(
      'DISK_FULL',
      `the file system of ${directory} is full: ${bytesText(bytes)} are free`,
      {
        hint: `free some room on it ("df ${directory}")`,
      },
    );
  }
  return noInode(directory, files);
}

/** Why no file at all can be made in a directory, whatever its size. */
export function noInode(directory: string, files: number | undefined): AgentError | undefined {
  if (files !== 0) return undefined;
  const hint = `remove files from it: it has bytes, but no inodes ("df -i ${directory}")`;
  return new AgentError('DISK_FULL', `the file system of ${directory} takes no more files`, { hint });
}
