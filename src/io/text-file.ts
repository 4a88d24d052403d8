import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';

/** More than any configuration, key or bundle of roots has. */
export const maxTextBytes = 1024 * 1024;

export type TextFile = { ok: true; text: string } | { ok: false; message: string; hint: string };

/** Reads a small UTF-8 file, with or without a byte order mark; never more than `maxTextBytes` of it. */
export async function readTextFile(path: string): Promise<TextFile> {
  try {
    // Without O_NONBLOCK a named pipe that nobody writes to would hold the program for ever.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return await readOpened(file);
    } finally {
      await file.close();
    }
  } catch (error) {
    return { ok: false, ...openProblem(error) };
  }
}

/**
 * Reads a plain file of at most `maxTextBytes`, which somebody else may have put there.
 *
 * @throws as open(2); Error where it is no plain file, or larger
 */
export async function readPlainFile(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const bytes = (await file.stat()).isFile() ? await readBounded(file) : undefined;
    if (bytes === undefined) throw new Error(`${path} is no plain file, or larger than 1 MiB`);
    return new TextDecoder().decode(bytes);
  } finally {
    await file.close();
  }
}

async function readOpened(file: FileHandle): Promise<TextFile> {
  if ((await file.stat()).isDirectory()) {
    return { ok: false, message: 'is a directory', hint: 'name the file in it' };
  }
  const bytes = await readBounded(file);
  if (bytes === undefined) {
    return { ok: false, message: 'is larger than 1 MiB', hint: 'is it the right file?' };
  }
  try {
    return { ok: true, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    return {
      ok: false,
      message: 'is no UTF-8 text',
      hint: 'save it as UTF-8, and check that it is the right file',
    };
  }
}

async function readBounded(file: FileHandle): Promise<Uint8Array | undefined> {
  const buffer = new Uint8Array(maxTextBytes + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) return buffer.subarray(0, length);
    length += bytesRead;
  }
  return undefined;
}

function openProblem(error: unknown): { message: string; hint: string } {
  const code = codeOf(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') return { message: 'does not exist', hint: 'check the path' };
  if (code === 'EACCES' || code === 'EPERM') {
    return { message: 'may not be read', hint: 'give the user that the agent runs as the right to read it' };
  }
  if (code === 'ELOOP') return { message: 'is a link that leads to itself', hint: 'check the path' };
  return { message: `cannot be read (${code})`, hint: 'check the path and the disk' };
}

export type FileKind = 'missing' | 'file' | 'directory' | 'special' | 'below a file';

/** What stands at a path, links followed; what cannot be looked at counts as missing. */
export async function fileKind(path: string): Promise<FileKind> {
  let found: Stats;
  try {
    found = await stat(path);
  } catch (error) {
    return codeOf(error) === 'ENOTDIR' ? 'below a file' : 'missing';
  }
  if (found.isFile()) return 'file';
  return found.isDirectory() ? 'directory' : 'special';
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}
