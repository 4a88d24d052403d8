/** `shadow-agent doctor` on present targets and their owners, which an install would stumble over. */
import { expect, test } from 'bun:test';
import { chmodSync, chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { examine, failures, finding } from '../support/doctor.ts';
import { asNobody, nobody, setpriv } from '../support/nobody.ts';
import { root, toolTest } from '../support/tools.ts';
import { scenario, type World } from '../support/world.ts';

const own = `${nobody}:${nobody}`;
const file = { property: 's3', path: 'files/app' };

/** Gives a user what its agent needs: its key, its state, and the directory of the target. */
function give(world: World, uid: number): string {
  const { dir } = world.sandbox;
  for (const each of [dir, join(dir, 'things'), world.device.dir]) chmodSync(each, 0o755);
  for (const each of ['state', 'files']) mkdirSync(world.path(each), { mode: 0o755 });
  for (const each of ['state', 'files', 'private.key']) chownSync(world.path(each), uid, uid);
  return world.path(file.path);
}

function place(path: string, uid: number, gid: number, mode = 0o644): void {
  rmSync(path, { force: true });
  writeFileSync(path, 'old');
  chownSync(path, uid, gid);
  chmodSync(path, mode);
}

/** What an install says is what doctor said before. */
async function holdsTrue(world: World, message: string, hint: string): Promise<void> {
  expect(finding(await examine(world), 'targets')).toMatchObject({
    verdict: 'fail',
    message: `s3: ${message}`,
    hint,
  });
  const run = await world.run(['--once', '--config', world.device.configPath]);
  expect(await run.exit).toBe(1);
  expect(run.log).toContain(message);
  expect(run.log).toContain(hint);
}

toolTest(
  [root, setpriv],
  'a present target that the agent could not replace is a failure, in the words of the install that would fail',
  () =>
    asNobody((command) =>
      scenario(
        async (world) => {
          const path = give(world, nobody);
          await world.put('test.txt', 'new');
          const hint = `chown ${own} ${path}, or run the agent as root`;
          const to = (owner: string) =>
            `Cannot give the file to ${owner}, which the present one belongs to: the agent runs as ${own}`;
          place(path, 0, 0);
          await holdsTrue(world, to('0:0'), hint);
          place(path, nobody, 0);
          await holdsTrue(world, to(`${nobody}:0`), hint);
          place(path, nobody, nobody, 0o200);
          await holdsTrue(
            world,
            `Cannot read ${path}: EACCES`,
            'give the user of the agent access to the file and write access to its directory',
          );
          place(path, nobody, nobody);
          expect(failures(await examine(world))).toEqual([]);
        },
        { command, files: [file] },
      ),
    ),
);

toolTest(
  [root, setpriv],
  'a file that the agent has installed without the right to read it is no failure',
  () =>
    asNobody((command) =>
      scenario(
        async (world) => {
          give(world, nobody);
          await world.put('test.txt', 'new');
          const run = await world.run(['--once', '--config', world.device.configPath]);
          expect(await run.exit, run.log).toBe(0);
          expect(failures(await examine(world))).toEqual([]);
        },
        { command, files: [{ ...file, mode: '0200' }] },
      ),
    ),
);

toolTest(
  [root, setpriv],
  'a group that the agent is not in is a warning where "owner" names it: the service may have the right',
  () =>
    asNobody((command) =>
      scenario(
        async (world) => {
          give(world, nobody);
          expect(finding(await examine(world), 'targets')).toMatchObject({
            verdict: 'warn',
            message: `s3: Cannot give the file to ${nobody}:4242, as "owner" says: the agent runs as ${own}`,
            hint: expect.stringMatching(
              /CAP_CHOWN.*; else set "owner": "65534:65534", or run the agent as root$/,
            ),
          });
        },
        { command, files: [{ ...file, owner: `${nobody}:4242` }] },
      ),
    ),
);

toolTest(
  [root, setpriv],
  'who has the right to give files away, as a unit may give it to a user, is not told that only root may',
  () =>
    asNobody(([program, ...options]) =>
      scenario(
        async (world) => {
          place(give(world, nobody), 0, 0);
          await world.put('test.txt', 'new');
          expect(failures(await examine(world))).toEqual([]);
          const run = await world.run(['--once', '--config', world.device.configPath]);
          expect(await run.exit, run.log).toBe(0);
        },
        {
          command: [program, '--inh-caps=+chown,+fowner', '--ambient-caps=+chown,+fowner', ...options],
          files: [file],
        },
      ),
    ),
);

toolTest([root], 'where root asks about the agent of another user, targets are judged for that user', () =>
  scenario(
    async (world) => {
      const path = give(world, 12345);
      place(path, 0, 0);
      expect(finding(await examine(world), 'targets')).toMatchObject({
        verdict: 'fail',
        message: expect.stringMatching(/^s3: Cannot give the file to 0:0, .* runs as 12345:12345$/),
        hint: `chown 12345:12345 ${path}, or run the agent as root`,
      });
      place(path, 12345, 12345, 0o200);
      expect(finding(await examine(world), 'targets').message).toBe(
        `s3: user 12345, the user of the agent, may not read ${path}`,
      );
      place(path, 12345, 12345);
      expect(failures(await examine(world))).toEqual([]);
    },
    { files: [file] },
  ),
);

test('a target whose directory is not there is told with where that is made', () =>
  scenario(
    async (world) => {
      expect(finding(await examine(world), 'targets')).toMatchObject({
        verdict: 'ok',
        message: expect.stringMatching(
          /^s3: \S+files is not there, and is made in \S+test-thing, which is writable, and has room for /,
        ),
      });
    },
    { files: [file] },
  ));
