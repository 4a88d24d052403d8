import { beforeEach, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, rmdir, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Failure } from '../../src/core/reconcile.ts';
import { type FileState, State, storable } from '../../src/io/state.ts';
import { RecordingLog, useTempDir } from '../support/io-helpers.ts';

const dir = useTempDir();
const sha = 'ab'.repeat(32);
const target = '/srv/app.bin';
const stamp = {
  dev: '1',
  ino: '18446744073709551615',
  size: '3',
  mtimeNs: '1700000000123456789',
  ctimeNs: '5',
};
const full: FileState = {
  path: target,
  installed: { sha256: sha, value: { url: 's3://b/k', hash: sha, extra: { deep: [1, null, 'é'] } }, stamp },
  previous: { sha256: 'cd'.repeat(32) },
  part: {
    sha256: sha,
    source: 's3://b/k',
    etag: '"e"',
    size: 300,
    wrong: { etag: '"e"', times: 1, sha256: 'ef'.repeat(32) },
  },
  failure: {
    value: { hash: sha },
    code: 'S3_DENIED',
    message: 'm',
    hint: 'h',
    attempt: 3,
    retryAtMs: 1_700_000_000_000,
  },
};
let log: RecordingLog;

beforeEach(() => {
  log = new RecordingLog();
});

function file(): string {
  return join(dir(), 'state.json');
}

function open(isPrecious = false): Promise<State> {
  return State.open(dir(), log, isPrecious);
}

async function stored(): Promise<string> {
  return readFile(file(), 'utf8');
}

describe('the state of a directory', () => {
  test('is empty at first, and touches nothing by being looked at', async () => {
    expect((await open()).file('s3', target)).toEqual({ path: target });
    expect((await State.open(join(dir(), 'none'), log)).file('s3', target)).toEqual({ path: target });
    expect(log.entries).toEqual([]);
    expect(await readdir(dir())).toEqual([]);
  });

  test('survives a restart, to the last digit', async () => {
    const { path, ...members } = full;
    await (await open()).update('s3', path, members);
    expect((await open()).file('s3', path)).toEqual(full);
    expect((await stat(file())).mode & 0o7777).toBe(0o600);
    expect(await readdir(dir())).toEqual(['state.json']);
  });

  test('is on the disk when the update resolves', async () => {
    const state = await open();
    await state.update('s3', target, { previous: { sha256: sha } });
    expect(JSON.parse(await stored()).files[0].previous).toEqual({ sha256: sha });
  });

  test('changes what the update names, and undefined removes', async () => {
    const state = await open();
    const { path, ...members } = full;
    await state.update('s3', path, members);
    await state.update('s3', path, { part: undefined, failure: undefined, previous: { sha256: sha } });
    const expected = { path, installed: full.installed, previous: { sha256: sha } };
    expect(state.file('s3', path)).toEqual(expected as FileState);
    expect((await open()).file('s3', path)).toEqual(expected as FileState);
    expect(await stored()).not.toContain('part');
  });

  test('holds nothing of a file that moved to another path', async () => {
    const state = await open();
    await state.update('s3', target, { previous: { sha256: sha } });
    expect(state.file('s3', '/srv/other')).toEqual({ path: '/srv/other' });
    await state.update('s3', '/srv/other', {});
    expect((await open()).file('s3', target)).toEqual({ path: target });
  });

  test('keeps the sequence of a signature with the property, also where the file moves', async () => {
    const state = await open();
    const signature = { sequence: 7, sha256: sha };
    await state.update('s3', target, { previous: { sha256: sha }, signature });
    expect(state.file('s3', '/srv/other')).toEqual({ path: '/srv/other', signature });
    await state.update('s3', '/srv/other', {});
    expect((await open()).file('s3', target)).toEqual({ path: target, signature });
  });

  test('keeps what a rollback holds with the property, also where the file moves', async () => {
    const state = await open();
    const held = { sha256: sha };
    await state.update('s3', target, { previous: { sha256: sha }, held });
    expect(state.file('s3', '/srv/other')).toEqual({ path: '/srv/other', held });
    await state.update('s3', '/srv/other', {});
    expect((await open()).file('s3', target)).toEqual({ path: target, held });
  });

  test('keeps what a hook has refused with the property, also where the file moves; what the disk refused stays there', async () => {
    const state = await open();
    const failure = { value: { hash: sha }, code: 'HOOK_FAILED', message: 'm', attempt: 1 } as const;
    await state.update('s3', target, { failure });
    expect(state.file('s3', '/srv/other')).toEqual({ path: '/srv/other', failure });
    await state.update('s3', target, { failure: { ...failure, code: 'INSTALL' } });
    expect(state.file('s3', '/srv/other')).toEqual({ path: '/srv/other' });
  });

  test.each(['back', 'reapply'] as const)(
    'keeps what a hook has refused also where the file moves before the way back is gone, at step %s',
    async (step) => {
      const state = await open();
      const value = { hash: sha };
      const failed = { message: 'm', hint: 'h' };
      const pending = { step, sha256: sha, value, keep: true, runs: 0, failed };
      const failure = { value, code: 'INSTALL', message: 'no directory', attempt: 1 } as const;
      await state.update('s3', target, { pending, blocked: failure });
      const refused = { value, code: 'HOOK_FAILED', ...failed, attempt: 1 } as const;
      expect(state.file('s3', '/srv/other')).toEqual({ path: '/srv/other', failure: refused });
      const { failed: _, ...asked } = pending;
      await state.update('s3', target, { pending: asked });
      expect(state.file('s3', '/srv/other')).toEqual({ path: '/srv/other' });
    },
  );

  test('forgets what another shadow desired, and what is desired of a property that nobody keeps any more, at once', async () => {
    const [classic, named] = ['$aws/things/a/shadow', '$aws/things/a/shadow/name/b'];
    const desired = { hash: sha };
    const held = { sha256: sha };
    const first = await open();
    await first.keepTo(classic, ['s3', 'app']);
    await first.update('s3', target, { desired, held });
    await first.update('app', '/srv/app', { desired });
    const again = await open();
    await again.keepTo(classic, ['s3']);
    expect(again.file('s3', target)).toEqual({ path: target, desired, held });
    expect((await open()).file('app', '/srv/app')).toEqual({ path: '/srv/app' });
    await (await open()).keepTo(named, ['s3']);
    expect((await open()).file('s3', target)).toEqual({ path: target, held });
  });

  test('takes concurrent updates of many files, and loses none', async () => {
    const state = await open();
    const updates = Array.from({ length: 200 }, (_, index) =>
      state.update(`p${index % 20}`, `/f${index % 20}`, {
        previous: { sha256: index.toString(16).padStart(64, '0') },
      }),
    );
    await Promise.all(updates);
    const again = await open();
    for (let index = 0; index < 20; index += 1) {
      const last = (180 + index).toString(16).padStart(64, '0');
      expect(again.file(`p${index}`, `/f${index}`).previous?.sha256).toBe(last);
    }
  });

  test('an update that comes while another is written is safe on the disk when it resolves', async () => {
    const state = await open();
    const first = state.update('a', '/a', {});
    await new Promise((resolve) => setImmediate(resolve));
    await state.update('b', '/b', { previous: { sha256: sha } });
    expect(JSON.parse(await stored()).files[1].previous.sha256).toBe(sha);
    await first;
  });

  test('is whole at every instant', async () => {
    const state = await open();
    await state.update('s3', target, {});
    let writing = true;
    const updates = (async () => {
      for (let index = 0; index < 60; index += 1) {
        await state.update('s3', target, { part: { sha256: sha, source: 'x'.repeat(index * 3000) } });
      }
      writing = false;
    })();
    let reads = 0;
    while (writing) {
      JSON.parse(await stored());
      reads += 1;
    }
    await updates;
    expect(reads).toBeGreaterThan(10);
  });

  test('goes on after a write that failed', async () => {
    const state = await open();
    await mkdir(`${file()}.new`);
    await expect(state.update('s3', target, {})).rejects.toThrow();
    await rmdir(`${file()}.new`);
    await state.update('s3', target, { previous: { sha256: sha } });
    expect((await open()).file('s3', target).previous?.sha256).toBe(sha);
  });

  test.each(['constructor', 'prototype', 'toString', 'hasOwnProperty'])(
    'keeps a property that is named %s like any other',
    async (property) => {
      const state = await open();
      expect(state.file(property, target)).toEqual({ path: target });
      await state.update(property, target, { previous: { sha256: sha } });
      expect((await open()).file(property, target).previous?.sha256).toBe(sha);
    },
  );
});

describe('a state file that is rubbish', () => {
  test.each([
    ['empty', ''],
    ['cut short', '{"version":1,"files":{"s3":{"pa'],
    ['no JSON', 'PK\u0003\u0004'],
    ['null', 'null'],
    ['of another version', '{"version":2,"files":[]}'],
    ['of another shape', '{"version":1,"files":7}'],
    [
      'with a wrong hash',
      `{"version":1,"files":[{"property":"s3","path":"/a","previous":{"sha256":"${sha.toUpperCase()}"}}]}`,
    ],
    [
      'with a wrong number',
      '{"version":1,"files":[{"property":"s3","path":"/a","failure":{"attempt":"x"}}]}',
    ],
    ['deep', '['.repeat(100_000)],
  ])('(%s) is set aside, told, and does no harm', async (_, text) => {
    await writeFile(file(), text);
    const state = await open();
    expect(state.file('s3', '/a')).toEqual({ path: '/a' });
    expect(await readFile(`${file()}.bad`, 'utf8')).toBe(text);
    expect(log.of('warning').length).toBe(1);
    await state.update('s3', '/a', { previous: { sha256: sha } });
    expect((await open()).file('s3', '/a').previous?.sha256).toBe(sha);
  });

  test.each<[string, () => Promise<unknown>]>([
    ['a directory', () => mkdir(file())],
    ['a named pipe', async () => spawnSync('mkfifo', [file()])],
    ['a link to a device without end', () => symlink('/dev/zero', file())],
    ['larger than any', () => writeFile(file(), '').then(() => truncate(file(), 3e9))],
  ])('(%s) is set aside as well', async (_, make) => {
    await make();
    const state = await open();
    expect(log.of('warning').length).toBe(1);
    await state.update('s3', target, { previous: { sha256: sha } });
    expect((await open()).file('s3', target).previous?.sha256).toBe(sha);
  });

  test('(one that is there, but cannot be read) keeps the agent from starting where it is precious, and stays', async () => {
    await symlink('state.json', file());
    const failed = await open(true).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: 'INSTALL', message: `Cannot read ${file()}: ELOOP` });
    expect(await readdir(dir())).toEqual(['state.json']);
    expect(log.entries).toEqual([]);
  });

  test('(one that cannot be read) is set aside where nothing in it is precious', async () => {
    await symlink('state.json', file());
    await (await open()).update('s3', target, {});
    expect(log.of('warning').length).toBe(1);
    expect((await open(true)).file('s3', target)).toEqual({ path: target });
  });

  test('replaces an earlier one that was set aside', async () => {
    await writeFile(`${file()}.bad`, 'older');
    await writeFile(file(), 'newer');
    await open();
    expect(await readFile(`${file()}.bad`, 'utf8')).toBe('newer');
  });
});

test('a state file with keys of a later version is read without them', async () => {
  const text = JSON.stringify({
    version: 1,
    later: 1,
    files: [{ property: 's3', path: '/a', later: 2, previous: { sha256: sha } }],
  });
  await writeFile(file(), text);
  expect((await open()).file('s3', '/a')).toEqual({ path: '/a', previous: { sha256: sha } });
  expect(log.entries).toEqual([]);
});

describe('a failure', () => {
  const failure: Failure = {
    value: { hash: sha },
    code: 'S3_DENIED',
    message: 'm',
    retry: 'slow',
    attempt: 2,
    retryAtMs: 7,
  };

  test('that waits long is stored, with its wall-clock time', () => {
    expect(storable(failure, 1000)).toMatchObject({ code: 'S3_DENIED', attempt: 2, retryAtMs: 1000 });
  });

  test('of a step that is pending is stored as that', async () => {
    const stored = storable({ ...failure, code: 'INSTALL' }, 1000);
    await (await open()).update('s3', target, { blocked: stored });
    expect((await open()).file('s3', target).blocked?.code).toBe('INSTALL');
  });

  test('over a limit of the configuration is not: the limit may be another after a restart', () => {
    expect(storable({ ...failure, code: 'TOO_LARGE', retry: 'slow' }, 1000)).toBeUndefined();
  });

  test('that passes soon, or never, is not', () => {
    expect(storable({ ...failure, code: 'NETWORK', retry: 'soon' }, 1000)).toBeUndefined();
    expect(storable({ ...failure, code: 'HELD', retry: 'never' }, undefined)).toBeUndefined();
  });

  test.each([
    'S3',
    'CREDENTIALS',
    'S3_DENIED',
    'S3_NOT_FOUND',
    'HASH_MISMATCH',
    'DISK_FULL',
    'INSTALL',
  ] as const)('with code %s of class slow is stored', async (code) => {
    const stored = storable({ ...failure, code }, 1000);
    await (await open()).update('s3', target, { failure: stored });
    expect((await open()).file('s3', target).failure?.code).toBe(code);
  });
});
