/** `--once` where something does not work at first. With the compiled executable. */
import { expect, test } from 'bun:test';
import { answers } from '../support/faults.ts';
import { scenario, type World } from '../support/world.ts';

function once(world: World) {
  return world.run(['--config', world.device.configPath, '--once']);
}

test('--once asks again where S3 is not available for a moment, and ends with 0', () =>
  scenario(async (world) => {
    world.sandbox.faults.set('s3-503', 1, 2);
    await world.put('test.txt', 'hoge\n');
    const run = await once(world);
    expect(await run.exit).toBe(0);
    expect(answers(world)).toEqual(['SlowDown', 'SlowDown', 200]);
    expect(world.file()).toBe('hoge\n');
  }));

test('--once connects again where the broker refuses it at first, and ends with 0', () =>
  scenario(async (world) => {
    world.sandbox.faults.set('mqtt-refuse', 1, 2);
    await world.put('test.txt', 'hoge\n');
    const run = await once(world);
    expect(await run.exit).toBe(0);
    expect(run.log.split('Cannot connect to the broker').length).toBe(3);
    expect(world.file()).toBe('hoge\n');
  }));
