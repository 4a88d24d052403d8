/** A start whose broker cannot be reached: what was desired last is kept to, and nothing older. With the executable. */
import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hooked, hookRuns } from '../support/hook.ts';
import { parts } from '../support/resume.ts';
import { mounts, onStateDisk } from '../support/small-disk.ts';
import { program, toolTest } from '../support/tools.ts';
import { executable, noise, Run, scenario, sha256, until, type World } from '../support/world.ts';

const [one, two] = ['one\n', 'two\n'];
const strace = program('strace');
// Nothing listens there.
const unreachable = ['--endpoint', '127.0.0.1:1'];

/** Starts the device, and lets it find out that there is no broker until it goes by what was desired last. */
async function startOffline(world: World, more: readonly string[] = []): Promise<Run> {
  const run = await world.run(['--config', world.device.configPath, ...unreachable, ...more]);
  await until('the sixth try', () => run.log.split('Cannot connect to the broker').length > 6);
  return run;
}

async function install(world: World, key: string, body: string | Buffer): Promise<void> {
  await world.put(key, body);
  await world.inSync(sha256(body));
}

for (const hook of [undefined, { command: ['/bin/true'] }]) {
  toolTest(
    [strace],
    `killed right behind the rename, it does not go back to the file before${hook ? ', with a hook' : ''}`,
    () =>
      scenario(
        async (world) => {
          const first = await world.start();
          await install(world, 'v1', one);
          await first.stop();
          await world.put('v2', two);
          // The rename's own sync lasts long enough to be killed in it.
          const slow = ['-f', '-qq', '-o', '/dev/null', '-e', 'inject=fsync:delay_enter=500000'];
          const args = [...slow, await executable(), '--config', world.device.configPath];
          const traced = Bun.spawn([strace.path, ...args], { stdio: ['ignore', 'ignore', 'ignore'] });
          await until('the rename', () => world.file() === two);
          process.kill(childOf(traced.pid), 'SIGKILL');
          await traced.exited;
          expect(stored(world)).toMatchObject({
            installed: { sha256: sha256(one) },
            pending: { step: 'apply' },
          });
          const gets = world.gets().length;
          const run = await startOffline(world);
          expect(world.file()).toBe(two);
          expect(world.gets().length).toBe(gets);
          await run.stop();
          expect(stored(world)).toMatchObject({ installed: { sha256: sha256(two) } });
        },
        { files: [{ property: 's3', path: 'tmpfile', ...(hook === undefined ? {} : { onInstall: hook }) }] },
      ),
    60_000,
  );
}

toolTest([strace], 'what is withdrawn while the install waits for the disk is not put in place', () =>
  scenario(async (world) => {
    const first = await world.start();
    await install(world, 'v0', 'zero\n');
    await install(world, 'v1', one);
    await first.stop();
    // Between what is said to be pending and the rename lies a sync of the part.
    const slow = ['-f', '-qq', '-o', '/dev/null', '-e', 'inject=fsync,fdatasync:delay_enter=700000'];
    const args = [...slow, await executable(), '--config', world.device.configPath];
    const traced = new Run(strace.path, args, world.device.dir);
    const { pid = 0 } = traced.child;
    try {
      await traced.logged('Connected to AWS IoT');
      await world.put('v2', two);
      await until('what is pending', () => stored(world).pending?.sha256 === sha256(two));
      world.desire({ s3: null });
      await traced.logged('Update stopped');
      const { pending, previous, desired } = stored(world);
      expect({ pending, previous, desired }).toMatchObject({ previous: { sha256: sha256('zero\n') } });
      expect(pending ?? desired).toBeUndefined();
      expect(world.file()).toBe(one);
    } finally {
      process.kill(childOf(pid), 'SIGKILL');
      await traced.exit;
    }
  }),
);

toolTest(
  [mounts],
  'what cannot be stored is not installed: where the state disk is full the older file stays',
  () =>
    scenario((world) =>
      onStateDisk(world.device.dir, '64k', async (disk) => {
        const first = await world.run(['--config', world.device.configPath, ...disk.args]);
        await install(world, 'v1', one);
        await disk.fill();
        const gets = world.gets().length;
        await world.put('v2', two);
        await world.hasStatus({ code: 'DISK_FULL' });
        expect(world.file()).toBe(one);
        expect(world.gets().length - gets).toBeLessThanOrEqual(1);
        await first.stop();
        await disk.empty();
        await startOffline(world, disk.args);
        expect(world.file()).toBe(one);
      }),
    ),
);

toolTest(
  [mounts],
  'what was withdrawn while the state disk was full is not installed again once there is room',
  () =>
    scenario((world) =>
      onStateDisk(world.device.dir, '64k', async (disk) => {
        const first = await world.run(['--config', world.device.configPath, ...disk.args]);
        await install(world, 'v1', one);
        await disk.fill();
        world.desire({ s3: null });
        await first.logged('Cannot write the state file');
        await disk.empty();
        await first.stop();
        await rm(world.path());
        await startOffline(world, disk.args);
        expect(world.file()).toBeUndefined();
      }),
    ),
);

test.concurrent('a rollback while no agent runs holds what was desired last, though no byte of it had come', () =>
  scenario(async (world) => {
    const first = await world.start();
    await install(world, 'v1', one);
    await install(world, 'v2', two);
    world.sandbox.faults.set('s3-refuse', 1);
    await world.put('v3', 'three\n');
    await first.logged(/code=NETWORK/);
    await until('the note of v3', () => JSON.stringify(stored(world)['desired']).includes(sha256('three\n')));
    await first.stop('SIGKILL');
    world.sandbox.faults.clear();
    const rollback = await world.run(['rollback', 's3', '--config', world.device.configPath]);
    expect(await rollback.exit).toBe(0);
    await world.start();
    await world.hasStatus({ code: 'HELD' });
    expect(world.file()).toBe(one);
  }));

test.concurrent('what was withdrawn is not installed again', () =>
  scenario(async (world) => {
    const first = await world.start();
    await install(world, 'v1', one);
    world.desire({ s3: null });
    await until('the note', () => stored(world)['desired'] === undefined);
    await first.stop();
    await rm(world.path());
    await startOffline(world);
    expect(world.file()).toBeUndefined();
  }));

const slowHook = { command: ['/bin/sh', '-c', '! grep -q two "$SHADOW_AGENT_PATH" || sleep 30'] };

test.concurrent('what was withdrawn while a hook ran is not installed again: the hook does not hold up the note', () =>
  scenario(
    async (world) => {
      const first = await world.start();
      await install(world, 'v1', one);
      await world.put('v2', two);
      await until('the hook', () => first.log.split('Running the hook').length > 2);
      world.desire({ s3: null });
      await until('the note', () => stored(world).desired === undefined, 5_000);
      expect(stored(world).pending).toMatchObject({ step: 'apply', runs: 1 });
      await first.stop('SIGKILL');
      await rm(world.path());
      await startOffline(world);
      expect(world.file()).toBeUndefined();
    },
    { files: [{ property: 's3', path: 'tmpfile', onInstall: slowHook }] },
  ));

test.concurrent('what another shadow desired is nothing to go by', () =>
  scenario(async (world) => {
    const first = await world.start();
    await install(world, 'v1', one);
    await first.stop();
    await rm(world.path());
    await startOffline(world, ['--shadow-name', 'files']);
    expect(world.file()).toBeUndefined();
  }));

test.concurrent('a file that a rollback holds is left as it is', () =>
  scenario(async (world) => {
    const first = await world.start();
    await install(world, 'v1', one);
    await install(world, 'v2', two);
    const rollback = await world.run(['rollback', 's3', '--config', world.device.configPath]);
    expect(await rollback.exit).toBe(0);
    await first.stop();
    await writeFile(world.path(), 'by hand\n');
    await startOffline(world);
    expect(world.file()).toBe('by hand\n');
  }));

test.concurrent('what was desired anew while nothing of it could come is what an offline start goes by', () =>
  scenario(async (world) => {
    const first = await world.start();
    await install(world, 'v1', one);
    const { s3: released } = world.state('desired');
    world.sandbox.faults.set('s3-slow', 100_000);
    await world.put('v2', noise(1_000_000));
    await until('some of it', () => (world.gets().at(-1)?.bytesSent ?? 0) > 100_000);
    world.desire({ s3: released ?? null });
    await until('the note', () => stored(world).desired.hash === sha256(one));
    await first.stop('SIGKILL');
    world.sandbox.faults.clear();
    const gets = world.gets().length;
    await startOffline(world);
    expect(world.file()).toBe(one);
    expect(world.gets().length).toBe(gets);
  }));

test.concurrent('a download that was under way goes on, and no byte of it comes again', () =>
  scenario(async (world) => {
    const big = noise(6_000_000);
    const first = await world.start();
    await install(world, 'v1', one);
    world.sandbox.faults.set('s3-slow', 1_000_000);
    await world.put('v2', big);
    await until('the half of it', () => (world.gets().at(-1)?.bytesSent ?? 0) > 3_000_000);
    await first.stop();
    expect(parts(world).length).toBe(1);
    world.sandbox.faults.clear();
    const seen = world.gets().length;
    await startOffline(world);
    await until('the install', () => world.file() === big.toString('utf8'));
    const [rest] = world.gets().slice(seen);
    expect(rest?.bytesSent).toBeLessThan(4_500_000);
  }));

test.concurrent('what a hook has refused is neither installed again nor is its hook run', () =>
  hooked('! grep -q two "$SHADOW_AGENT_PATH"', async (world) => {
    const first = await world.start();
    await install(world, 'v1', one);
    await world.put('v2', two);
    await world.hasStatus({ code: 'HOOK_FAILED' });
    await first.stop('SIGKILL');
    const before = [hookRuns(world).length, world.gets().length];
    await startOffline(world);
    expect(world.file()).toBe(one);
    expect([hookRuns(world).length, world.gets().length]).toEqual(before);
  }));

test.concurrent('a damaged file that is repaired stays, and its hook is run until it takes it', () =>
  hooked('[ ! -e blocked ] || { echo no network; exit 1; }', async (world) => {
    const first = await world.start();
    await install(world, 'v1', one);
    await first.stop();
    await writeFile(world.path(), 'damaged\n');
    await writeFile(world.path('blocked'), '');
    const run = await startOffline(world);
    await until('the second run that fails', () => hookRuns(world).length >= 3);
    expect(world.file()).toBe(one);
    await run.stop('SIGKILL');
    const again = await startOffline(world);
    expect(world.file()).toBe(one);
    await rm(world.path('blocked'));
    await again.stop('SIGKILL');
    await world.start();
    await world.inSync(sha256(one));
    expect(hookRuns(world).filter(({ rollback }) => rollback !== '')).toEqual([]);
  }));

function stored({ device }: World, stateDir = join(device.dir, 'state')) {
  return JSON.parse(readFileSync(join(stateDir, 'state.json'), 'utf8')).files[0];
}

function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
}
