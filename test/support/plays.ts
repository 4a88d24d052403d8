/** What every executable must be able to do, whatever it runs on. */
import { expect } from 'bun:test';
import pkg from '../../package.json' with { type: 'json' };
import { sha256, type World } from './world.ts';

export async function playVersion(world: World): Promise<void> {
  const run = await world.run(['--version']);
  expect(await run.exit).toBe(0);
  expect(run.output).toBe(`shadow-agent ${pkg.version}\n`);
  expect(run.log).toBe('');
}

/** Two uploads under one key, then an end that was asked for. */
export async function playUploads(world: World): Promise<void> {
  const run = await world.start();
  for (const text of ['hoge\n', 'fuga\n']) {
    await world.put('test.txt', text);
    await world.inSync(sha256(text));
    expect(world.file()).toBe(text);
  }
  expect(await run.stop()).toBe(0);
}
