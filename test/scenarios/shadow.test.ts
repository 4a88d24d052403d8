/** What the shadow desires, and how the file and the reported state follow it. With the compiled executable. */
import { expect } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import type { JsonObject } from '../../src/core/json.ts';
import { roleAlias } from '../../src/sandbox/sandbox.ts';
import { onEachBroker } from '../support/brokers.ts';
import { bucketName, noise, sha256, until, type World } from '../support/world.ts';

const hoge = sha256('hoge\n');
const fuga = sha256('fuga\n');
const url = `s3://${bucketName}/test.txt`;

/** The deltas that uploads caused; those that answer a report carry its token. */
function deltas(world: World): JsonObject[] {
  return world.sandbox.broker.messages
    .filter(({ direction, topic }) => direction === 'out' && topic.endsWith('/update/delta'))
    .map(({ payload }) => JSON.parse(payload))
    .filter(({ clientToken }) => clientToken === undefined)
    .map(({ state }) => state);
}

/** What the publisher writes beside the url; both files have 5 bytes and one key, so no delta tells these again. */
function facts(hash: string, part: 'all' | 'delta' = 'all'): JsonObject {
  const order = { sequencer: expect.any(String), uploadedAt: expect.any(String) };
  const sequencerKey = sha256(url).slice(0, 16);
  return { hash, ...(part === 'all' ? { size: 5, sequencerKey } : {}), ...order };
}

async function playTutorial(world: World): Promise<void> {
  await world.put('test.txt', 'hoge\n');
  await world.inSync(hoge);
  expect(hoge).toBe('2e0390eb024a52963db7b95e84a9c2b12c004054a7bad9a97ec0c7c89d4681d2');
  await world.put('test.txt', 'fuga\n');
  await world.inSync(fuga);
  expect(fuga).toBe('e712aff3705ac314b9a890e0ec208faa20054eee514d86ab913d768f94e01279');
  expect(deltas(world)).toEqual([{ s3: { url, ...facts(hoge) } }, { s3: facts(fuga, 'delta') }]);
  expect(world.state('desired')).toEqual({ s3: { url, ...facts(fuga) } });
  expect(world.state('delta')).toEqual({});
}

onEachBroker('the tutorial: two uploads under one key become the file, with agent.json', async (world) => {
  const run = await world.start();
  await playTutorial(world);
  expect(world.file()).toBe('fuga\n');
  expect(await run.stop()).toBe(0);
  expect(run.output).toBe('');
});

onEachBroker("the tutorial, started with the sample's own flags", async (world) => {
  const { sandbox, device } = world;
  const credentials = `127.0.0.1:${sandbox.credentials.port}/role-aliases/${roleAlias}/credentials`;
  const run = await world.run([
    ...['--endpoint', `127.0.0.1:${sandbox.broker.port}`, '--client_id', 'test-thing'],
    ...['--key', `${device.dir}/private.key`, '--cert', `${device.dir}/certificate.pem`],
    ...['--ca_file', `${sandbox.dir}/ca.pem`, '--thing_name', 'test-thing', '--shadow_property', 's3'],
    ...['--credential_endpoint', credentials, '--path', world.path()],
    ...['--s3-endpoint', sandbox.s3.url, '--s3-region', 'us-east-1', '--s3-ca', `${sandbox.dir}/ca.pem`],
  ]);
  await run.logged('The thing has no shadow yet');
  await playTutorial(world);
  expect(world.file()).toBe('fuga\n');
});

onEachBroker(
  'a shadow that is absent at first is made by the report, and followed once something is desired',
  async (world) => {
    const run = await world.start();
    expect(run.log).toContain('The thing has no shadow yet');
    expect(world.state('reported')).toEqual({ shadowAgent: { version: expect.any(String) } });
    await world.put('test.txt', 'hoge\n');
    await world.inSync(hoge);
    expect(world.file()).toBe('hoge\n');
  },
);

onEachBroker('a shadow that is deleted is told again what is installed', async (world) => {
  await world.put('test.txt', 'hoge\n');
  const run = await world.start();
  await world.inSync(hoge);
  world.sandbox.shadows.delete('test-thing');
  await run.stop();
  await world.run();
  await until('the report', () => world.reported('s3') !== undefined);
  expect(world.reported('s3')).toEqual({ url, ...facts(hoge) });
  expect(world.status()).toEqual({ status: 'current', hash: hoge });
  expect(world.file()).toBe('hoge\n');
});

onEachBroker('what was desired while the agent was down is installed when it is up', async (world) => {
  const run = await world.start();
  await world.put('test.txt', 'hoge\n');
  await world.inSync(hoge);
  expect(await run.stop()).toBe(0);
  await world.put('test.txt', 'fuga\n');
  await world.start();
  await world.inSync(fuga);
  expect(world.file()).toBe('fuga\n');
});

onEachBroker(
  'back to the value that is already reported, while a download of another runs: no delta tells, and it stops',
  async (world) => {
    await world.put('test.txt', 'hoge\n');
    const run = await world.start();
    await world.inSync(hoge);
    world.sandbox.faults.set('s3-slow', 200_000);
    const big = noise(3_000_000);
    await world.put('big', big);
    await until('the first bytes', () =>
      world.gets().some(({ key, bytesSent }) => key === 'big' && bytesSent > 0),
    );
    world.desire({ s3: world.reported('s3') ?? null });
    // AWS sends no delta here: desired equals reported.
    await run.logged('Update stopped');
    await world.inSync(hoge);
    world.sandbox.faults.clear();
    expect(world.file()).toBe('hoge\n');
    expect(run.log).not.toContain(`Installed file=s3 path=${world.path()} hash=${sha256(big)}`);
  },
);

onEachBroker('twenty changes in two seconds end at the last one', async (world) => {
  await world.start();
  let last = '';
  for (let index = 0; index < 20; index += 1) {
    last = `version ${index}\n`;
    await world.put(index % 3 === 0 ? 'other' : 'test.txt', last);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await world.inSync(sha256(last));
  expect(world.file()).toBe(last);
  expect(world.published('get').length).toBeLessThan(30);
  expect(world.published('update').length).toBeLessThan(45);
});

onEachBroker(
  'a failure that was to be tried again is taken back with what was desired, also where no agent ran then',
  async (world) => {
    const missing = { s3: { url: `s3://${bucketName}/missing`, hash: hoge } };
    const isTakenBack = () => world.status()['status'] === undefined;
    const run = await world.start();
    world.desire(missing);
    await world.hasStatus({ status: 'failed', code: 'S3_NOT_FOUND' });
    world.desire({ s3: null });
    await until('the status to be taken back', isTakenBack);
    world.desire(missing);
    await world.hasStatus({ status: 'failed', code: 'S3_NOT_FOUND' });
    await run.stop();
    world.desire({ s3: null });
    await world.run();
    await until('the status to be taken back by the next start', isTakenBack);
  },
);

onEachBroker('a release that is withdrawn while it downloads is not installed', async (world) => {
  await world.put('test.txt', 'hoge\n');
  const run = await world.start();
  await world.inSync(hoge);
  world.sandbox.faults.set('s3-slow', 250_000);
  await world.put('big', noise(3_500_000));
  // Desired goes while the file comes; a deleted key causes no delta at all.
  await until('the first bytes', () =>
    world.gets().some(({ key, bytesSent }) => key === 'big' && bytesSent > 0),
  );
  world.desire({ s3: null });
  await run.logged('Update stopped');
  expect(world.status()).toEqual({ status: 'current', hash: hoge });
  expect(world.file()).toBe('hoge\n');
  expect(world.reported('s3')).toEqual({ url, ...facts(hoge) });
});

onEachBroker('an absent desired value changes neither the file nor what is reported', async (world) => {
  await world.put('test.txt', 'hoge\n');
  const run = await world.start();
  await world.inSync(hoge);
  const before = world.state('reported');
  world.desire({ s3: null, other: 1 });
  await run.stop();
  const gets = world.published('get').length;
  await world.run();
  await until('the get of the next run', () => world.published('get').length > gets);
  expect(world.file()).toBe('hoge\n');
  expect(world.state('reported')).toEqual(before);
});

const malformed: Array<[string, unknown]> = [
  ['a number', 7],
  ['a text', 's3://bucket/key'],
  ['an empty object', {}],
  ['an array', [url]],
  ['a hash alone', { hash: hoge }],
  ['a url alone', { url }],
  ['a short hash', { url, hash: 'abc' }],
  ['a hash that is no hex', { url, hash: 'z'.repeat(64) }],
  ['another scheme', { url: 'https://example.com/x', hash: hoge }],
  ['a file url', { url: 'file:///etc/passwd', hash: hoge }],
  ['a url without key', { url: `s3://${bucketName}/`, hash: hoge }],
  ['a key that climbs', { url: `s3://${bucketName}/../x`, hash: hoge }],
  ['a null byte', { url: `${url}\u0000`, hash: hoge }],
  ['a huge key', { url: `s3://${bucketName}/${'k'.repeat(2000)}`, hash: hoge }],
  ['an array as hash', { url, hash: [hoge] }],
  ['a negative size', { url, hash: hoge, size: -1 }],
  ['a versionId that is a number', { url, hash: hoge, versionId: 5 }],
];

onEachBroker(
  'every malformed desired value is DESIRED_INVALID, touches nothing, and the next good one installs',
  async (world) => {
    await world.put('test.txt', 'hoge\n');
    await world.start();
    await world.inSync(hoge);
    const requests = world.gets().length;
    for (const [name, value] of malformed) {
      world.desire({ s3: null });
      world.desire({ s3: JSON.parse(JSON.stringify(value)), marker: name });
      await world.hasStatus({ status: 'failed', code: 'DESIRED_INVALID' });
      await until(`${name}: reported for itself`, () => String(world.status()['message']).length > 0);
      expect(world.file()).toBe('hoge\n');
      world.desire({ s3: null });
      world.desire({ s3: { url, hash: hoge } });
      await world.inSync(hoge);
    }
    expect(world.gets().length).toBe(requests);
    world.desire({ s3: 'rubbish' });
    await world.hasStatus({ code: 'DESIRED_INVALID' });
    world.desire({ s3: null });
    await world.put('test.txt', 'fuga\n');
    await world.inSync(fuga);
    expect(world.file()).toBe('fuga\n');
  },
);

onEachBroker(
  'a named shadow is followed, and the classic one is left alone',
  async (world) => {
    await world.run();
    await until('the report', () => Object.keys(world.state('reported', 'files')).length > 0);
    await world.put('test.txt', 'hoge\n');
    world.sandbox.desire('test-thing', { s3: { url, hash: hoge } }, 'files');
    await until('the file', () => world.file() === 'hoge\n');
    await until('the mirror', () => world.state('reported', 'files')['s3'] !== undefined);
    expect(world.state('reported')).toEqual({});
  },
  { config: { shadowName: 'files' } },
);

onEachBroker(
  'unknown keys of the desired value are mirrored at every depth, and dropped with it',
  async (world) => {
    await world.put('test.txt', 'hoge\n');
    world.desire({ s3: { release: { name: 'r1', notes: [1, { a: 'b' }] }, size: 5 } });
    await world.start();
    await world.inSync(hoge);
    world.desire({ s3: { release: { name: null, train: 'b' } } });
    await until('the mirror', () => JSON.stringify(world.reported('s3')).includes('train'));
    await world.inSync(hoge);
    expect(world.state('delta')).toEqual({});
    expect(world.reported('s3')).toEqual({
      url,
      ...facts(hoge),
      release: { notes: [1, { a: 'b' }], train: 'b' },
    });
  },
);

onEachBroker('what the sample left in reported is adopted, and desired is never written', async (world) => {
  await writeFile(world.path(), 'hoge\n');
  const reported = { s3: { url, hash: hoge }, other: { of: 'somebody else' } };
  world.sandbox.shadows.update(
    'test-thing',
    undefined,
    new TextEncoder().encode(JSON.stringify({ state: { reported } })),
  );
  await world.put('test.txt', 'hoge\n');
  await until('desired', () => world.state('desired')['s3'] !== undefined);
  const desired = world.state('desired');
  await world.start();
  await world.inSync(hoge);
  expect(world.gets()).toEqual([]);
  expect(world.reported('other')).toEqual({ of: 'somebody else' });
  expect(world.state('desired')).toEqual(desired);
  expect(world.published('update').every((payload) => !payload.includes('desired'))).toBe(true);
});
