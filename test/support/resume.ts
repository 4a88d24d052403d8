/** Downloads that end in the middle, and go on. */
import { expect } from 'bun:test';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { noise, sha256, until, type World } from './world.ts';

/** Names of the parts that lie beside the device's file. */
export function parts(world: World): string[] {
  return readdirSync(world.device.dir).filter((name) => name.endsWith('.part'));
}

/** Waits until so many bytes of the object are on disk. */
export async function halfWay(world: World, key: string, bytes: number): Promise<void> {
  await until(`${bytes} bytes on disk`, () => {
    const sizes = parts(world).map((name) => statSync(join(world.device.dir, name)).size);
    return world.gets().some((get) => get.key === key) && sizes.some((size) => size >= bytes);
  });
}

/** Ends the agent in mid-download and starts it again: it asks S3 for the rest of the same object, and for no more. */
export async function playStopAndResume(world: World, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const big = noise(6_000_000);
  world.sandbox.faults.set('s3-slow', 3_000_000);
  await world.put('big', big);
  const run = await world.run();
  await halfWay(world, 'big', 1_500_000);
  const stoppedMs = Date.now();
  const code = await run.stop(signal);
  expect(code).toBe(signal === 'SIGTERM' ? 0 : null);
  expect(Date.now() - stoppedMs).toBeLessThan(5_000);
  expect(world.file()).toBeUndefined();
  expect(parts(world).length).toBe(1);
  world.sandbox.faults.clear();
  await world.start();
  await world.inSync(sha256(big));
  const [first, second, ...rest] = world.gets();
  expect(rest).toEqual([]);
  expect(first?.range).toBeUndefined();
  expect(second?.status).toBe(206);
  expect(second?.ifMatch).toMatch(/^"[0-9a-f]{32}"$/);
  const resumedAt = Number(/^bytes=(\d+)-$/.exec(second?.range ?? '')?.[1]);
  expect(resumedAt).toBeGreaterThanOrEqual(1_500_000);
  expect(second?.bytesSent).toBe(big.length - resumedAt);
  expect(parts(world)).toEqual([]);
}
