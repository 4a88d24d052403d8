/** Faults of the link to S3: bytes stop, crawl, end early or never begin. With the compiled executable. */
import { expect } from 'bun:test';
import { readFileSync } from 'node:fs';
import { answers, bytesFetched, faultTest, waits } from '../support/faults.ts';
import { Relay } from '../support/relay.ts';
import { noise, sha256, type World } from '../support/world.ts';

const big = noise(3_000_000);
const impatient = { config: { stallSeconds: 1 } };

/** Uploads the big object, starts the device and waits until the file is there. */
async function follow(world: World) {
  await world.put('big', big);
  const run = await world.run();
  await world.inSync(sha256(big));
  expect(readFileSync(world.path()).equals(big)).toBe(true);
  return run;
}

faultTest(
  'a connection that is cut again and again: each attempt goes on where the last ended',
  async (world) => {
    world.sandbox.faults.set('s3-cut', 800_000);
    const run = await follow(world);
    const [first, ...rest] = world.gets();
    expect(first?.status).toBe(200);
    expect(rest.length).toBeGreaterThanOrEqual(3);
    for (const get of rest) {
      expect([get.status, get.range, get.ifMatch]).toEqual([
        206,
        expect.stringMatching(/^bytes=[1-9]\d*-$/),
        expect.stringMatching(/^"[0-9a-f]{32}"$/),
      ]);
    }
    // Bytes gained reset the count: the wait stays at that of a first failure.
    for (const seconds of waits(run)) expect(seconds).toBeLessThanOrEqual(1);
    return big.length;
  },
);

faultTest(
  'a stall: after stallSeconds without a byte the transfer is resumed',
  async (world) => {
    world.sandbox.faults.set('s3-stall', 1_000_000, 1);
    const run = await follow(world);
    expect(run.log).toMatch(/No byte from S3 for 1 s.* code=TIMEOUT/);
    expect(answers(world)).toEqual([200, 206]);
    expect(bytesFetched(world)).toBeLessThan(big.length * 1.1);
    return big.length;
  },
  impatient,
);

faultTest(
  'a link that is slow, but alive, is never ended',
  async (world) => {
    const small = big.subarray(0, 240_000);
    world.sandbox.faults.set('s3-slow', 40_000);
    const startedMs = Date.now();
    await world.put('small', small);
    const run = await world.run();
    await world.inSync(sha256(small));
    expect(Date.now() - startedMs).toBeGreaterThan(5_000);
    expect(answers(world)).toEqual([200]);
    expect(run.log).not.toContain('WARNING');
    return small.length;
  },
  impatient,
);

faultTest('503 SlowDown for a while: asked again, later each time', async (world) => {
  world.sandbox.faults.set('s3-503', 1, 4);
  const run = await follow(world);
  expect(answers(world)).toEqual(['SlowDown', 'SlowDown', 'SlowDown', 'SlowDown', 200]);
  expect(waits(run).length).toBe(4);
  for (const [index, seconds] of waits(run).entries()) {
    expect(seconds).toBeGreaterThanOrEqual(0.5);
    expect(seconds).toBeLessThanOrEqual(2 ** index);
  }
  return big.length;
});

faultTest('503 in mid-file costs no byte that is on disk', async (world) => {
  world.sandbox.faults.set('s3-cut', 1_500_000, 1);
  await world.put('big', big);
  const run = await world.run();
  await run.logged('code=NETWORK');
  world.sandbox.faults.set('s3-503', 1, 2);
  await world.inSync(sha256(big));
  expect(answers(world)).toEqual([200, 'SlowDown', 'SlowDown', 206]);
  expect(bytesFetched(world)).toBeLessThan(big.length * 1.3);
  return big.length;
});

faultTest('connections that are closed before any answer: asked again', async (world) => {
  world.sandbox.faults.set('s3-refuse', 1, 3);
  const run = await follow(world);
  expect(answers(world)).toEqual([0, 0, 0, 200]);
  expect(run.log.split('code=NETWORK').length - 1).toBe(3);
  return big.length;
});

faultTest('nobody listens where S3 should be: asked again until somebody does', async (world) => {
  const link = await Relay.to(world.sandbox.s3.port);
  try {
    await world.put('big', big);
    const run = await world.run([
      '--config',
      world.device.configPath,
      '--s3-endpoint',
      `https://127.0.0.1:${link.port}`,
    ]);
    await world.hasStatus({ status: 'waiting', code: 'NETWORK' });
    expect(waits(run)[0]).toBeLessThanOrEqual(1);
    await link.up();
    await world.inSync(sha256(big));
    expect(answers(world)).toEqual([200]);
    return big.length;
  } finally {
    await link.down();
  }
});

faultTest('an answer that ends in good order but early is no whole object', async (world) => {
  world.sandbox.faults.set('s3-truncate', 1_000_000, 1);
  const run = await follow(world);
  expect(answers(world)).toEqual([200, 206]);
  expect(run.log).toContain('code=NETWORK');
  expect(bytesFetched(world)).toBeLessThan(big.length * 1.3);
  return big.length;
});

faultTest('a range that ends before its Content-Range says is no end of the object', async (world) => {
  const { faults } = world.sandbox;
  faults.set('s3-cut', 1_000_000, 1);
  await world.put('big', big);
  const run = await world.run();
  await run.logged('code=NETWORK');
  faults.set('s3-truncate', 500_000, 1);
  await world.inSync(sha256(big));
  expect(run.log).toMatch(/The connection to S3 ended after \d+ of 3000000 bytes/);
  expect(answers(world)).toEqual([200, 206, 206]);
  expect(readFileSync(world.path()).equals(big)).toBe(true);
  return big.length;
});

faultTest('an answer that is longer than it promised is not taken', async (world) => {
  const { faults } = world.sandbox;
  faults.set('s3-cut', 1_000_000, 1);
  await world.put('big', big);
  const run = await world.run();
  await run.logged('code=NETWORK');
  faults.set('s3-too-long', 50_000, 1);
  await world.inSync(sha256(big));
  expect(run.log).toContain('S3 sent more than the 3000000 bytes that it promised');
  expect(readFileSync(world.path()).equals(big)).toBe(true);
  return big.length;
});
