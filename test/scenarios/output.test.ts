/** What commands print, where it cannot be written. With the compiled executable. */
import { expect } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { openSync } from 'node:fs';
import { fileOf, program, toolTest } from '../support/tools.ts';
import { executable, scenario } from '../support/world.ts';

// It takes no byte, as a full disk.
const full = fileOf('/dev/full', 'coreutils');
const bash = program('bash');

toolTest([full], 'output that a full disk does not take ends a command with 1 and the reason on stderr', () =>
  scenario(async (world) => {
    const config = ['--config', world.device.configPath];
    const path = await executable();
    const commands = [
      ['schema'],
      ['--help'],
      ['unit', ...config],
      ['status', '--json', ...config],
      ['doctor', '--property', 's3', ...config],
    ];
    for (const command of commands) {
      const stdout = openSync(full.path, 'w');
      const run = Bun.spawn([path, ...command], { cwd: world.device.dir, stdout, stderr: 'pipe' });
      const told = await new Response(run.stderr).text();
      expect([command[0], await run.exited, told]).toEqual([
        command[0],
        1,
        'error: Cannot write the output: ENOSPC\nhint: free some room where stdout leads to, and do it again\n',
      ]);
    }
  }),
);

toolTest([bash], 'a reader that has gone away is no error', async () => {
  const script = 'set -o pipefail; "$0" schema | true';
  const { status, stderr } = spawnSync(bash.path, ['-c', script, await executable()], { encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
});
