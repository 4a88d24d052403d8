import { describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { chown, link, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cleanParts, fileId, Part, partPath } from '../../src/io/part.ts';
import { bytesOf, caught, exists, sha256Of, useTempDir } from '../support/io-helpers.ts';

const dir = useTempDir();
const sha = 'ab'.repeat(32);
const other = 'cd'.repeat(32);
const never = new AbortController().signal;

function target(name = 'app.bin'): string {
  return join(dir(), name);
}

function open(path: string): Promise<Part> {
  return Part.open(path, 'native', never);
}

describe('the name of a part', () => {
  test('lies beside the target and tells the property, the target and the object', () => {
    const path = partPath('s3', '/srv/app/tool', sha);
    expect(path).toMatch(/^\/srv\/app\/\.shadow-agent\.[0-9a-f]{16}\.abababababababab\.part$/);
    expect(partPath('s3', '/srv/app/tool', other)).not.toBe(path);
    expect(fileId('s3', '/srv/app/tool')).toMatch(/^[0-9a-f]{16}$/);
    expect(fileId('s4', '/srv/app/tool')).not.toBe(fileId('s3', '/srv/app/tool'));
    expect(fileId('s3', '/srv/app/tool2')).not.toBe(fileId('s3', '/srv/app/tool'));
    expect(fileId('s', '3/a')).not.toBe(fileId('s3', '/a'));
  });
});

describe('a part', () => {
  test('grows, is closed, and goes on where it was', async () => {
    const path = partPath('s3', target(), sha);
    const [a, b] = [bytesOf(3_000_000, 1), bytesOf(70_000, 2)];
    const first = await open(path);
    expect(first.length).toBe(0);
    await first.append(a);
    expect([first.length, first.hex()]).toEqual([a.length, sha256Of(a)]);
    await first.close();
    const second = await open(path);
    expect([second.length, second.hex()]).toEqual([a.length, sha256Of(a)]);
    await second.append(b);
    await second.append(new Uint8Array());
    const both = Buffer.concat([a, b]);
    expect([second.length, second.hex()]).toEqual([both.length, sha256Of(both)]);
    await second.close();
    expect(await readFile(path)).toEqual(both);
  });

  test('starts anew, and holds then nothing of what was', async () => {
    const path = partPath('s3', target(), sha);
    const part = await open(path);
    await part.append(bytesOf(1000));
    await part.restart();
    expect([part.length, part.hex()]).toEqual([0, sha256Of('')]);
    await part.append(Buffer.from('new'));
    await part.close();
    expect(await readFile(path, 'utf8')).toBe('new');
  });

  test('is taken off the disk when it is discarded', async () => {
    const path = partPath('s3', target(), sha);
    const part = await open(path);
    await part.discard();
    expect(await exists(path)).toBe(false);
  });

  test('is readable by nobody else while it grows', async () => {
    const part = await open(partPath('s3', target(), sha));
    expect((await stat(part.path)).mode & 0o7777).toBe(0o600);
    await part.close();
  });

  test('makes the missing directory of its target', async () => {
    const part = await open(partPath('s3', join(dir(), 'a', 'b', 'c.bin'), sha));
    await part.close();
    expect((await stat(join(dir(), 'a', 'b'))).isDirectory()).toBe(true);
  });

  test('reports a directory that cannot be made as INSTALL', async () => {
    await writeFile(join(dir(), 'file'), '');
    const error = await caught(open(partPath('s3', join(dir(), 'file', 'c.bin'), sha)));
    expect(error.code).toBe('INSTALL');
  });

  test('rejects with the reason of the signal when it is aborted while it is hashed', async () => {
    const path = partPath('s3', target(), sha);
    await writeFile(path, bytesOf(2_000_000));
    const reason = new Error('newer desired value');
    await expect(Part.open(path, 'native', AbortSignal.abort(reason))).rejects.toBe(reason);
    expect((await stat(path)).size).toBe(2_000_000);
  });
});

describe('what stands in the place of a part is refused, and left as it is', () => {
  async function refused(path: string): Promise<void> {
    const error = await caught(open(path));
    expect(error.code).toBe('INSTALL');
    expect(error.message).toContain(dirname(path));
    expect(error.hint).toBeString();
  }

  test('a symbolic link, to a file or to nothing', async () => {
    const path = partPath('s3', target(), sha);
    const victim = join(dir(), 'victim');
    await writeFile(victim, 'precious');
    await symlink(victim, path);
    await refused(path);
    expect(await readFile(victim, 'utf8')).toBe('precious');
    const dangling = partPath('s3', target(), other);
    await symlink(join(dir(), 'nothing'), dangling);
    await refused(dangling);
    expect(await exists(join(dir(), 'nothing'))).toBe(false);
  });

  test('a named pipe, without waiting for its other end', async () => {
    const path = partPath('s3', target(), sha);
    expect(spawnSync('mkfifo', [path]).status).toBe(0);
    await refused(path);
  });

  test('a device', async () => {
    const path = partPath('s3', target(), sha);
    // What /dev/null is.
    expect(spawnSync('mknod', [path, 'c', '1', '3']).status).toBe(0);
    await refused(path);
    expect((await stat(path)).isCharacterDevice()).toBe(true);
  });

  test('a directory', async () => {
    const path = partPath('s3', target(), sha);
    await mkdir(path);
    await refused(path);
  });

  test('a file of another user', async () => {
    expect(process.geteuid?.()).toBe(0);
    const path = partPath('s3', target(), sha);
    await writeFile(path, 'planted');
    await chown(path, 65534, 65534);
    await refused(path);
    expect(await readFile(path, 'utf8')).toBe('planted');
  });

  test('a file with a second name', async () => {
    const path = partPath('s3', target(), sha);
    const victim = join(dir(), 'victim');
    await writeFile(victim, 'precious');
    await link(victim, path);
    await refused(path);
    expect(await readFile(victim, 'utf8')).toBe('precious');
  });
});

describe('cleaning up', () => {
  test('removes the parts of this file but for one, and no other name', async () => {
    const mine = [partPath('s3', target(), sha), partPath('s3', target(), other)];
    const id = fileId('s3', target());
    const foreign = [
      target(),
      partPath('s4', target(), sha),
      partPath('s3', target('other.bin'), sha),
      join(dir(), `.shadow-agent.${id}.part`),
      join(dir(), `.shadow-agent.${id}.abababababababab.part.bak`),
      join(dir(), `x.shadow-agent.${id}.abababababababab.part`),
      join(dir(), `.shadow-agent.${id}.ABABABABABABABAB.part`),
      join(dir(), `.shadow-agent.${id}.abababababababab0.part`),
      join(dir(), `.shadow-agentX${id}.abababababababab.part`),
    ];
    for (const path of [...mine, ...foreign]) await writeFile(path, 'x');
    await cleanParts('s3', target(), other);
    expect((await readdir(dir())).sort()).toEqual(
      [partPath('s3', target(), other), ...foreign].map((path) => path.slice(dir().length + 1)).sort(),
    );
    await cleanParts('s3', target());
    expect((await readdir(dir())).length).toBe(foreign.length);
  });

  test('removes a link that has the name of a part, not what it leads to', async () => {
    const victim = join(dir(), 'victim');
    await writeFile(victim, 'precious');
    await symlink(victim, partPath('s3', target(), sha));
    await cleanParts('s3', target());
    expect(await readdir(dir())).toEqual(['victim']);
  });

  test('is quiet where the directory is missing or a directory has the name of a part', async () => {
    await cleanParts('s3', join(dir(), 'none', 'app.bin'));
    await mkdir(partPath('s3', target(), sha));
    await cleanParts('s3', target());
    expect(await exists(partPath('s3', target(), sha))).toBe(true);
  });
});
