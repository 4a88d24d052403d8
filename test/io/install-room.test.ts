import { expect } from 'bun:test';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { install } from '../../src/io/install.ts';
import { Part, partPath } from '../../src/io/part.ts';
import { sha256Of, useTempDir } from '../support/io-helpers.ts';
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

toolTest([mounts], 'a part on a disk with room stays where it is the state directory that has none', () =>
  installWithoutRoom(async (_, error) => {
    expect(error).toMatchObject({ code: 'DISK_FULL' });
    expect((await readFile(join(dir(), 'app.bin'), 'utf8')).slice(0, 6)).toBe('oldold');
    const path = partPath('s3', join(dir(), 'app.bin'), sha256Of('new'));
    expect(await readFile(path, 'utf8')).toBe('new');
  }, true),
);
