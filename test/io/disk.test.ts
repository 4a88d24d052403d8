import { describe, expect, test } from 'bun:test';
import { mkdir, open, readdir, readFile, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../../src/core/errors.ts';
import {
  diskError,
  errnoOf,
  hashFile,
  makeDirectory,
  onSameDisk,
  readThrough,
  remove,
  roomIn,
  writeFileAtomic,
} from '../../src/io/disk.ts';
import { bytesOf, exists, sha256Of, useTempDir } from '../support/io-helpers.ts';

const dir = useTempDir();

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: it failed`), { code });
}

describe('an error of the file system', () => {
  test.each([
    ['ENOSPC', 'DISK_FULL'],
    ['EDQUOT', 'DISK_FULL'],
    ['EACCES', 'INSTALL'],
    ['EROFS', 'INSTALL'],
    ['EIO', 'INSTALL'],
    ['EISDIR', 'INSTALL'],
  ])('%s becomes %s, which says what failed and why', (errno, code) => {
    const cause = systemError(errno);
    const error = diskError(cause, 'Cannot install /srv/app', '/srv');
    expect(error).toBeInstanceOf(AgentError);
    expect(error).toMatchObject({ code, retry: 'slow', message: `Cannot install /srv/app: ${errno}`, cause });
  });

  test('for want of room names the file system that has none', () => {
    expect(diskError(systemError('ENOSPC'), 'Cannot write the state file', '/var/lib/app')).toMatchObject({
      hint: 'free some room on the file system of /var/lib/app',
    });
  });

  test('that is coded already, or an abort, is handed on', () => {
    const coded = new AgentError('TOO_LARGE', 'too large');
    const aborted = new DOMException('stopped', 'AbortError');
    expect(diskError(coded, 'x', '/srv')).toBe(coded);
    expect(diskError(aborted, 'x', '/srv')).toBe(aborted);
  });

  test('has its errno, anything else has none', () => {
    expect(errnoOf(systemError('ENOENT'))).toBe('ENOENT');
    expect([errnoOf(new Error('x')), errnoOf('ENOENT'), errnoOf(undefined)]).toEqual(['', '', '']);
  });
});

test('directories that are made are nobody else’s to write, whatever the umask is', async () => {
  const path = join(dir(), 'new', 'sub');
  const before = process.umask(0);
  try {
    await makeDirectory(path);
  } finally {
    process.umask(before);
  }
  for (const made of [path, join(path, '..')]) expect((await stat(made)).mode & 0o7777).toBe(0o755);
});

describe('writeFileAtomic', () => {
  test('replaces the file by another one of the given mode, and leaves nothing beside it', async () => {
    const path = join(dir(), 'state.json');
    await writeFileAtomic(path, 'old', 0o600);
    const before = await stat(path);
    await writeFileAtomic(path, 'new', 0o600);
    const after = await stat(path);
    expect(await readFile(path, 'utf8')).toBe('new');
    expect(after.ino).not.toBe(before.ino);
    expect(after.mode & 0o7777).toBe(0o600);
    expect(await readdir(dir())).toEqual(['state.json']);
  });

  test('takes the place of what a killed write has left, whatever its length', async () => {
    const path = join(dir(), 'state.json');
    await writeFile(`${path}.new`, 'x'.repeat(10_000));
    await writeFileAtomic(path, 'new', 0o600);
    expect(await readFile(path, 'utf8')).toBe('new');
    expect(await readdir(dir())).toEqual(['state.json']);
  });

  test('leaves the old text where it fails', async () => {
    const path = join(dir(), 'state.json');
    await writeFile(path, 'old');
    await mkdir(`${path}.new`);
    await expect(writeFileAtomic(path, 'new', 0o600)).rejects.toThrow();
    expect(await readFile(path, 'utf8')).toBe('old');
  });
});

describe('reading through', () => {
  test('feeds the whole file in order, from its start', async () => {
    const bytes = bytesOf(2_300_000);
    await writeFile(join(dir(), 'x'), bytes);
    const handle = await open(join(dir(), 'x'));
    const chunks: Uint8Array[] = [];
    const never = new AbortController().signal;
    expect(await readThrough(handle, (chunk) => chunks.push(chunk.slice()), never)).toBe(bytes.length);
    expect(new Uint8Array(Buffer.concat(chunks))).toEqual(bytes);
    expect(await hashFile(handle, 'native', never)).toBe(sha256Of(bytes));
    await handle.close();
  });

  test('ends in the middle with the reason of the signal', async () => {
    await writeFile(join(dir(), 'x'), bytesOf(3_000_000));
    const handle = await open(join(dir(), 'x'));
    const abort = new AbortController();
    const reason = new Error('shutdown');
    let chunks = 0;
    const take = () => {
      chunks += 1;
      abort.abort(reason);
    };
    await expect(readThrough(handle, take, abort.signal)).rejects.toBe(reason);
    expect(chunks).toBe(1);
    await handle.close();
  });
});

test('room is what may be written, less a reserve of at most 16 MiB', async () => {
  const room = await roomIn(dir());
  const { bavail, bsize } = await statfs(dir());
  expect(room).toBeGreaterThan(0);
  expect(room).toBeLessThan(bavail * bsize + 64 * 1024 * 1024);
  expect(room).toBeGreaterThan(bavail * bsize - 80 * 1024 * 1024);
});

test('two paths are on one disk or on two, and for one that is not there the directory above it counts', async () => {
  expect(await onSameDisk(join(dir(), 'a', 'b'), dir())).toBe(true);
  expect(await onSameDisk(join(dir(), 'a'), '/proc/none')).toBe(false);
});

test('removing a file that is not there is no error', async () => {
  await remove(join(dir(), 'x'));
  await writeFile(join(dir(), 'x'), '');
  await remove(join(dir(), 'x'));
  expect(await exists(join(dir(), 'x'))).toBe(false);
});
