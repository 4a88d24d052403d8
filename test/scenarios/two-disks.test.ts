/** Target and state on two file systems, one of which is full. With the compiled executable. */
import { expect } from 'bun:test';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { mounts, onSmallDisk, onStateDisk } from '../support/small-disk.ts';
import { toolTest } from '../support/tools.ts';
import { noise, type Run, scenario, sha256, until, type World } from '../support/world.ts';

const megabyte = 1_000_000;

/** Has `one` replaced by `two`. */
async function updated(
  world: World,
  { args = [], bytes = megabyte }: { args?: readonly string[]; bytes?: number } = {},
): Promise<Run> {
  const run = await world.run(['--config', world.device.configPath, ...args]);
  for (const size of [bytes, bytes + 1]) {
    const body = noise(size);
    await world.put(String(size), body);
    await world.inSync(sha256(body));
  }
  return run;
}

async function rollback(world: World, args: readonly string[] = []): Promise<Run> {
  const run = await world.run(['rollback', 's3', '--config', world.device.configPath, ...args]);
  await run.exit;
  return run;
}

toolTest(
  [mounts],
  'an object that its disk cannot hold takes no previous file that lies on another one',
  () =>
    scenario(
      (world) =>
        onSmallDisk(world.device.dir, '12m', async (small) => {
          const agent = await updated(world);
          await world.put('large', noise(14 * megabyte));
          await agent.logged('DISK_FULL');
          expect(readdirSync(join(world.device.dir, 'state', 'previous')).length).toBe(1);
          expect(agent.log).toContain(`free some room on the file system of ${small}`);
          const back = await rollback(world);
          expect(back.child.exitCode, back.log).toBe(0);
        }),
      { files: [{ property: 's3', path: 'small/f' }] },
    ),
);

toolTest(
  [mounts],
  'a previous file on the full disk itself goes where that is room enough, and only then',
  () =>
    scenario(
      (world) =>
        onStateDisk(world.device.dir, '12m', async ({ directory, args }) => {
          const agent = await updated(world, { args });
          const previous = join(directory, 'previous');
          const [kept] = readdirSync(previous);
          await world.put('never', noise(14 * megabyte));
          await agent.logged('DISK_FULL');
          expect(readdirSync(previous)).toEqual([kept ?? '']);
          const fitting = noise(10 * megabyte);
          await world.put('fitting', fitting);
          await world.inSync(sha256(fitting));
          expect(readdirSync(previous)).not.toContain(kept ?? '');
        }),
      { files: [{ property: 's3', path: 'small/f' }] },
    ),
);

toolTest([mounts], 'where two previous files do not fit, the older one goes for the newer one', () =>
  scenario((world) =>
    onStateDisk(world.device.dir, '4m', async ({ args }) => {
      await updated(world, { args, bytes: 2_150_000 });
      const third = noise(megabyte);
      await world.put('third', third);
      await world.inSync(sha256(third));
      const back = await rollback(world, args);
      expect(back.child.exitCode, back.log).toBe(0);
    }),
  ),
);

toolTest(
  [mounts],
  'where the disk of the state is full, the hint names that one, and room there is all it takes',
  () =>
    scenario(
      (world) =>
        onStateDisk(world.device.dir, '64k', async (disk) => {
          const agent = await world.run(['--config', world.device.configPath, ...disk.args]);
          await agent.logged('Connected to AWS IoT');
          await disk.fill();
          const body = noise(megabyte);
          await world.put('1', body);
          await agent.logged('DISK_FULL');
          expect(agent.log).toContain(`free some room on the file system of ${disk.directory}`);
          await until('the end of the attempt', () => world.status()['code'] === 'DISK_FULL');
          await disk.empty();
          world.desire({ s3: { note: 'again' } });
          await world.inSync(sha256(body));
          expect(world.gets().length).toBeLessThanOrEqual(2);
        }),
      { files: [{ property: 's3', path: 'f', onInstall: { command: ['/bin/true'] } }] },
    ),
);

toolTest(
  [mounts],
  'where the disk of the state has not a byte left, the previous file on it goes, and the update comes',
  () =>
    scenario((world) =>
      onStateDisk(world.device.dir, '4m', async (disk) => {
        const agent = await updated(world, { args: disk.args });
        await disk.fill();
        const third = noise(megabyte);
        await world.put('third', third);
        await world.inSync(sha256(third));
        expect(agent.child.exitCode).toBeNull();
      }),
    ),
);
