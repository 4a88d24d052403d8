/** How bytes come, and how they become the file. With the compiled executable. */
import { expect } from 'bun:test';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { appendFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { onEachBroker } from '../support/brokers.ts';
import { playOddKeys } from '../support/odd-keys.ts';
import { Relay } from '../support/relay.ts';
import { halfWay, parts, playStopAndResume } from '../support/resume.ts';
import { bucketName, noise, sha256, until, type World } from '../support/world.ts';

const hoge = sha256('hoge\n');

function bytesSent(world: World, key: string): number {
  return world.gets().reduce((sum, get) => (get.key === key ? sum + get.bytesSent : sum), 0);
}

for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
  onEachBroker(
    `${signal} in mid-download: the next start goes on where it ended, pinned to the ETag`,
    (world) => playStopAndResume(world, signal),
  );
}

onEachBroker('a link that is cut every megabyte goes on where it was cut', async (world) => {
  const big = noise(5_500_000);
  world.sandbox.faults.set('s3-cut', 1_000_000);
  await world.put('big', big);
  await world.start();
  await world.inSync(sha256(big));
  // What the runtime had received but not handed over when the link was cut comes again.
  expect(bytesSent(world, 'big')).toBeLessThan(big.length * 1.25);
});

onEachBroker('a newer desired value ends the running download, and its part goes', async (world) => {
  world.sandbox.faults.set('s3-slow', 200_000);
  await world.put('big', noise(20_000_000));
  const run = await world.start();
  await halfWay(world, 'big', 100_000);
  await world.put('test.txt', 'hoge\n');
  await world.inSync(hoge);
  expect(run.log).toContain('Update stopped');
  expect(world.file()).toBe('hoge\n');
  expect(parts(world)).toEqual([]);
  expect(bytesSent(world, 'big')).toBeLessThan(5_000_000);
});

onEachBroker('keys of every odd kind name exactly their object', playOddKeys);

onEachBroker(
  'an object that is stored compressed arrives as it is stored, whole and resumed',
  async (world) => {
    const packed = gzipSync(noise(800_000));
    world.sandbox.faults.set('s3-cut', 300_000, 1);
    await world.put('packed.gz', packed, {
      headers: { 'Content-Encoding': 'gzip', 'Content-Type': 'text/plain' },
    });
    await world.start();
    await world.inSync(sha256(packed));
    expect(readFileSync(world.path()).equals(packed)).toBe(true);
    expect(world.gets().map(({ status }) => status)).toEqual([200, 206]);
  },
);

onEachBroker(
  'credentials that S3 calls expired are replaced once, and the transfer goes on',
  async (world) => {
    const run = await world.start();
    await world.put('test.txt', 'hoge\n');
    await world.inSync(hoge);
    world.sandbox.sessions.expireAll();
    await world.put('test.txt', 'fuga\n');
    await world.inSync(sha256('fuga\n'));
    expect(world.gets().map(({ code, status }) => code ?? status)).toEqual([200, 'ExpiredToken', 200]);
    expect(world.sandbox.credentials.requests.length).toBe(2);
    expect(run.log).not.toContain('WARNING');
  },
);

onEachBroker(
  'S3 that is not available for a moment is asked again, and a wrong object is told with both hashes',
  async (world) => {
    world.sandbox.faults.set('s3-503', 1, 2);
    await world.put('test.txt', 'hoge\n');
    const run = await world.start();
    await world.inSync(hoge);
    expect(run.log).toContain('SlowDown');
    const wanted = 'ab'.repeat(32);
    world.desire({ s3: { hash: wanted } });
    await world.hasStatus({ status: 'failed', code: 'HASH_MISMATCH', hash: wanted });
    expect(world.status()['message']).toBe(`The object hashes to ${hoge}, desired is ${wanted}`);
    expect(world.status()['retryAt']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(world.file()).toBe('hoge\n');
    expect(parts(world)).toEqual([]);
  },
);

onEachBroker('a url that "allow" does not cover is refused before any request', async (world) => {
  world.sandbox.s3.store.createBucket('another-bucket');
  await world.sandbox.s3.store.put('another-bucket', 'x', 'hoge\n');
  const run = await world.start();
  const credentials = world.sandbox.credentials.requests.length;
  world.desire({ s3: { url: 's3://another-bucket/x', hash: hoge } });
  await world.hasStatus({ status: 'failed', code: 'NOT_ALLOWED' });
  expect(world.gets()).toEqual([]);
  expect(world.sandbox.credentials.requests.length - credentials).toBeLessThanOrEqual(1);
  expect(world.file()).toBeUndefined();
  expect(run.child.exitCode).toBeNull();
});

onEachBroker(
  'of two files of which one always fails, the other follows every change',
  async (world) => {
    const { store } = world.sandbox.s3;
    world.sandbox.lambdas.route({
      bucket: bucketName,
      prefix: 'good/',
      target: 'things/test-thing',
      property: 'good',
    });
    await world.start();
    world.desire({ bad: { url: `s3://${bucketName}/missing`, hash: hoge } });
    await world.hasStatus({ status: 'failed', code: 'S3_NOT_FOUND' }, 'bad');
    for (const text of ['one', 'two', 'three']) {
      await store.put(bucketName, 'good/file', text);
      await world.inSync(sha256(text), 'good');
      expect(world.file('good.txt')).toBe(text);
    }
    expect(world.file('bad.txt')).toBeUndefined();
    expect(world.status('bad')['code']).toBe('S3_NOT_FOUND');
  },
  {
    files: [
      { property: 'bad', path: 'bad.txt' },
      { property: 'good', path: 'good.txt' },
    ],
  },
);

onEachBroker(
  'a file that was changed or deleted on the device is repaired',
  async (world) => {
    await world.put('test.txt', 'hoge\n');
    const run = await world.start();
    await world.inSync(hoge);
    await writeFile(world.path(), 'tampered');
    await until('the repair', () => world.file() === 'hoge\n');
    expect(run.log).toContain('The file is not what was installed');
    await rm(world.path());
    await until('the second repair', () => world.file() === 'hoge\n');
    await run.stop();
    await appendFile(world.path(), 'more');
    await world.run();
    await until('the repair after a restart', () => world.file() === 'hoge\n');
  },
  { config: { resyncSeconds: 1 } },
);

onEachBroker(
  'what was installed is repaired also where the broker cannot be reached, and a newer file comes once it can',
  async (world) => {
    await world.put('test.txt', 'hoge\n');
    const first = await world.start();
    await world.inSync(hoge);
    await first.stop();
    const link = await Relay.to(world.sandbox.broker.port);
    const offline = ['--config', world.device.configPath, '--endpoint', `127.0.0.1:${link.port}`];
    await world.put('newer.txt', 'fuga\n');
    await writeFile(world.path(), 'tampered');
    const run = await world.run(offline);
    await until('the repair', () => world.file() === 'hoge\n');
    expect(link.connections).toBe(0);
    await rm(world.path());
    await until('the second repair', () => world.file() === 'hoge\n');
    await link.up();
    await world.inSync(sha256('fuga\n'));
    expect(run.child.exitCode).toBeNull();
    await link.down();
  },
);

onEachBroker(
  'mode is set before the file is there, and the file that it replaces is kept',
  async (world) => {
    await world.start();
    await world.put('test.txt', 'hoge\n');
    await world.inSync(hoge);
    expect(statSync(world.path('bin/tool')).mode & 0o7777).toBe(0o750);
    await world.put('test.txt', 'fuga\n');
    await world.inSync(sha256('fuga\n'));
    const kept = readdirSync(join(world.device.dir, 'state', 'previous'));
    expect(kept.length).toBe(1);
    expect(world.file(join('state', 'previous', kept[0] ?? ''))).toBe('hoge\n');
  },
  { files: [{ property: 's3', path: 'bin/tool', mode: '0750' }] },
);

onEachBroker(
  'a file that moves to another path leaves neither its part nor a kept file behind, but the file itself',
  async (world) => {
    const run = await world.start();
    for (const body of ['hoge\n', 'fuga\n']) {
      await world.put('test.txt', body);
      await world.inSync(sha256(body));
    }
    world.sandbox.faults.set('s3-stall', 100_000);
    await world.put('big', noise(300_000));
    await halfWay(world, 'big', 100_000);
    await run.stop();
    const previous = () => readdirSync(join(world.device.dir, 'state', 'previous'));
    expect([parts(world).length, previous().length]).toEqual([1, 1]);
    world.sandbox.faults.clear();
    await world.put('test.txt', 'piyo\n');
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    await writeFile(
      world.device.configPath,
      JSON.stringify({ ...config, files: [{ ...config.files[0], path: 'elsewhere/file' }] }),
    );
    await world.run();
    await until('the file in its new place', () => world.file('elsewhere/file') === 'piyo\n');
    expect([parts(world), previous()]).toEqual([[], []]);
    expect(world.file()).toBe('fuga\n');
  },
);

onEachBroker(
  'a wrong object over a link that cuts each answer is told as wrong, not fetched for ever',
  async (world) => {
    world.sandbox.s3.store.createBucket('wrong-objects');
    await world.sandbox.s3.store.put('wrong-objects', 'key', noise(200_000));
    // Slow enough for the runtime to hand over what came before the cut.
    world.sandbox.faults.set('s3-slow', 300_000);
    world.sandbox.faults.set('s3-cut', 150_000);
    await world.start();
    world.desire({ s3: { url: 's3://wrong-objects/key', hash: 'ab'.repeat(32) } });
    await world.hasStatus({ status: 'failed', code: 'HASH_MISMATCH' });
    expect(world.status()['message']).toContain(`desired is ${'ab'.repeat(32)}`);
  },
  { files: [{ property: 's3', path: 'tmpfile' }] },
);
