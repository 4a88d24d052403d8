/** `s3.maxBytesPerSecond`, the limit of all downloads together. With the compiled executable. */
import { expect, test } from 'bun:test';
import { halfWay } from '../support/resume.ts';
import { bucketName, noise, scenario, sha256, until, type World } from '../support/world.ts';

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
      // All but the last piece of each, 200 kB, is paid for before the end.
      expect(seconds).toBeGreaterThanOrEqual(1.9);
      expect(seconds).toBeLessThan(15);
    },
    {
      files: [
        { property: 'a', path: 'a' },
        { property: 'b', path: 'b' },
      ],
    },
  ));

const oneMB = 1_000_000;

/** Bytes of objects that S3 has put on the link. */
function sent(world: World): number {
  return world.gets().reduce((sum, { bytesSent }) => sum + bytesSent, 0);
}

test('the limit holds on the link, not only for who reads: eight files at once', () => {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
  return scenario(
    async (world) => {
      for (const name of names) {
        const body = noise(oneMB);
        await world.sandbox.s3.store.put(bucketName, name, body);
        const desired = { url: `s3://${bucketName}/${name}`, hash: sha256(body), size: body.length };
        world.desire({ [name]: desired });
      }
      const bytesPerSecond = 100_000;
      await runAt(world, bytesPerSecond);
      await until('the first bytes', () => sent(world) > 0);
      const startedMs = Date.now();
      await until('a second piece', () => world.gets().length > names.length, 20_000);
      const seconds = (Date.now() - startedMs) / 1000;
      // Each download may begin with what comes in a second.
      expect(sent(world)).toBeLessThanOrEqual((names.length + 2 + seconds) * bytesPerSecond);
    },
    { files: names.map((name) => ({ property: name, path: name })) },
  );
});

test('an object that is fetched under a limit is resumed where it was stopped, and at the end of each piece', () =>
  scenario(async (world) => {
    const body = noise(3_000_000);
    await world.put('big', body);
    for (let stop = 1; stop <= 3; stop += 1) {
      const run = await runAt(world, 400_000);
      await until('a part', () => sent(world) > stop * 600_000);
      await run.stop();
    }
    world.sandbox.faults.set('s3-cut', 150_000, 1);
    await runAt(world, 400_000);
    await world.inSync(sha256(body));
    process.stdout.write(`  sent ${sent(world)} bytes of ${body.length}\n`);
    // Each stop or cut loses at most what the runtime had of one piece.
    expect(sent(world)).toBeLessThan(body.length + 4 * 400_000);
    expect(world.gets().every(({ range }) => range !== undefined)).toBe(true);
  }));

test('an empty object, and one that S3 gives whole, come under a limit as well', () =>
  scenario(async (world) => {
    await world.put('test.txt', '');
    world.desire({ s3: { size: null } });
    await runAt(world, 100_000);
    await world.inSync(sha256(''));
    world.sandbox.faults.set('s3-ignore-range', 1);
    const body = noise(150_000);
    await world.put('test.txt', body);
    await world.inSync(sha256(body));
  }));

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
