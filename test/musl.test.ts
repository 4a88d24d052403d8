/**
 * The executables for musl, with Debian's musl and a libstdc++ that was built for musl. Debian has no such libstdc++,
 * but wheels of Python for musl carry one: ujson's is small.
 */
import { afterAll, beforeAll } from 'bun:test';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { playUploads, playVersion } from './support/plays.ts';
import { fileOf, program, pythonModule, type Tool, toolTest } from './support/tools.ts';
import { type Command, executable, scenario, type World } from './support/world.ts';

const run = promisify(execFile);
const pip = pythonModule('pip');
const qemu = program('qemu-aarch64-static', 'qemu-user-static');

interface Machine {
  target: 'linux-x64-musl' | 'linux-arm64-musl';
  name: 'x86_64' | 'aarch64';
  /** SHA-256 of the wheel that has the libstdc++. */
  wheelSha256: string;
  tools: Tool[];
  emulator: string[];
}

const machines: Machine[] = [
  {
    target: 'linux-x64-musl',
    name: 'x86_64',
    wheelSha256: 'f8371bc2e5c7453f350101b0baef4f792b6f9a5d1cccf89f6a138f1d0b4871eb',
    tools: [pip, loader('/lib/ld-musl-x86_64.so.1', 'musl')],
    emulator: [],
  },
  {
    target: 'linux-arm64-musl',
    name: 'aarch64',
    wheelSha256: 'e2fc45d7e147b0ee0f43bc184c0007e7e5b60c4ae01bb2b9b9caf7600be1ac9c',
    tools: [pip, qemu, loader('/lib/ld-musl-aarch64.so.1', 'musl:arm64', qemu.path)],
    emulator: [qemu.path],
  },
];

const plays: [name: string, play: (world: World) => Promise<void>][] = [
  ['prints its version', playVersion],
  ['follows two uploads under one key', playUploads],
];

let work: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'shadow-agent-musl-'));
});
afterAll(() => rm(work, { recursive: true, force: true }));

for (const machine of machines) {
  let command: Promise<Command> | undefined;
  for (const [name, play] of plays) {
    toolTest(
      machine.tools,
      `the ${machine.target} executable ${name}`,
      async () => {
        command ??= commandOn(machine);
        await scenario(play, { command: await command });
      },
      180_000,
    );
  }
}

/** musl's loader, which is also its libc; relocations of the kind that today's libraries have (RELR) need 1.2.4. */
function loader(path: string, debianPackage: string, ...emulator: string[]): Tool {
  const file = fileOf(path, `${debianPackage} (of Debian 13 or later)`);
  const [first = path, ...rest] = [...emulator, path];
  // Called without a program, it names its version on stderr.
  const said = file.found ? spawnSync(first, rest, { encoding: 'utf8' }).stderr : '';
  const [, major, minor, patch] = /^Version (\d+)\.(\d+)\.(\d+)/m.exec(said) ?? [];
  const version = [major, minor, patch].map((part) => (part ?? '').padStart(3, '0')).join('.');
  return { ...file, name: `${path} of musl 1.2.4`, found: version >= '001.002.004' };
}

async function commandOn(machine: Machine): Promise<Command> {
  const libraries = await fetchLibraries(machine);
  const path = await executable(machine.target);
  return ['env', '-i', `LD_LIBRARY_PATH=${libraries}`, ...machine.emulator, path];
}

/** A directory with libstdc++.so.6 for musl and the libgcc_s that it names. */
async function fetchLibraries({ name, wheelSha256 }: Machine): Promise<string> {
  const dir = join(work, name);
  const list = join(work, `${name}.txt`);
  await writeFile(list, `ujson==6.1.0 --hash=sha256:${wheelSha256}\n`);
  const options = ['--quiet', '--disable-pip-version-check', '--require-hashes', '--no-deps'];
  options.push('--only-binary', ':all:', '--platform', `musllinux_1_2_${name}`);
  options.push('--implementation', 'cp', '--python-version', '3.12', '--dest', dir, '-r', list);
  await run(pip.path, ['-m', 'pip', 'download', ...options]);
  const [wheel = ''] = await readdir(dir);
  await run(pip.path, ['-m', 'zipfile', '-e', join(dir, wheel), dir]);
  const libraries = join(dir, 'ujson.libs');
  const names = await readdir(libraries);
  const library = names.find((each) => each.startsWith('libstdc++-'));
  if (library === undefined) throw new Error(`The wheel ${wheel} has no libstdc++, only ${names}`);
  await symlink(library, join(libraries, 'libstdc++.so.6'));
  return libraries;
}
