import { expect, test } from 'bun:test';
import { readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DiskFull } from '../../src/io/disk.ts';
import { install } from '../../src/io/install.ts';
import { Part, partPath } from '../../src/io/part.ts';
import { Room } from '../../src/io/room.ts';
import { caught, sha256Of, useTempDir } from '../support/io-helpers.ts';
import { mounts, onSmallDisk } from '../support/small-disk.ts';
import { toolTest } from '../support/tools.ts';

const dir = useTempDir();

/** Installs over a 2 MB file whose copy does not fit on the 1 MB file system of the state directory. */
async function installWithoutRoom(
  look: (small: string, error: unknown) => Promise<void>,
  mustKeep = false,
): Promise<void> {
  await onSmallDisk(dir(), '1m', async (small) => {
    const target = join(dir(), 'app.bin');
    await writeFile(target, 'old'.repeat(700_000));
    const path = partPath('s3', target, sha256Of('new'));
    const part = await Part.open(path, 'native', new AbortController().signal);
    await part.append(Buffer.from('new'));
    const previousPath = join(small, 'previous', 'x');
    const job = { part, target, mode: undefined, owner: undefined, previousPath, mustKeep };
    await look(small, await install(job).catch((error: unknown) => error));
  });
}

toolTest(
  [mounts],
  'the previous file is the first thing to go: an install does not fail for want of room to copy it',
  () =>
    installWithoutRoom(async () => {
      expect((await readFile(join(dir(), 'app.bin'), 'utf8')).slice(0, 10)).toBe('new');
    }),
);

toolTest(
  [mounts],
  'a copy of the previous file that does not fit leaves the state directory as empty as it was',
  () =>
    installWithoutRoom(async (small) => {
      const left = await readdir(join(small, 'previous')).catch(() => []);
      expect(left).toEqual([]);
    }),
);

toolTest([mounts], 'a copy of the previous file leaves the reserve free; where it cannot, none is kept', () =>
  onSmallDisk(dir(), '2m', async (small) => {
    const room = new Room();
    const target = join(dir(), 'app.bin');
    const previousPath = join(small, 'previous', 'x');
    const claim = (directory: string) => room.claim(directory, async () => false);
    const reserve = 0.05 * 2 * 1024 * 1024;
    for (const [bytes, kept] of [
      [2 * 1024 * 1024 - reserve / 2, false],
      [2 * 1024 * 1024 - 2 * reserve, true],
    ] as const) {
      await writeFile(target, Buffer.alloc(bytes));
      const path = partPath('s3', target, sha256Of('new'));
      const part = await Part.open(path, 'native', new AbortController().signal);
      await part.append(Buffer.from('new'));
      const announced: boolean[] = [];
      const announce = async (isKept: boolean) => void announced.push(isKept);
      await install({ part, target, mode: undefined, owner: undefined, previousPath, claim, announce });
      expect(announced).toEqual([kept]);
      const { bavail, bsize } = await statfs(small);
      expect(bavail * bsize).toBeGreaterThan(reserve);
    }
  }),
);

test('a state directory that is gone does not hide why an install failed', async () => {
  const target = join(dir(), 'app.bin');
  const state = join(dir(), 'state');
  await writeFile(target, 'old');
  const part = await Part.open(
    partPath('s3', target, sha256Of('new')),
    'native',
    new AbortController().signal,
  );
  const announce = async () => {
    await rm(state, { recursive: true });
    throw new DiskFull('Cannot write the state file: ENOSPC', state);
  };
  const previousPath = join(state, 'previous', 'x');
  const job = { part, target, mode: undefined, owner: undefined, previousPath, announce };
  expect(await caught(install(job))).toMatchObject({
    code: 'DISK_FULL',
    message: 'Cannot write the state file: ENOSPC',
  });
});

toolTest([mounts], 'a part on a disk with room stays where it is the state directory that has none', () =>
  installWithoutRoom(async (_, error) => {
    expect(error).toMatchObject({ code: 'DISK_FULL' });
    expect((await readFile(join(dir(), 'app.bin'), 'utf8')).slice(0, 6)).toBe('oldold');
    const path = partPath('s3', join(dir(), 'app.bin'), sha256Of('new'));
    expect(await readFile(path, 'utf8')).toBe('new');
  }, true),
);
