/** Nothing secret is told, whatever fails. With the compiled executable, at debug level. */
import { expect, test } from 'bun:test';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { configure } from '../support/hostile-servers.ts';
import { executable, type Run, scenario, sha256, type World } from '../support/world.ts';

const debug = { config: { log: { level: 'debug' } } };

/** All that anybody may come to read of a run: its output, its state files, the shadow. */
function places(world: World, runs: readonly Run[]): string[] {
  const state = join(world.device.dir, 'state');
  const files = readdirSync(state, { recursive: true, encoding: 'utf8' })
    .map((name) => join(state, name))
    .filter((path) => statSync(path).isFile());
  return [
    ...runs.flatMap(({ log, output }) => [log, output]),
    ...files.map((path) => readFileSync(path, 'latin1')),
    JSON.stringify(world.sandbox.shadow('test-thing') ?? {}),
    ...world.published('update'),
  ];
}

/** The lines of the private key, and whatever else is secret in this run. */
function secretsOf(world: World, more: readonly string[]): string[] {
  const key = readFileSync(join(world.device.dir, 'private.key'), 'utf8');
  const lines = key.split('\n').filter((line) => line !== '' && !line.startsWith('-----'));
  const ids = new Set(world.sandbox.s3.requests.map(({ accessKeyId }) => accessKeyId ?? ''));
  const sessions = [...ids].flatMap((id) => {
    const session = world.sandbox.sessions.find(id);
    return session?.thingName === undefined
      ? []
      : [session.secretAccessKey, session.sessionToken ?? session.secretAccessKey];
  });
  return [...lines, ...sessions, ...more];
}

function expectNoneTold(world: World, runs: readonly Run[], more: readonly string[] = []): void {
  const told = places(world, runs);
  const secrets = secretsOf(world, more);
  expect(secrets.every((secret) => secret.length >= 8)).toBe(true);
  expect(secrets.filter((secret) => told.some((place) => place.includes(secret)))).toEqual([]);
}

test('no secret is told where credentials, S3 and hashes fail, by log, status, state, shadow or a crash', () =>
  scenario(async (world) => {
    const { faults } = world.sandbox;
    faults.set('credentials-503', 1, 1);
    faults.set('s3-expire', 1, 1);
    await world.put('test.txt', 'hoge\n');
    const run = await world.start();
    await world.inSync(sha256('hoge\n'));
    for (const fault of ['s3-503', 's3-stall', 's3-cut'] as const) {
      faults.set(fault, 1, 1);
      await world.put('test.txt', fault);
      if (fault !== 's3-stall') await world.inSync(sha256(fault));
      faults.clear();
    }
    world.desire({ s3: { hash: 'ab'.repeat(32) } });
    await world.hasStatus({ code: 'HASH_MISMATCH' });
    world.desire({ s3: { url: 's3://no-such-bucket-here/key', hash: 'cd'.repeat(32) } });
    await world.hasStatus({ status: 'failed', hash: 'cd'.repeat(32) });
    const status = await world.run(['status', '--json', '--config', world.device.configPath]);
    expect(await status.exit).not.toBeNull();
    expect(status.output).toStartWith('{');
    await run.stop();
    const crashed = await world.start();
    await crashed.stop('SIGABRT');
    expectNoneTold(world, world.runs);
  }, debug));

test('the password of a proxy is not told, also where the proxy says it back', () =>
  scenario(async (world) => {
    const password = 'p4ss/word:of proxy';
    const said: string[] = [];
    const proxy = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (head) => {
        const authorization = /authorization: (.*)\r\n/i.exec(head.toString('latin1'))?.[1] ?? '';
        said.push(authorization);
        socket.end(`HTTP/1.1 407 ${authorization}\r\nx-echo: ${authorization}\r\ncontent-length: 0\r\n\r\n`);
      });
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = proxy.address() as AddressInfo;
      const quoted = encodeURIComponent(password);
      configure(world, (config) => ({ ...config, proxy: `http://user:${quoted}@127.0.0.1:${port}` }));
      const run = await world.run();
      await run.logged(/WARNING.*407/);
      await run.stop();
      const encoded = Buffer.from(`user:${password}`).toString('base64');
      expect(said).toContain(`Basic ${encoded}`);
      expectNoneTold(world, world.runs, [password, quoted, encoded]);
    } finally {
      proxy.close();
    }
  }, debug));

test('the runtime prints no request with its token, though its environment asks for it', async () => {
  const path = await executable();
  await scenario(
    async (world) => {
      await world.put('test.txt', 'hoge\n');
      const variables = ['BUN_CONFIG_VERBOSE_FETCH=curl', 'DEBUG=*', 'NODE_DEBUG=tls,http,net'];
      const run = await world.run([...variables, path, '--config', world.device.configPath]);
      await world.inSync(sha256('hoge\n'));
      await run.stop();
      expectNoneTold(world, [run]);
      expect(run.log + run.output).not.toMatch(/x-amz-security-token|AWS4-HMAC/i);
    },
    { ...debug, command: ['env'] },
  );
});
