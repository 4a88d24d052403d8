/** The bucket lives elsewhere, or S3 says so. With the compiled executable. */
import { expect } from 'bun:test';
import { answers, anyBucket, faultTest, quietBucket, waits } from '../support/faults.ts';
import { ObjectServer, plain } from '../support/io-object-server.ts';
import { type Run, sha256, type World } from '../support/world.ts';

const hoge = 'hoge\n';

/** Desires a new object of a bucket. */
async function desire(world: World, bucket: string, key: string, text: string): Promise<void> {
  await world.sandbox.s3.store.put(bucket, key, text);
  world.desire({ s3: { url: `s3://${bucket}/${key}`, hash: sha256(text) } });
}

function runWith(world: World, ...flags: string[]): Promise<Run> {
  return world.run(['--config', world.device.configPath, ...flags]);
}

faultTest(
  'a bucket of another region: 301, asked again there, and remembered',
  async (world) => {
    world.sandbox.s3.store.createBucket('bucket-in-ireland', { region: 'eu-west-1' });
    const run = await world.start();
    await desire(world, 'bucket-in-ireland', 'a', hoge);
    await world.inSync(sha256(hoge));
    await desire(world, 'bucket-in-ireland', 'b', 'fuga\n');
    await world.inSync(sha256('fuga\n'));
    expect(answers(world)).toEqual(['PermanentRedirect', 200, 200]);
    await desire(world, quietBucket, 'c', 'piyo\n');
    await world.inSync(sha256('piyo\n'));
    expect(answers(world).slice(3)).toEqual([200]);
    expect(run.log).not.toContain('WARNING');
    return 15;
  },
  anyBucket,
);

faultTest(
  'a wrong s3.region: AuthorizationHeaderMalformed tells the right one, once for all',
  async (world) => {
    const run = await runWith(world, '--s3-region', 'ap-northeast-1');
    for (const text of [hoge, 'fuga\n']) {
      await world.put('test.txt', text);
      await world.inSync(sha256(text));
    }
    expect(answers(world)).toEqual(['AuthorizationHeaderMalformed', 200, 200]);
    expect(run.log).not.toContain('WARNING');
    return 10;
  },
);

faultTest(
  'a bucket of another partition: not followed, the hint names its region',
  async (world) => {
    world.sandbox.s3.store.createBucket('bucket-in-beijing', { region: 'cn-north-1' });
    const run = await world.start();
    await desire(world, 'bucket-in-beijing', 'a', hoge);
    await world.hasStatus({ status: 'failed', code: 'S3' });
    expect(run.log).toContain('set \\"s3.region\\" to \\"cn-north-1\\"');
    expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
    expect(answers(world)).toEqual(['PermanentRedirect']);
    expect(world.file()).toBeUndefined();
    return 0;
  },
  anyBucket,
);

faultTest('a 307 to another host: not followed, and no token gets there', async (world) => {
  const elsewhere = await ObjectServer.start(world.sandbox.pki.server);
  try {
    elsewhere.otherwise = plain(200, hoge);
    world.sandbox.faults.set('s3-redirect', elsewhere.port);
    await world.put('test.txt', hoge);
    const run = await world.start();
    await world.hasStatus({ status: 'failed', code: 'S3' });
    expect(run.log).toContain('HTTP 307 TemporaryRedirect');
    expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
    expect(elsewhere.requests).toEqual([]);
    expect(answers(world)).toEqual(['TemporaryRedirect']);
    expect(world.file()).toBeUndefined();
    return 0;
  } finally {
    await elsewhere.close();
  }
});

/** The redirect of the sandbox names localhost: that is the endpoint itself only for a device that calls it so. */
function runOnLocalhost(world: World): Promise<Run> {
  return runWith(world, '--s3-endpoint', `https://localhost:${world.sandbox.s3.port}`, '--s3-path-style');
}

faultTest('a 307 to the endpoint itself: followed, at once', async (world) => {
  world.sandbox.faults.set('s3-redirect', world.sandbox.s3.port, 1);
  await world.put('test.txt', hoge);
  const run = await runOnLocalhost(world);
  await world.inSync(sha256(hoge));
  expect(answers(world)).toEqual(['TemporaryRedirect', 200]);
  expect(run.log).not.toContain('WARNING');
  return 5;
});

faultTest('a 307 that leads to a 307: followed once, the next try is slow', async (world) => {
  world.sandbox.faults.set('s3-redirect', world.sandbox.s3.port);
  await world.put('test.txt', hoge);
  const run = await runOnLocalhost(world);
  await world.hasStatus({ status: 'failed', code: 'S3' });
  expect(waits(run)[0]).toBeGreaterThanOrEqual(30);
  expect(answers(world)).toEqual(['TemporaryRedirect', 'TemporaryRedirect']);
  return 0;
});
