/** `shadow-agent doctor` on what the agent runs and writes to, with the compiled executable. */
import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { examine, failures, finding } from '../support/doctor.ts';
import { mounts, onSmallDisk } from '../support/small-disk.ts';
import { toolTest } from '../support/tools.ts';
import { noise, scenario, type World } from '../support/world.ts';

function configure(world: World, changes: object, ofFile: object = {}): void {
  const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
  const [file] = config.files;
  writeFileSync(
    world.device.configPath,
    JSON.stringify({ ...config, ...changes, files: [{ ...file, ...ofFile }] }),
  );
}

/** The hook of a device as doctor sees it; a name without a directory stands for a file of that device. */
async function hook(world: World, program: string) {
  configure(world, {}, { onInstall: { command: [program] } });
  return finding(await examine(world), 'hooks');
}

test('the program of a hook that is not there, may not be run, or names no interpreter is a failure', () =>
  scenario(async (world) => {
    const path = world.path('hook');
    expect(await hook(world, path)).toMatchObject({
      verdict: 'fail',
      message: `s3: its hook ${path} is not there`,
    });
    writeFileSync(path, '#!/bin/sh\n');
    expect(await hook(world, path)).toMatchObject({
      verdict: 'fail',
      message: `s3: ${path} may not be run: EACCES`,
      hint: expect.stringContaining(`chmod +x ${path}`),
    });
    writeFileSync(world.path('bare'), 'exit 0\n', { mode: 0o755 });
    expect(await hook(world, world.path('bare'))).toMatchObject({
      verdict: 'fail',
      message: expect.stringContaining('is neither a program nor a script that begins with #!'),
    });
    writeFileSync(world.path('windows'), '#!/bin/sh\r\nexit 0\r\n', { mode: 0o755 });
    expect(await hook(world, world.path('windows'))).toMatchObject({
      verdict: 'fail',
      message: expect.stringContaining('names an interpreter that is not there: "/bin/sh\\r"'),
      hint: expect.stringContaining('line feeds alone'),
    });
    mkdirSync(world.path('directory'));
    expect((await hook(world, world.path('directory'))).message).toMatch(/ is no file$/);
    writeFileSync(world.path('sound'), '#!/bin/sh\n', { mode: 0o755 });
    expect(await hook(world, world.path('sound'))).toMatchObject({
      verdict: 'ok',
      message: `s3: its hook ${world.path('sound')} can be started`,
    });
    // Hooks start in the directory /.
    for (const [interpreter, verdict] of [
      ['bin/sh', 'ok'],
      ['hook', 'fail'],
    ] as const) {
      const path = world.path(`relative-${verdict}`);
      writeFileSync(path, `#!${interpreter}\n`, { mode: 0o755 });
      expect(spawnSync(path, { cwd: '/' }).status === 0).toBe(verdict === 'ok');
      expect((await hook(world, path)).verdict).toBe(verdict);
    }
  }));

test('a hook that env(1) is to start is looked for as env does', () =>
  scenario(async (world) => {
    const path = world.path('script');
    for (const [line, sought] of [
      ['/usr/bin/env sh', undefined],
      ['/usr/bin/env -S LANG=C sh -e', undefined],
      ['/usr/bin/env nosuch', 'nosuch'],
      ['/usr/bin/env sh -e', 'sh -e'],
      ['/usr/bin/env -S A=b nosuch -e', 'nosuch'],
      ['/usr/bin/env sh\r', 'sh\r'],
      ['/usr/bin/env /bin/nosuch', '/bin/nosuch'],
    ] as const) {
      writeFileSync(path, `#!${line}\n`, { mode: 0o755 });
      expect(spawnSync(path).status === 0, line).toBe(sought === undefined);
      const { verdict, message, hint } = await hook(world, path);
      expect([line, verdict]).toEqual([line, sought === undefined ? 'ok' : 'fail']);
      if (sought === undefined) continue;
      expect(message).toContain(`${path} has the interpreter /usr/bin/env, which `);
      expect(message).toContain(JSON.stringify(sought));
      expect(hint).toContain(sought.endsWith('\r') ? 'write it with line feeds' : 'its first line (#!)');
    }
  }));

/** A program of 64 bits for this CPU that names a loader, as far as the system reads it before that. */
function withLoader(loader: string): Buffer {
  const [headBytes, entryBytes] = [64, 56];
  const bytes = Buffer.alloc(headBytes + 2 * entryBytes + loader.length + 1);
  bytes.write('\x7fELF\x02\x01\x01', 'latin1');
  bytes.writeUInt16LE(process.arch === 'arm64' ? 183 : 62, 18);
  bytes.writeBigUInt64LE(BigInt(headBytes), 32);
  bytes.writeUInt16LE(entryBytes, 54);
  bytes.writeUInt16LE(2, 56);
  // The first is of another type.
  const entry = headBytes + entryBytes;
  bytes.writeUInt32LE(1, headBytes);
  bytes.writeUInt32LE(3, entry);
  bytes.writeBigUInt64LE(BigInt(entry + entryBytes), entry + 8);
  bytes.writeBigUInt64LE(BigInt(loader.length + 1), entry + 32);
  bytes.write(loader, entry + entryBytes, 'latin1');
  return bytes;
}

test('a hook whose loader or interpreter is not there, or may not be run, is a failure, however it is reached', () =>
  scenario(async (world) => {
    const [other, closed, script] = [world.path('other-libc'), world.path('closed'), world.path('script')];
    writeFileSync(other, withLoader('/lib/ld-nothere.so.2'), { mode: 0o755 });
    const libc = expect.stringContaining('take the build for that of this device (glibc or musl)');
    expect(await hook(world, other)).toMatchObject({
      verdict: 'fail',
      message: `s3: its hook ${other} names a loader that is not there: "/lib/ld-nothere.so.2"`,
      hint: libc,
    });
    writeFileSync(script, `#! ${other} -x\n`, { mode: 0o755 });
    expect(await hook(world, script)).toMatchObject({
      verdict: 'fail',
      message: `s3: its hook ${script} has the interpreter ${other}, which names a loader that is not there: "/lib/ld-nothere.so.2"`,
      hint: libc,
    });
    writeFileSync(closed, '#!/bin/sh\n', { mode: 0o644 });
    writeFileSync(script, `#!${closed}\n`, { mode: 0o755 });
    expect(await hook(world, script)).toMatchObject({
      verdict: 'fail',
      message: `s3: its hook ${script} cannot be started: its interpreter ${closed} may not be run: EACCES`,
      hint: expect.stringContaining(`chmod +x ${closed}`),
    });
    writeFileSync(other, withLoader(process.execPath), { mode: 0o755 });
    expect((await hook(world, other)).verdict).toBe('ok');
    expect((await hook(world, process.execPath)).verdict).toBe('ok');
  }));

/** What a program begins with that is for a kind of CPU; more of it nobody reads. */
function program(machine: number): Buffer {
  const head = Buffer.alloc(64);
  head.write('\x7fELF\x01\x01\x01', 'latin1');
  head.writeUInt16LE(machine, 18);
  return head;
}

test('a hook for this CPU, or for its kind of 32 bits, can be started; one for another is a warning', () =>
  scenario(async (world) => {
    // x86 and Arm, of 64 and 32 bits, and RISC-V.
    const [x64, i386, arm64, arm32, riscv] = [62, 3, 183, 40, 243];
    const own = process.arch === 'arm64' ? [arm64, arm32] : [x64, i386];
    for (const machine of [x64, i386, arm64, arm32, riscv]) {
      const path = world.path(`hook-${machine}`);
      writeFileSync(path, program(machine), { mode: 0o755 });
      expect(await hook(world, path)).toMatchObject(
        own.includes(machine)
          ? { verdict: 'ok', message: `s3: its hook ${path} can be started` }
          : { verdict: 'warn', message: `s3: its hook ${path} is a program for another kind of CPU` },
      );
    }
  }));

test('the program of a hook without a slash is looked for on PATH, and may be one of the files itself', () =>
  scenario(async (world) => {
    expect(await hook(world, 'no-such-program')).toMatchObject({
      verdict: 'fail',
      message: expect.stringMatching(/^s3: its hook no-such-program is nowhere on PATH \(/),
    });
    expect((await hook(world, 'sh')).message).toMatch(/^s3: its hook \S+\/sh can be started/);
    expect(await hook(world, world.path())).toMatchObject({
      verdict: 'fail',
      hint: 'set "mode": "0755" of s3',
    });
    configure(world, {}, { mode: '0755' });
    expect(await hook(world, world.path())).toMatchObject({
      verdict: 'ok',
      message: expect.stringContaining('is one of the files'),
    });
  }));

test('a state directory, or a directory of a target, that is a link to nowhere is a failure, and so the agent says', () =>
  scenario(async (world) => {
    symlinkSync('/nowhere/at/all', world.path('link'));
    configure(world, { stateDir: world.path('link') }, { path: world.path('link/sub/tmpfile') });
    const found = await examine(world, '--no-strict');
    expect(failures(found)).toEqual(['targets', 'state']);
    for (const name of ['targets', 'state']) {
      expect(finding(found, name)).toMatchObject({
        message: expect.stringContaining(
          `${world.path('link')} is a link to /nowhere/at/all, which is not there`,
        ),
        hint: expect.stringContaining('remove the link'),
      });
    }
    const run = await world.run(['--once', '--no-strict', '--config', world.device.configPath]);
    expect(await run.exit).toBe(1);
    expect(run.log).toMatch(/EEXIST[\s\S]*hint: .*a link that leads nowhere/);
  }));

async function onDisk(options: string, play: (mounted: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-places-'));
  try {
    await onSmallDisk(dir, options, play);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

toolTest([mounts], 'a full file system of state directory or metrics is a failure', () =>
  onDisk('1m', (mounted) =>
    scenario(async (world) => {
      mkdirSync(join(mounted, 'state'), { mode: 0o700 });
      spawnSync('dd', ['if=/dev/zero', `of=${join(mounted, 'fill')}`, 'bs=64k']);
      configure(world, { stateDir: join(mounted, 'state'), metricsFile: join(mounted, 'agent.prom') });
      const found = await examine(world, '--no-strict');
      expect(failures(found)).toEqual(['state', 'metrics']);
      expect(finding(found, 'state')).toMatchObject({
        message: `the file system of ${mounted}/state is full: 0 B are free`,
        hint: expect.stringContaining('free some room'),
      });
    }),
  ),
);

toolTest([mounts], 'a file system without a free inode is a failure at the target', () =>
  onDisk('10m,nr_inodes=1', (mounted) =>
    scenario(
      async (world) => {
        const found = await examine(world, '--no-strict');
        expect(failures(found)).toEqual(['targets']);
        expect(finding(found, 'targets')).toMatchObject({
          message: `s3: the file system of ${mounted} takes no more files`,
          hint: expect.stringContaining('df -i'),
        });
      },
      { files: [{ property: 's3', path: join(mounted, 'tmpfile') }] },
    ),
  ),
);

toolTest([mounts], 'a last free inode is enough for a target with its state elsewhere, and a warning', () =>
  onDisk('10m,nr_inodes=2', (mounted) =>
    scenario(
      async (world) => {
        const found = await examine(world, '--no-strict');
        expect(failures(found)).toEqual([]);
        expect(finding(found, 'targets')).toMatchObject({
          verdict: 'warn',
          message: `s3: the file system of ${mounted} takes one more file only`,
          hint: expect.stringContaining('df -i'),
        });
        await world.put('test.txt', 'hoge\n');
        const run = await world.run(['--config', world.device.configPath, '--no-strict', '--once']);
        expect(await run.exit, run.log).toBe(0);
      },
      { files: [{ property: 's3', path: join(mounted, 'tmpfile') }] },
    ),
  ),
);

toolTest(
  [mounts],
  'want of room fails for an object that is to come, and not for one that is installed',
  () =>
    onDisk('10m', (mounted) =>
      scenario(
        async (world) => {
          const object = noise(3_000_000);
          await world.put('big', object);
          const run = await world.run(['--config', world.device.configPath, '--no-strict', '--once']);
          expect(await run.exit, run.log).toBe(0);
          // Of what is left, the reserve takes 5 %.
          writeFileSync(join(mounted, 'fill'), noise(5_000_000));
          expect(finding(await examine(world, '--no-strict'), 'targets')).toMatchObject({
            verdict: 'ok',
            message: expect.stringMatching(/has room for [\d.]+ MB; the object is installed$/),
          });
          writeFileSync(join(mounted, 'more'), noise(2_300_000));
          expect(finding(await examine(world, '--no-strict'), 'targets')).toMatchObject({
            verdict: 'warn',
            message: expect.stringContaining('the object is installed'),
            hint: 'free some room on this file system before the next update',
          });
          writeFileSync(join(mounted, 'tmpfile'), 'spoilt');
          expect(finding(await examine(world, '--no-strict'), 'targets')).toMatchObject({
            verdict: 'fail',
            message: expect.stringContaining('the object takes 3.0 MB'),
          });
        },
        { files: [{ property: 's3', path: join(mounted, 'tmpfile') }] },
      ),
    ),
);
