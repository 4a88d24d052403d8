/** Faults that last: nothing but time mends them, and no limit of a runtime ends the wait. With the compiled executable. */
import { expect } from 'bun:test';
import { readFileSync } from 'node:fs';
import { blackHole, python } from '../support/black-hole.ts';
import { answers, anyBucket, bytesFetched, longFaultTest, quietBucket, waits } from '../support/faults.ts';
import { ObjectServer, s3Answer, silent, xml } from '../support/io-object-server.ts';
import { executable, noise, type Run, sha256, until, type World } from '../support/world.ts';

const hoge = Buffer.from('hoge\n');
const longMs = 100_000;

/** Waits until the file of a property is as desired. */
function arrives(world: World, body: Uint8Array, property = 's3'): Promise<void> {
  return world.inSync(sha256(body), property, longMs);
}

longFaultTest(
  '404 may mean not uploaded yet: asked again after a minute, and it is there',
  async (world) => {
    world.desire({ s3: { url: `s3://${quietBucket}/late`, hash: sha256(hoge) } });
    const run = await world.start();
    await world.hasStatus({ status: 'failed', code: 'S3_NOT_FOUND' });
    await world.sandbox.s3.store.put(quietBucket, 'late', hoge);
    await arrives(world, hoge);
    expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
    expect(waits(run)[0]).toBeLessThanOrEqual(60);
    expect(answers(world)).toEqual(['NoSuchKey', 200]);
    return hoge.length;
  },
  anyBucket,
);

/** Plays with an S3 that answers the first request for `hoge` so, and every other one with it. */
function playFirstAnswer(
  first: ObjectServer['script'][number],
  play: (run: Run, world: World) => Promise<void>,
): (world: World) => Promise<number> {
  return async (world) => {
    const s3 = await ObjectServer.start(world.sandbox.pki.server);
    try {
      s3.script = [first];
      s3.otherwise = s3Answer({ bytes: hoge, etag: '"hoge"' });
      world.desire({ s3: { url: `s3://${quietBucket}/late`, hash: sha256(hoge) } });
      const run = await world.run(['--config', world.device.configPath, '--s3-endpoint', s3.origin]);
      await play(run, world);
      expect(s3.requests.length).toBe(2);
      return hoge.length;
    } finally {
      await s3.close();
    }
  };
}

longFaultTest(
  '403 may mean not uploaded yet: asked again after a minute, and it is there',
  playFirstAnswer(xml(403, 'AccessDenied'), async (run, world) => {
    await world.hasStatus({ status: 'failed', code: 'S3_DENIED' });
    expect(run.log).toContain('or the object is not uploaded yet');
    await arrives(world, hoge);
    expect(waits(run).length).toBe(1);
    expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
  }),
  anyBucket,
);

longFaultTest(
  'S3 takes the request and never answers: it ends, and is made again',
  playFirstAnswer(silent, async (run, world) => {
    await arrives(world, hoge);
    expect(run.log).toMatch(/no answer in 30 s.* code=TIMEOUT/);
    expect(waits(run)[0]).toBeLessThanOrEqual(1);
  }),
  anyBucket,
);

longFaultTest(
  'S3 takes no connection: it ends sooner than a request that gets no answer, and is made again',
  async (world) => {
    await using hole = await blackHole();
    world.desire({ s3: { url: `s3://${quietBucket}/slow`, hash: sha256(hoge) } });
    const endpoint = `https://127.0.0.1:${hole.port}`;
    const run = await world.run(['--config', world.device.configPath, '--s3-endpoint', endpoint]);
    await until('the second attempt', () => run.log.split(' Updating ').length > 2, 40_000);
    expect(run.log).toMatch(/no connection in 15 s.* code=TIMEOUT/);
    expect(run.log).not.toContain('no answer');
    expect(waits(run)[0]).toBeLessThanOrEqual(1);
    return 0;
  },
  anyBucket,
  [python],
);

longFaultTest(
  'a credentials provider that never answers: the request ends, and is made again',
  async (world) => {
    world.sandbox.faults.set('credentials-stall', 1, 1);
    await world.put('test.txt', hoge);
    const run = await world.run();
    await arrives(world, hoge);
    expect(run.log).toMatch(/no answer in 20 s.* code=TIMEOUT/);
    expect(waits(run)[0]).toBeLessThanOrEqual(1);
    expect(world.sandbox.credentials.requests.map(({ status }) => status)).toEqual([undefined, 200]);
    expect(answers(world)).toEqual([200]);
    return hoge.length;
  },
);

const idleSeconds = 2;
const silenceSeconds = 14;

longFaultTest(
  "a silence longer than the runtime's own limit, but shorter than stallSeconds, ends nothing",
  async (world) => {
    const body = noise(1_000_000);
    // A byte, a silence, and then all the rest.
    world.sandbox.faults.set('s3-slow', 1 / silenceSeconds);
    await world.put('test.txt', body);
    const run = await world.run();
    await until('the first byte', () => (world.gets()[0]?.bytesSent ?? 0) > 0);
    const startedMs = Date.now();
    world.sandbox.faults.clear('s3-slow');
    await arrives(world, body);
    expect(Date.now() - startedMs).toBeGreaterThan((silenceSeconds - 2) * 1000);
    expect(answers(world)).toEqual([200]);
    expect(bytesFetched(world)).toBe(body.length);
    expect(run.log).not.toContain('WARNING');
    expect(readFileSync(world.path()).equals(body)).toBe(true);
    return body.length;
  },
  { command: ['env', `BUN_CONFIG_HTTP_IDLE_TIMEOUT=${idleSeconds}`, await executable()] },
);
