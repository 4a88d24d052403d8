/** The executable for the boards, under qemu's user-mode emulation, with nothing in its environment. */
import { expect } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { playOddKeys } from './support/odd-keys.ts';
import { playUploads, playVersion } from './support/plays.ts';
import { playStopAndResume } from './support/resume.ts';
import { fileOf, program, toolTest } from './support/tools.ts';
import { executable, scenario, type World } from './support/world.ts';

const glibcRoot = '/usr/aarch64-linux-gnu';
const qemu = program('qemu-aarch64-static', 'qemu-user-static');
const glibc = fileOf(`${glibcRoot}/lib/ld-linux-aarch64.so.1`, 'libc6-arm64-cross');

async function playBadConfig(world: World): Promise<void> {
  await writeFile(join(world.device.dir, 'bad.json'), '{"endpont":"x"}');
  const run = await world.run(['--config', 'bad.json']);
  expect(await run.exit).toBe(78);
  expect(run.log).toContain('error: endpont: ');
  expect(run.output).toBe('');
}

const plays: [name: string, play: (world: World) => Promise<void>][] = [
  ['prints its version', playVersion],
  ['refuses a wrong configuration with exit code 78', playBadConfig],
  ['follows two uploads under one key', playUploads],
  ['goes on after SIGKILL in mid-download', (world) => playStopAndResume(world, 'SIGKILL')],
  ['fetches keys of every odd kind', playOddKeys],
];

for (const [name, play] of plays) {
  toolTest(
    [qemu, glibc],
    `the arm64 executable ${name}`,
    async () => {
      const path = await executable('linux-arm64');
      await scenario(play, { command: ['env', '-i', qemu.path, '-L', glibcRoot, path] });
    },
    180_000,
  );
}
