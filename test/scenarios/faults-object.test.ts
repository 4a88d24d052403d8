/** S3 gives what was not asked for: another object, another range, another size. With the compiled executable. */
import { expect } from 'bun:test';
import { readFileSync } from 'node:fs';
import { appendFile, open } from 'node:fs/promises';
import { join } from 'node:path';
import { answers, anyBucket, bytesFetched, faultTest, quietBucket, sent, waits } from '../support/faults.ts';
import { halfWay, parts } from '../support/resume.ts';
import {
  bucketName,
  noise,
  type Run,
  sha256,
  until,
  type World,
  type WorldOptions,
} from '../support/world.ts';

const size = 3_000_000;
const old = noise(size);
const fresh = noise(size);
/** Begins as the old one does, so that only its length tells that it is another. */
const longer = Buffer.concat([old, noise(1_000)]);
const url = `s3://${quietBucket}/big`;
const impatient: WorldOptions = { ...anyBucket, config: { stallSeconds: 1 } };

function put(world: World, body: Uint8Array | string, key = 'big') {
  return world.sandbox.s3.store.put(quietBucket, key, body);
}

/** Desires the object, and lets its transfer stall after the first third. */
async function stalled(world: World, wanted: Uint8Array): Promise<Run> {
  world.sandbox.faults.set('s3-stall', size / 3, 1);
  world.desire({ s3: { url, hash: sha256(wanted) } });
  const run = await world.run();
  await sent(world, size / 3);
  return run;
}

async function arrives(world: World, body: Uint8Array): Promise<void> {
  await world.inSync(sha256(body));
  expect(readFileSync(world.path()).equals(Buffer.from(body))).toBe(true);
  expect(parts(world)).toEqual([]);
}

function attempts(run: Run): number {
  return run.log.split(' Updating ').length - 1;
}

faultTest(
  'an object that is replaced in mid-download: 412, and started over in the same attempt',
  async (world) => {
    await put(world, old);
    const run = await stalled(world, fresh);
    await put(world, fresh);
    await arrives(world, fresh);
    expect(answers(world)).toEqual([200, 'PreconditionFailed', 200]);
    expect(attempts(run)).toBe(2);
    return size;
  },
  impatient,
);

faultTest(
  'an object that is replaced by one of another length, where If-Match and ETag are not known: nothing of it is added to the part',
  async (world) => {
    await put(world, old);
    const run = await stalled(world, longer);
    await put(world, longer);
    world.sandbox.faults.set('s3-ignore-if-match', 1, 1);
    await arrives(world, longer);
    expect(answers(world)).toEqual([200, 206, 200]);
    expect(world.gets()[1]?.ifMatch).toBeString();
    expect(attempts(run)).toBe(2);
    return longer.length;
  },
  impatient,
);

faultTest(
  '200 to a Range: taken from its start, nothing is asked for twice',
  async (world) => {
    await put(world, fresh);
    await stalled(world, fresh);
    world.sandbox.faults.set('s3-ignore-range', 1, 1);
    await arrives(world, fresh);
    expect(answers(world)).toEqual([200, 200]);
    expect(world.gets()[1]?.range).toMatch(/^bytes=[1-9]/);
    return size;
  },
  impatient,
);

faultTest(
  '206 with another Content-Range: dropped, and the whole is asked for in the same attempt',
  async (world) => {
    await put(world, fresh);
    const run = await stalled(world, fresh);
    world.sandbox.faults.set('s3-wrong-range', 1_000, 1);
    await arrives(world, fresh);
    expect(answers(world)).toEqual([200, 206, 200]);
    expect(attempts(run)).toBe(2);
    return size;
  },
  impatient,
);

/** Ends the run in mid-download and changes its part. */
async function spoil(world: World, change: (part: string) => Promise<void>): Promise<void> {
  await put(world, fresh);
  const run = await stalled(world, fresh);
  await halfWay(world, 'big', 500_000);
  await run.stop('SIGKILL');
  await change(join(world.device.dir, parts(world)[0] ?? ''));
}

faultTest(
  'a part that is longer than the object: 416, and the whole is asked for in the same attempt',
  async (world) => {
    await spoil(world, (part) => appendFile(part, noise(size)));
    const run = await world.run();
    await arrives(world, fresh);
    expect(answers(world)).toEqual([200, 'InvalidRange', 200]);
    expect(attempts(run)).toBe(1);
    return size;
  },
  anyBucket,
);

faultTest(
  'a part that is wrong on disk: fetched anew once, in the same attempt',
  async (world) => {
    await spoil(world, async (part) => {
      const file = await open(part, 'r+');
      await file.write(Buffer.from([(fresh[1000] ?? 0) ^ 1]), 0, 1, 1000);
      await file.close();
    });
    const run = await world.run();
    await arrives(world, fresh);
    expect(answers(world)).toEqual([200, 206, 200]);
    expect(attempts(run)).toBe(1);
    expect(run.log).not.toContain('WARNING');
    return size;
  },
  anyBucket,
);

/** Another desired value ends the wait for the next try. */
async function tryAgainTwice(world: World, run: Run, code: string): Promise<void> {
  for (const nth of [2, 3]) {
    world.desire({ s3: { note: `try ${nth}` } });
    await until(`failure ${nth}`, () => run.log.split(`code=${code}`).length > nth);
  }
}

faultTest(
  'one answer with a wrong length does not bar the right object',
  async (world) => {
    await put(world, fresh);
    world.desire({ s3: { url, hash: sha256(fresh), size } });
    world.sandbox.faults.set('s3-too-long', 100, 1);
    const run = await world.run();
    await run.logged(`The object has ${size + 100} bytes, desired says ${size}`);
    world.desire({ s3: { note: 'again' } });
    await arrives(world, fresh);
    expect(answers(world)).toEqual([200, 200]);
    return size;
  },
  anyBucket,
);

faultTest(
  'a wrong object is fetched twice: as long as it stays, 304 answers, and the right one is taken',
  async (world) => {
    await put(world, old);
    world.desire({ s3: { url, hash: sha256(fresh) } });
    const run = await world.start();
    await world.hasStatus({ status: 'failed', code: 'HASH_MISMATCH' });
    expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
    await tryAgainTwice(world, run, 'HASH_MISMATCH');
    expect(answers(world)).toEqual([200, 200, 304]);
    expect(world.gets()[2]?.ifNoneMatch).toMatch(/^"[0-9a-f]{32}"$/);
    await put(world, fresh);
    world.desire({ s3: { note: 'uploaded' } });
    await arrives(world, fresh);
    expect(answers(world)).toEqual([200, 200, 304, 200]);
    return size * 3;
  },
  anyBucket,
);

faultTest(
  'a "size" that is not the object\'s: refused before the body, and asked for again by its ETag',
  async (world) => {
    await put(world, noise(20_000_000));
    world.desire({ s3: { url, hash: sha256(fresh), size } });
    const run = await world.start();
    await world.hasStatus({ status: 'failed', code: 'HASH_MISMATCH' });
    expect(run.log).toContain(`The object has 20000000 bytes, desired says ${size}`);
    expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
    expect(bytesFetched(world)).toBeLessThan(15_000_000);
    expect(parts(world)).toEqual([]);
    await tryAgainTwice(world, run, 'HASH_MISMATCH');
    expect(answers(world)).toEqual([200, 200, 304]);
    return 0;
  },
  anyBucket,
);

faultTest(
  'an object over maxBytes: refused before the body, and asked for again by its ETag',
  async (world) => {
    await put(world, noise(20_000_000));
    world.desire({ s3: { url, hash: sha256(fresh) } });
    const run = await world.start();
    await world.hasStatus({ status: 'failed', code: 'TOO_LARGE' });
    expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
    expect(bytesFetched(world)).toBeLessThan(15_000_000);
    expect(world.file()).toBeUndefined();
    expect(parts(world)).toEqual([]);
    await tryAgainTwice(world, run, 'TOO_LARGE');
    expect(answers(world)).toEqual([200, 200, 304]);
    return 0;
  },
  { files: [{ property: 's3', path: 'tmpfile', maxBytes: 1_000_000 }] },
);

faultTest(
  'an object of which desired says that it is over maxBytes: not asked for',
  async (world) => {
    await put(world, noise(20_000_000));
    world.desire({ s3: { url, hash: sha256(fresh), size: 20_000_000 } });
    await world.start();
    await world.hasStatus({ status: 'failed', code: 'TOO_LARGE' });
    expect(answers(world)).toEqual([]);
    return 0;
  },
  { files: [{ property: 's3', path: 'tmpfile', maxBytes: 1_000_000 }] },
);

const large = noise(40 * 1024 * 1024);

faultTest(
  'one silent range of a large object, while others come: not ended before all are silent, and what came is kept',
  async (world) => {
    await put(world, large);
    world.sandbox.faults.set('s3-slow', 1_000_000);
    world.sandbox.faults.set('s3-stall', 100, 1);
    world.desire({ s3: { url, hash: sha256(large), size: large.length } });
    const run = await world.run();
    await run.logged(/No byte from S3 for 1 s.* code=TIMEOUT/);
    const before = bytesFetched(world);
    world.sandbox.faults.clear();
    await arrives(world, large);
    // Without a limit for what runs ahead, and were each silence the end of it, this would be about 4 MB.
    expect(before).toBeGreaterThan(7_000_000);
    expect(bytesFetched(world) - large.length).toBeLessThan(8_000_000);
    return large.length;
  },
  { ...anyBucket, config: { stallSeconds: 1 } },
);

faultTest(
  'only the url changes: the bytes are kept, and the rest comes from the new place',
  async (world) => {
    await put(world, fresh);
    await put(world, fresh, 'moved');
    await stalled(world, fresh);
    await halfWay(world, 'big', 500_000);
    world.desire({ s3: { url: `s3://${quietBucket}/moved` } });
    await arrives(world, fresh);
    const [first, second] = world.gets();
    expect([first?.key, second?.key]).toEqual(['big', 'moved']);
    expect(second?.range).toMatch(/^bytes=[1-9]/);
    expect(second?.ifMatch).toBeUndefined();
    expect(answers(world)).toEqual([200, 206]);
    return size;
  },
  anyBucket,
);

faultTest(
  'a newer version is uploaded in mid-download: the versionId that is desired arrives',
  async (world) => {
    const { store } = world.sandbox.s3;
    store.createBucket('versioned', { versioned: true });
    const { versionId } = await store.put('versioned', 'big', fresh);
    world.sandbox.faults.set('s3-stall', size / 3, 1);
    world.desire({ s3: { url: 's3://versioned/big', hash: sha256(fresh), versionId } });
    await world.run();
    await sent(world, size / 3);
    await store.put('versioned', 'big', old);
    await arrives(world, fresh);
    expect(answers(world)).toEqual([200, 206]);
    expect(world.gets().map((get) => get.versionId)).toEqual([versionId, versionId]);
    return size;
  },
  impatient,
);

faultTest('an object that is not there yet: NOT_FOUND, slowly, until it is uploaded', async (world) => {
  world.desire({ s3: { url: `s3://${bucketName}/late`, hash: sha256(fresh) } });
  const run = await world.start();
  await world.hasStatus({ status: 'failed', code: 'S3_NOT_FOUND' });
  expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
  expect(answers(world)).toEqual(['NoSuchKey']);
  await world.put('late', fresh);
  world.desire({ s3: { note: 'uploaded' } });
  await arrives(world, fresh);
  return size;
});
