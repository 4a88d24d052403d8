/** What is kept and put back, where somebody who may write to the target's directory changes it in the middle. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { lstatSync, rmSync, type Stats, symlinkSync } from 'node:fs';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AgentError } from '../../src/core/errors.ts';
import { keep, putBack } from '../../src/io/kept.ts';
import { stagedBackPath } from '../../src/io/part.ts';
import { Room } from '../../src/io/room.ts';
import { caught, useTempDir } from '../support/io-helpers.ts';
import { setpriv } from '../support/nobody.ts';
import { root, toolTest } from '../support/tools.ts';

const dir = useTempDir();
/** On another file system, so that what lies here is copied. */
let far: string;

beforeEach(async () => {
  far = await mkdtemp('/dev/shm/shadow-agent-io-');
  await writeFile(victim(), 'root secret', { mode: 0o600 });
});
afterEach(() => rm(far, { recursive: true, force: true }));

const victim = () => join(dir(), 'victim');
const target = () => join(far, 'app.bin');
const kept = () => join(dir(), 'previous', '0123456789abcdef');

function swap(path: string): void {
  rmSync(path);
  symlinkSync(victim(), path);
}

describe('a target that becomes a link to another file after it was looked at', () => {
  test('is not read to be copied', async () => {
    await writeFile(target(), 'old');
    const claim = (directory: string) => {
      const room = new Room().claim(directory, async () => false);
      const take = room.take.bind(room);
      room.take = async (bytes) => {
        swap(target());
        await take(bytes);
      };
      return room;
    };
    const failed = await caught(keep(target(), await lstat(target()), { path: kept(), claim }));
    expect(failed).toMatchObject({ code: 'INSTALL' });
    expect(await readdir(join(dir(), 'previous'))).toEqual([]);
  });

  test('is not given a second name', async () => {
    const near = join(dir(), 'app.bin');
    await writeFile(near, 'old');
    const claim = (directory: string) => {
      swap(near);
      return new Room().claim(directory, async () => false);
    };
    const failed = await caught(keep(near, await lstat(near), { path: kept(), claim }));
    expect(failed).toMatchObject({
      code: 'INSTALL',
      message: `${near} has become another file while it was kept`,
      hint: expect.stringContaining('find out who'),
    });
    expect(await readdir(join(dir(), 'previous'))).toEqual([]);
  });
});

describe('a copy that is put back', () => {
  const bytes = 64 * 1024 * 1024;

  async function keepOld(): Promise<void> {
    await writeFile(target(), 'new');
    const old = join(far, 'old');
    await writeFile(old, Buffer.alloc(bytes, 'a'));
    await keep(old, await lstat(old), { path: kept() });
    await rm(old);
  }

  toolTest([root], 'is whole, with its owner and mode, and never readable by others until then', async () => {
    await keepOld();
    await chown(kept(), 1234, 5678);
    await chmod(kept(), 0o4751);
    const staged = stagedBackPath('s3', target());
    const modes = new Set<number>();
    const watching = watch(staged, ({ mode, uid }) => {
      if (uid === 0) modes.add(mode & 0o7777);
    });
    await putBack('s3', target(), kept());
    watching.stop();
    expect([...modes]).toEqual([0o600]);
    const { uid, gid, mode, size } = await stat(target());
    expect([uid, gid, mode & 0o7777, size]).toEqual([1234, 5678, 0o4751, bytes]);
    expect(await readdir(far)).toEqual(['app.bin']);
  });

  test('gives neither owner nor mode to a link in its place, and does not become the target', async () => {
    await keepOld();
    await chmod(kept(), 0o755);
    const staged = stagedBackPath('s3', target());
    const watching = watch(staged, (found) => {
      if (found.isFile()) swap(staged);
    });
    const failed = await caught(putBack('s3', target(), kept()));
    watching.stop();
    expect(failed).toMatchObject({
      code: 'INSTALL',
      message: `${staged} has become another file while it was written`,
    });
    expect((await stat(victim())).mode & 0o7777).toBe(0o600);
    expect(await readFile(victim(), 'utf8')).toBe('root secret');
    expect(await readFile(target(), 'utf8')).toBe('new');
    expect(await readdir(far)).toEqual(['app.bin']);
  });
});

describe('a copy that is kept and put back by an agent that is not root', () => {
  // No account has these numbers.
  const [agent, application, group] = [7001, 12345, 23456];

  /** Owner, group and mode of the target after an agent with these capabilities has kept it and put it back. */
  async function afterRollback(uid: number, gid: number, mode: number, ...capabilities: readonly string[]) {
    await chown(dir(), agent, agent);
    await chown(far, agent, agent);
    await writeFile(target(), 'old');
    await chown(target(), uid, gid);
    await chmod(target(), mode);
    const work = `
      const { keep, putBack } = await import(${JSON.stringify(join(import.meta.dir, '../../src/io/kept.ts'))});
      const { lstat } = await import('node:fs/promises');
      const [target, path] = ${JSON.stringify([target(), kept()])};
      await keep(target, await lstat(target), { path });
      await putBack('s3', target, path);`;
    // By the last one it can read this checkout wherever it is.
    const rights = [...capabilities, 'dac_read_search'].map((one) => `+${one}`).join();
    const user = [`--reuid=${agent}`, `--regid=${agent}`, `--groups=${group}`];
    const args = [...user, `--inh-caps=${rights}`, `--ambient-caps=${rights}`, process.execPath, '-e', work];
    const { status, stderr } = spawnSync(setpriv.path, args, { encoding: 'utf8', cwd: '/' });
    expect([status, stderr]).toEqual([0, '']);
    const found = await stat(target());
    return [found.uid, found.gid, (found.mode & 0o7777).toString(8)];
  }

  toolTest([root, setpriv], 'is of its owner again where the agent may give files away', async () => {
    expect(await afterRollback(application, application, 0o600, 'chown', 'fowner')).toEqual([
      application,
      application,
      '600',
    ]);
  });

  toolTest([root, setpriv], 'is of its group again where the agent is in it', async () => {
    expect(await afterRollback(agent, group, 0o2640)).toEqual([agent, group, '2640']);
    expect(await afterRollback(application, group, 0o640)).toEqual([agent, group, '640']);
  });

  toolTest(
    [root, setpriv],
    'lets nobody write to it, or run as another, where it could not become its owner’s again',
    async () => {
      expect(await afterRollback(0, 0, 0o6777)).toEqual([agent, agent, '755']);
      expect(await afterRollback(0, group, 0o6775)).toEqual([agent, group, '755']);
      expect(await afterRollback(agent, application, 0o664)).toEqual([agent, agent, '644']);
    },
  );
});

/** Looks at a path all the time, and tells each time that something is there. */
function watch(path: string, seen: (found: Stats) => void) {
  let watching = true;
  const look = () => {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined) seen(found);
    if (watching) setImmediate(look);
  };
  setImmediate(look);
  return {
    stop: () => {
      watching = false;
    },
  };
}

test('a copy ends when the agent does, and leaves nothing', async () => {
  const reason = new AgentError('INSTALL', 'stopped');
  const stopped = AbortSignal.abort(reason);
  await writeFile(target(), 'old');
  const keeping = keep(target(), await lstat(target()), { path: kept(), signal: stopped });
  expect(await caught(keeping)).toBe(reason);
  expect(await readdir(join(dir(), 'previous'))).toEqual([]);
  await writeFile(kept(), 'older');
  expect(await caught(putBack('s3', target(), kept(), stopped))).toBe(reason);
  expect([await readdir(far), await readFile(target(), 'utf8')]).toEqual([['app.bin'], 'old']);
});

test('what cannot be put back for want of its directory is kept, and the error names that; a kept file that is gone is told as that', async () => {
  const path = join(far, 'missing', 'app.bin');
  await mkdir(dirname(kept()));
  await writeFile(kept(), 'old');
  for (const way of [kept(), undefined]) {
    expect(await caught(putBack('s3', path, way))).toMatchObject({
      code: 'INSTALL',
      message: `Cannot put the previous file back: ${dirname(path)} is not there`,
      hint: expect.stringContaining('mount'),
    });
  }
  expect(await readFile(kept(), 'utf8')).toBe('old');
  await mkdir(dirname(path));
  await putBack('s3', path, kept());
  expect(await readFile(path, 'utf8')).toBe('old');
  await rm(kept());
  expect(await caught(putBack('s3', path, kept()))).toMatchObject({
    code: 'INSTALL',
    message: `The previous file is no longer in ${kept()}`,
  });
  expect(await readFile(path, 'utf8')).toBe('old');
});
