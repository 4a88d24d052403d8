import { describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type Inspected, inspect, sameStamp } from '../../src/io/install.ts';
import { bytesOf, caught, sha256Of, useTempDir } from '../support/io-helpers.ts';

const dir = useTempDir();
const never = new AbortController().signal;

function target(): string {
  return join(dir(), 'app.bin');
}

async function look(known?: Inspected): Promise<Inspected | undefined> {
  return inspect(target(), known, 'native', never);
}

async function lookAtFile(known?: Inspected): Promise<Inspected> {
  const found = await look(known);
  if (found === undefined) throw new Error('there is no file');
  return found;
}

describe('looking at what is installed', () => {
  test('tells the SHA-256 and the stamp, by either engine', async () => {
    const bytes = bytesOf(2_500_000);
    await writeFile(target(), bytes);
    const found = await look();
    const { ino, ctimeNs } = await stat(target(), { bigint: true });
    expect(found?.sha256).toBe(sha256Of(bytes));
    expect(found?.stamp).toMatchObject({ ino: `${ino}`, ctimeNs: `${ctimeNs}`, size: '2500000' });
    expect(await inspect(target(), undefined, 'noble', never)).toEqual(found);
  });

  test('does not read a file again whose stamp is the known one', async () => {
    await writeFile(target(), 'text');
    const { stamp } = await lookAtFile();
    const known = { sha256: 'not what the file hashes to', stamp };
    expect(await look(known)).toBe(known);
  });

  test.each<[string, () => Promise<unknown>]>([
    ['its content was changed in place', () => writeFile(target(), 'TEXT')],
    [
      'it was replaced by one of the same content',
      async () => {
        await writeFile(join(dir(), 'other'), 'text');
        await rename(join(dir(), 'other'), target());
      },
    ],
    ['only its mode was changed', () => chmod(target(), 0o700)],
  ])('reads it again where %s', async (_, change) => {
    await writeFile(target(), 'text');
    const before = await lookAtFile();
    await change();
    const after = await lookAtFile({ ...before, sha256: 'stale' });
    expect(sameStamp(before.stamp, after.stamp)).toBe(false);
    expect(after.sha256).toBe(sha256Of(await readFile(target())));
  });

  test('finds a change that hides behind an old time of modification', async () => {
    await writeFile(target(), 'text');
    await utimes(target(), 1_600_000_000, 1_600_000_000);
    const before = await lookAtFile();
    await writeFile(target(), 'TEXT');
    await utimes(target(), 1_600_000_000, 1_600_000_000);
    expect((await look(before))?.sha256).toBe(sha256Of('TEXT'));
  });

  test('finds nothing where nothing is, not even its directory, or a file in its place', async () => {
    expect(await look()).toBeUndefined();
    expect(await inspect(join(dir(), 'none', 'x'), undefined, 'native', never)).toBeUndefined();
    await writeFile(target(), 'text');
    expect(await inspect(join(target(), 'x'), undefined, 'native', never)).toBeUndefined();
  });

  test('finds no file in a directory, a named pipe or a link', async () => {
    await mkdir(target());
    expect(await look()).toBeUndefined();
    await rm(target(), { recursive: true });
    expect(spawnSync('mkfifo', [target()]).status).toBe(0);
    expect(await look()).toBeUndefined();
    await rm(target());
    await writeFile(join(dir(), 'real'), 'text');
    await symlink(join(dir(), 'real'), target());
    expect(await look()).toBeUndefined();
  });

  test('finds no file in a socket or a device', async () => {
    expect(await inspect('/dev/null', undefined, 'native', never)).toBeUndefined();
    const server = createServer().listen(target());
    await once(server, 'listening');
    expect(await look()).toBeUndefined();
    server.close();
    await once(server, 'close');
  });

  test('rejects with the reason of the signal', async () => {
    await writeFile(target(), 'text');
    const reason = new Error('shutdown');
    await expect(inspect(target(), undefined, 'native', AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  test('reports what cannot be read as INSTALL, naming it', async () => {
    const path = join(dir(), 'x'.repeat(300));
    const error = await caught(inspect(path, undefined, 'native', never));
    expect(error.code).toBe('INSTALL');
    expect(error.message).toContain(path);
  });
});

test('each figure of a stamp counts', () => {
  const stamp = { dev: '1', ino: '2', size: '3', mtimeNs: '4', ctimeNs: '5' };
  expect(sameStamp(stamp, { ...stamp })).toBe(true);
  for (const key of ['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs']) {
    expect(sameStamp(stamp, { ...stamp, [key]: '9' })).toBe(false);
  }
});
