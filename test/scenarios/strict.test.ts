/** What others on the device could read or replace. With the compiled executable. */
import { expect, test } from 'bun:test';
import { chmod, chown, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { partPath } from '../../src/io/part.ts';
import { program, root, toolTest } from '../support/tools.ts';
import { executable, scenario, sha256 } from '../support/world.ts';

const unshare = program('unshare');

test('with strict, a readable key and an open target directory are listed with the command to type, and exit 78', () =>
  scenario(
    async (world) => {
      const key = join(world.device.dir, 'private.key');
      await chmod(key, 0o644);
      await mkdir(world.path('open'));
      await chmod(world.path('open'), 0o777);
      const run = await world.run();
      expect(await run.exit).toBe(78);
      expect(run.log).toContain(`error: key: ${key} is open to everyone (mode 0644)`);
      expect(run.log).toContain(`hint: chmod 600 ${key}; or set "strict": false`);
      expect(run.log).toContain(
        `error: files[0].path: everyone can replace what is in ${world.path('open')}`,
      );
      expect(run.log).toContain(`hint: chmod o-w ${world.path('open')}`);
    },
    { config: { strict: true }, files: [{ property: 's3', path: 'open/tmpfile' }] },
  ));

test('without strict they are warnings, and files are kept all the same', () =>
  scenario(
    async (world) => {
      await chmod(join(world.device.dir, 'private.key'), 0o644);
      await world.put('test.txt', 'hoge\n');
      const run = await world.start();
      await world.inSync(sha256('hoge\n'));
      expect(run.log).toMatch(/WARNING key: \S+private\.key is open to everyone \(mode 0644\)/);
      expect(run.log).toMatch(/hint="?chmod 600 /);
    },
    { config: { strict: false } },
  ));

test('the sandbox’s own device is strict, so that root may run it as it is', () =>
  scenario(
    async (world) => {
      await world.put('test.txt', 'hoge\n');
      const run = await world.start();
      await world.inSync(sha256('hoge\n'));
      expect(run.log).not.toContain('WARNING');
    },
    { config: { strict: true } },
  ));

toolTest(
  [root, unshare],
  'in a user namespace, what belongs to somebody outside of it is not taken for that of user nobody',
  async () =>
    scenario(
      async (world) => {
        const config = JSON.parse(await readFile(world.device.configPath, 'utf8'));
        const roots = join(world.device.dir, config.ca);
        await chown(roots, 12345, 12345);
        const run = await world.run();
        expect(await run.exit).toBe(78);
        expect(run.log).toContain(`ca: ${roots} belongs to a user whom this user namespace does not know`);
        expect(run.log).not.toMatch(/user nobody|chown/);
        const key = join(world.device.dir, 'private.key');
        await chown(key, 12345, 12345);
        const again = await world.run();
        expect(await again.exit).toBe(78);
        expect(again.log).toContain(`key: ${key} may not be read`);
        expect(again.log).not.toContain('sudo');
      },
      { config: { strict: true }, command: [unshare.path, '-Ur', await executable()] },
    ),
);

toolTest(
  [root],
  'with strict, what belongs to another user is refused too, and root may ask about the agent of that user',
  () =>
    scenario(
      async (world) => {
        const key = join(world.device.dir, 'private.key');
        const state = join(world.device.dir, 'state');
        await mkdir(state, { mode: 0o700 });
        for (const path of [key, state]) await chown(path, 12345, 12345);
        const run = await world.run();
        expect(await run.exit).toBe(78);
        for (const path of [key, state]) {
          expect(run.log).toContain(
            `${path} belongs to user 12345, who is neither root nor the user of the agent (root)`,
          );
          expect(run.log).toContain(
            `hint: run this as the user that the state directory or the key is for: sudo -u '#12345' shadow-agent …; only where root is to run it, chown root ${path}; or set "strict": false`,
          );
        }
        const status = await world.run(['status', '--config', world.device.configPath]);
        expect([await status.exit, status.log]).toEqual([1, '']);
        expect(status.output).toContain('does not run');
      },
      { config: { strict: true } },
    ),
);

toolTest(
  [root],
  'a part of another user is built on where "owner" names that user, and not for the owner of the present file',
  () =>
    scenario(
      async (world) => {
        const text = 'the new file\n';
        const part = partPath('s3', world.path(), sha256(text));
        await writeFile(world.path(), 'old');
        await chown(world.path(), 12345, 12345);
        await writeFile(part, 'the new');
        await chown(part, 12345, 12345);
        await world.put('test.txt', text);
        const run = await world.run();
        await world.hasStatus({ status: 'failed', code: 'INSTALL' });
        expect(run.log).toContain(`${part} is not a plain file of this agent alone`);
        expect(await readFile(part, 'utf8')).toBe('the new');
        expect(world.file()).toBe('old');
        await chown(part, 23456, 23456);
        world.desire({ s3: { note: 'try again' } });
        await world.inSync(sha256(text));
        const { uid, gid } = await stat(world.path());
        expect([uid, gid]).toEqual([23456, 23456]);
      },
      { config: { strict: false }, files: [{ property: 's3', path: 'tmpfile', owner: '23456:23456' }] },
    ),
);

toolTest(
  [root],
  'a file that a stranger has put in the target’s place is refused by strict, and never given the new content',
  () =>
    scenario(
      async (world) => {
        const [target, text] = [world.path('shared/tmpfile'), 'the new file\n'];
        await mkdir(world.path('shared'));
        await chmod(world.path('shared'), 0o1777);
        const precreate = async () => {
          await writeFile(target, 'mine');
          await chown(target, 12345, 12345);
          await chmod(target, 0o4666);
        };
        await precreate();
        const refused = await world.run();
        expect(await refused.exit).toBe(78);
        expect(refused.log).toContain(`${target} belongs to user 12345, who can write to it`);
        expect(refused.log).toContain(`${target} can be written by everyone (mode 4666)`);
        await rm(target);
        const run = await world.start();
        // What comes after the start is not refused.
        await precreate();
        const part = partPath('s3', target, sha256(text));
        await writeFile(part, '');
        await chown(part, 12345, 12345);
        await world.put('test.txt', text);
        await world.hasStatus({ status: 'failed', code: 'INSTALL' });
        expect(run.log).toContain(`${part} is not a plain file of this agent alone`);
        await rm(part);
        world.desire({ s3: { note: 'try again' } });
        await world.inSync(sha256(text));
        const { uid, gid, mode } = await stat(target);
        expect([uid, gid, mode & 0o7777]).toEqual([0, 0, 0o644]);
      },
      { config: { strict: true }, files: [{ property: 's3', path: 'shared/tmpfile' }] },
    ),
);

toolTest(
  [root],
  'with strict, nothing is installed where another user was first to make the directory of the target',
  () =>
    scenario(
      async (world) => {
        await mkdir(world.path('shared'));
        await chmod(world.path('shared'), 0o1777);
        await world.start();
        const made = world.path('shared/app');
        await mkdir(made);
        await chown(made, 12345, 12345);
        await world.put('test.txt', 'hoge\n');
        await world.hasStatus({
          status: 'failed',
          code: 'INSTALL',
          message: `Cannot install ${world.path('shared/app/sub/f')}: ${made} belongs to user 12345, who can replace what is in it`,
        });
        expect(await readdir(join(made, 'sub'))).toEqual([]);
        await rm(made, { recursive: true });
        world.desire({ s3: { note: 'try again' } });
        await world.inSync(sha256('hoge\n'));
        const { uid, mode } = await stat(made);
        expect([uid, mode & 0o7777]).toEqual([0, 0o755]);
      },
      { config: { strict: true }, files: [{ property: 's3', path: 'shared/app/sub/f' }] },
    ),
);

/** Refuses the second file, in a directory that has become another user's meanwhile. */
const script =
  'grep -q two "$SHADOW_AGENT_PATH" || exit 0; chown 12345 "$(dirname "$SHADOW_AGENT_PATH")"; exit 1';

toolTest(
  [root],
  'with strict, nothing is put back after a failed hook where the directory is another user’s by then',
  () =>
    scenario(
      async (world) => {
        const run = await world.start();
        await world.put('test.txt', 'one\n');
        await world.inSync(sha256('one\n'));
        await world.put('test.txt', 'two\n');
        await world.hasStatus({ code: 'INSTALL' });
        const directory = world.path('app');
        expect(await readFile(join(directory, 'f'), 'utf8')).toBe('two\n');
        await run.stop();
        await chown(directory, 0, 0);
        const rollback = await world.run(['rollback', 's3', '--config', world.device.configPath]);
        await rollback.exit;
        expect(await readFile(join(directory, 'f'), 'utf8')).toBe('one\n');
      },
      {
        config: { strict: true },
        files: [{ property: 's3', path: 'app/f', onInstall: { command: ['/bin/sh', '-c', script] } }],
      },
    ),
);

toolTest([root], 'with strict, no rollback goes through a directory that is another user’s by now', () =>
  scenario(
    async (world) => {
      await world.start();
      for (const body of ['one\n', 'two\n']) {
        await world.put('test.txt', body);
        await world.inSync(sha256(body));
      }
      const directory = world.path('app');
      const rollback = async () => await world.run(['rollback', 's3', '--config', world.device.configPath]);
      await chown(directory, 12345, 12345);
      const refused = await rollback();
      expect(await refused.exit).toBe(1);
      expect(refused.log).toContain(`${directory} belongs to user 12345, who can replace what is in it`);
      expect(await readFile(join(directory, 'f'), 'utf8')).toBe('two\n');
      await chown(directory, 0, 0);
      const done = await rollback();
      expect(await done.exit).toBe(0);
      expect(await readFile(join(directory, 'f'), 'utf8')).toBe('one\n');
    },
    { config: { strict: true }, files: [{ property: 's3', path: 'app/f' }] },
  ),
);
