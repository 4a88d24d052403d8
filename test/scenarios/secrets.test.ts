/** Nothing secret is told, whatever fails. With the compiled executable, at debug level. */
import { describe, expect, test } from 'bun:test';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { configure, hostileServer } from '../support/hostile-servers.ts';
import { bucketName, executable, type Run, scenario, sha256, until, type World } from '../support/world.ts';

const debug = { config: { log: { level: 'debug' } } };

/** All that anybody may come to read of a run: its output, its state files, metrics, the shadow. */
function places(world: World, runs: readonly Run[]): string[] {
  const state = join(world.device.dir, 'state');
  const metrics = join(world.device.dir, 'agent.prom');
  const files = readdirSync(state, { recursive: true, encoding: 'utf8' })
    .map((name) => join(state, name))
    .filter((path) => statSync(path).isFile());
  return [
    ...runs.flatMap(({ log, output }) => [log, output]),
    ...files.map((path) => readFileSync(path, 'latin1')),
    existsSync(metrics) ? readFileSync(metrics, 'latin1') : '',
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
      chmodSync(world.device.configPath, 0o600);
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

const hook = '. "$(dirname "$SHADOW_AGENT_PATH")/hook.sh"';

const bodyOf = (status: number, body: string) =>
  `HTTP/1.1 ${status} Said\r\nconnection: close\r\netag: "1"\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

/** Credentials as long as those of AWS, and all who say them back, behind so many other characters. */
class Parrots {
  readonly secretAccessKey = randomBytes(30).toString('base64');
  readonly sessionToken = randomBytes(400).toString('base64');
  /** Begun in what they say. */
  readonly said: string;
  mood: 'issue' | 'refuse' = 'issue';

  constructor(padding: number) {
    this.said = `${'x'.repeat(padding)} ${this.secretAccessKey} ${this.sessionToken}`;
  }

  /** Not to be seen: any twelve characters. */
  pieces(): string[] {
    const { secretAccessKey, sessionToken } = this;
    return [secretAccessKey, sessionToken].flatMap((secret) => secret.match(/.{12}/g) ?? []);
  }

  credentials = (socket: Socket): void => {
    const { secretAccessKey, sessionToken } = this;
    const expiration = new Date(Date.now() + 3_600_000).toISOString();
    const keys = { accessKeyId: 'ASIA0123456789ABCDEF', secretAccessKey, sessionToken, expiration };
    const issued = bodyOf(200, JSON.stringify({ credentials: keys }));
    const refused = bodyOf(403, JSON.stringify({ message: this.said }));
    socket.end(this.mood === 'issue' ? issued : refused);
  };

  /** Has one object; to all other requests it says what is wrong with them. */
  s3 = (socket: Socket, head: string): void => {
    if (head.startsWith(`GET /${bucketName}/good `)) {
      socket.end(bodyOf(200, 'good\n'));
      return;
    }
    const code = this.mood === 'issue' ? 'AccessDenied' : 'ExpiredToken';
    socket.end(bodyOf(403, `<Error><Code>${code}</Code><Message>${this.said}</Message></Error>`));
  };

  /** The shadow service loses the request, and this is heard in its place. */
  async shadow(world: World, run: Run): Promise<void> {
    const before = world.published('get').length;
    world.sandbox.faults.set('shadow-drop', 1, 1);
    world.sandbox.broker.kick('test-thing');
    await until('another get', () => world.published('get').length > before);
    const { clientToken } = JSON.parse(world.published('get').at(-1) ?? '');
    const rejection = JSON.stringify({ code: 500, message: this.said, clientToken });
    await world.sandbox.broker.publish('$aws/things/test-thing/shadow/get/rejected', rejection);
    await run.logged(/WARNING.*SHADOW_REJECTED/);
  }
}

describe.each([0, 90, 170])('behind %d other characters', (padding) => {
  test('credentials that S3, their provider, the shadow service or a hook say back are told by nothing', () =>
    scenario(
      async (world) => {
        const parrots = new Parrots(padding);
        await using s3 = await hostileServer(world, parrots.s3);
        await using provider = await hostileServer(world, parrots.credentials);
        configure(world, (config) => ({
          ...config,
          credentialEndpoint: `127.0.0.1:${provider.port}/role-aliases/alias/credentials`,
          s3: { region: 'us-east-1', endpoint: `https://127.0.0.1:${s3.port}`, ca: config['ca'] ?? '' },
        }));
        writeFileSync(join(world.device.dir, 'hook.sh'), `echo '${parrots.said}'; exit 3\n`);
        const desire = (key: string, hash: string) =>
          world.desire({ s3: { url: `s3://${bucketName}/${key}`, hash } });
        const ask = async (command: string, ...options: string[]) => {
          const asked = await world.run([command, ...options, '--config', world.device.configPath]);
          expect(await asked.exit).not.toBeNull();
          return asked.output + asked.log;
        };
        desire('good', sha256('good\n'));
        const run = await world.start();
        await world.hasStatus({ code: 'HOOK_FAILED' });
        desire('other', 'ab'.repeat(32));
        await world.hasStatus({ code: 'S3_DENIED' });
        expect(await ask('status', '--json')).toContain('S3_DENIED');
        expect(await ask('status')).toContain('S3_DENIED');
        await ask('doctor');
        await parrots.shadow(world, run);
        parrots.mood = 'refuse';
        desire('other', 'cd'.repeat(32));
        await world.hasStatus({ code: 'CREDENTIALS' });
        await run.stop();
        parrots.mood = 'issue';
        desire('other', 'ef'.repeat(32));
        expect(await ask('--once')).toMatch(/error: S3_DENIED: .*\[secret\]/);
        desire('other', '12'.repeat(32));
        const crashed = await world.run();
        await crashed.logged(/WARNING.*S3_DENIED/);
        await crashed.stop('SIGABRT');

        const told = places(world, world.runs);
        expect(parrots.pieces().filter((piece) => told.some((place) => place.includes(piece)))).toEqual([]);
        for (const code of ['S3_DENIED', 'SHADOW_REJECTED', 'CREDENTIALS', 'HOOK_FAILED']) {
          expect(run.log).toMatch(new RegExp(`\\[secret\\].* code=${code}`));
        }
        expectNoneTold(world, world.runs);
      },
      {
        files: [{ property: 's3', path: 'tmpfile', onInstall: { command: ['/bin/sh', '-c', hook] } }],
        config: { ...debug.config, metricsFile: 'agent.prom' },
      },
    ));
});
