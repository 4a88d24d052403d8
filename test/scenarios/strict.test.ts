/** What others on the device could read or replace. With the compiled executable. */
import { expect, test } from 'bun:test';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { scenario, sha256 } from '../support/world.ts';

test('with strict, a readable key and an open target directory are listed with the command to type, and exit 78', () =>
  scenario(
    async (world) => {
      const key = join(world.device.dir, 'private.key');
      await chmod(key, 0o644);
      await mkdir(world.path('open'));
      await chmod(world.path('open'), 0o777);
      const run = await world.run();
      expect(await run.exit).toBe(78);
      expect(run.log).toContain(`error: key: ${key} can be read by others than its owner (mode 0644)`);
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
      expect(run.log).toMatch(
        /WARNING key: \S+private\.key can be read by others than its owner \(mode 0644\)/,
      );
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
