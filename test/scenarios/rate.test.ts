/** `s3.maxBytesPerSecond`, the limit of all downloads together. With the compiled executable. */
import { expect, test } from 'bun:test';
import { halfWay } from '../support/resume.ts';
import { bucketName, noise, scenario, sha256, type World } from '../support/world.ts';

function runAt(world: World, bytesPerSecond: number) {
  return world.run([
    '--config',
    world.device.configPath,
    '--s3-max-bytes-per-second',
    String(bytesPerSecond),
  ]);
}

test('two downloads share the limit', () =>
  scenario(
    async (world) => {
      const bodies = { a: noise(600_000), b: noise(600_000) };
      for (const [name, body] of Object.entries(bodies)) {
        await world.sandbox.s3.store.put(bucketName, name, body);
        world.desire({ [name]: { url: `s3://${bucketName}/${name}`, hash: sha256(body) } });
      }
      const startedMs = Date.now();
      await runAt(world, 400_000);
      await Promise.all(Object.entries(bodies).map(([name, body]) => world.inSync(sha256(body), name)));
      const seconds = (Date.now() - startedMs) / 1000;
      process.stdout.write(`  2 files of 600 kB at 400 kB/s took ${seconds} s\n`);
      expect(seconds).toBeGreaterThanOrEqual(2.4);
      expect(seconds).toBeLessThan(15);
    },
    {
      files: [
        { property: 'a', path: 'a' },
        { property: 'b', path: 'b' },
      ],
    },
  ));

test('a download that is held back ends at once for a newer desired value, and for SIGTERM', () =>
  scenario(async (world) => {
    const big = noise(5_000_000);
    await world.put('big', big);
    const run = await runAt(world, 20_000);
    await halfWay(world, 'big', 1);
    let startedMs = Date.now();
    await world.put('test.txt', 'hoge\n');
    await world.inSync(sha256('hoge\n'), 's3', 50_000);
    process.stdout.write(`  the newer file took ${Date.now() - startedMs} ms\n`);
    expect(Date.now() - startedMs).toBeLessThan(5_000);
    await world.put('big', noise(5_000_000));
    await halfWay(world, 'big', 1);
    startedMs = Date.now();
    expect(await run.stop()).toBe(0);
    expect(Date.now() - startedMs).toBeLessThan(5_000);
  }));
