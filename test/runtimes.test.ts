/** The sources as they are, on each runtime: one whole update with a kill, a restart and a resume. */
import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';

const denoVersion = '2.9.6';

function smoke(command: string, args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(command, [...args, 'test/smoke.ts'], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  return { status, output: `${stdout}\n${stderr}` };
}

test('the smoke test passes on Bun', () => {
  const { status, output } = smoke(process.execPath, []);
  expect(output).toContain('smoke test passed on Bun');
  expect(status).toBe(0);
});

test('the smoke test passes on Deno', () => {
  const { status, output } = smoke('npx', ['-y', `deno@${denoVersion}`, 'run', '-A']);
  expect(output).toContain('smoke test passed on Deno');
  expect(status).toBe(0);
}, 120_000);
