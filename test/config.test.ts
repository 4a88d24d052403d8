import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { resolveAcross } from '../src/config/checks.ts';
import type { Flags } from '../src/config/flags.ts';
import { loadConfig } from '../src/config.ts';
import { readAccounts } from '../src/io/accounts.ts';
import {
  type ConfigDir,
  configOf,
  createConfigDir,
  problemsOf,
  sampleConfig,
  sampleOfFile,
  sampleWithout,
} from './support/config.ts';

let at: ConfigDir;

beforeAll(async () => {
  at = await createConfigDir();
});

afterAll(() => at.remove());

const publicKey = '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=';

describe('a sound configuration', () => {
  test('gets its defaults, and its paths become absolute beside the file', async () => {
    const { sourceHash, ...config } = configOf(await at.load(sampleConfig(), {}, { uid: 4711 }));
    expect(sourceHash).toMatch(/^[0-9a-f]{64}$/);
    const turned = Object.fromEntries(Object.entries(sampleConfig()).reverse());
    expect(configOf(await at.load(turned, {}, { uid: 4711 })).sourceHash).toBe(sourceHash ?? '');
    expect(config).toEqual({
      thingName: 'test-thing',
      clientId: 'test-thing',
      endpoint: { host: 'xxxxxxxxxxxxxx-ats.iot.us-east-1.amazonaws.com' },
      credentialEndpoint: {
        host: 'xxxxxxxxxxxxx.credentials.iot.us-east-1.amazonaws.com',
        port: 443,
        path: '/role-aliases/iot-role-alias-s3-read/credentials',
        roleAlias: 'iot-role-alias-s3-read',
      },
      cert: join(at.dir, 'certificate.pem'),
      key: join(at.dir, 'private.key'),
      ca: join(at.dir, 'AmazonRootCA1.pem'),
      stateDir: join(at.dir, 'state'),
      proxy: { except: [] },
      s3: { region: 'us-east-1', pathStyle: false, dualStack: false, maxBytesPerSecond: 0, connections: 4 },
      files: [{ property: 's3', path: join(at.dir, 'tmpfile'), keepPrevious: true }],
      keepAliveSeconds: 1200,
      resyncSeconds: 3600,
      jitterSeconds: 0,
      stallSeconds: 30,
      digest: 'native',
      strict: false,
      log: { level: 'info', format: 'text' },
    });
  });

  test('may set every key', async () => {
    const config = configOf(
      await at.load({
        ...sampleConfig(),
        clientId: 'gateway 7',
        endpoint: '[::1]:8884',
        credentialEndpoint: 'https://LOCALHOST:9443/role-aliases/a=b,c@d-e_f/credentials',
        shadowName: 'files',
        stateDir: '/var/lib/shadow-agent',
        s3: {
          region: 'eu-west-1',
          endpoint: 'https://127.0.0.1:9000/',
          ca: 'AmazonRootCA1.pem',
          pathStyle: true,
          dualStack: true,
          maxBytesPerSecond: 500_000,
          connections: 2,
        },
        files: [
          {
            property: 's3',
            path: '/no/such/directory/file',
            mode: '4755',
            owner: '1000:1001',
            allow: ['s3://bucket/', 's3://bucket/prefix'],
            maxBytes: 1,
            keepPrevious: false,
            verify: { publicKeys: [publicKey] },
            onInstall: { command: ['bin/apply', '--now', 'a/b'], timeoutSeconds: 5 },
          },
        ],
        keepAliveSeconds: 30,
        resyncSeconds: 1,
        stallSeconds: 1,
        digest: 'noble',
        log: { level: 'debug', format: 'json' },
      }),
    );
    expect(config.endpoint).toEqual({ host: '::1', port: 8884 });
    expect(config.credentialEndpoint).toEqual({
      host: 'localhost',
      port: 9443,
      path: '/role-aliases/a=b,c@d-e_f/credentials',
      roleAlias: 'a=b,c@d-e_f',
    });
    expect(config.s3).toEqual({
      region: 'eu-west-1',
      endpoint: 'https://127.0.0.1:9000',
      ca: join(at.dir, 'AmazonRootCA1.pem'),
      pathStyle: true,
      dualStack: true,
      maxBytesPerSecond: 500_000,
      connections: 2,
    });
    expect(config.files[0]).toEqual({
      property: 's3',
      path: '/no/such/directory/file',
      mode: 0o4755,
      owner: { uid: 1000, gid: 1001 },
      allow: ['s3://bucket/', 's3://bucket/prefix'],
      maxBytes: 1,
      keepPrevious: false,
      verify: { publicKeys: [publicKey] },
      onInstall: { command: [join(at.dir, 'bin/apply'), '--now', 'a/b'], timeoutSeconds: 5 },
    });
    expect(config).toMatchObject({ clientId: 'gateway 7', shadowName: 'files', digest: 'noble' });
  });

  test('comes with the identity that its PEM files hold', async () => {
    const loaded = await at.load(sampleConfig({ s3: { ca: 'AmazonRootCA1.pem' } }));
    expect(loaded.ok && loaded.identity.keyPem).toBe(`${at.device.key.trim()}\n`);
    expect(loaded.ok && loaded.identity.s3CaPem).toStartWith('-----BEGIN CERTIFICATE-----');
  });

  test.each([
    ['abc.iot.cn-north-1.amazonaws.com.cn', 'cn-north-1'],
    ['ABC-ats.iot.eu-central-1.amazonaws.com:443', 'eu-central-1'],
  ])('with endpoint %s reads the region %s from it', async (endpoint, region) => {
    expect(configOf(await at.load(sampleConfig({ endpoint }))).s3.region).toBe(region);
  });

  test('takes the first of $STATE_DIRECTORY, unless the file names a directory', async () => {
    await at.load(sampleConfig());
    const env = { STATE_DIRECTORY: '/run/a:/run/b' };
    const options = { configPath: 'agent.json', flags: {}, env, cwd: at.dir };
    expect(configOf(await loadConfig(options)).stateDir).toBe('/run/a');
    await at.load(sampleConfig({ stateDir: 'here' }));
    expect(configOf(await loadConfig(options)).stateDir).toBe(join(at.dir, 'here'));
  });

  test.each([
    ['/etc/shadow-agent', '/var/lib/shadow-agent'],
    ['/etc', '/etc/state'],
    ['/etc/a/b', '/etc/a/b/state'],
    ['/home/pi', '/home/pi/state'],
  ])('of a file in %s has its state in %s', async (baseDir, stateDir) => {
    const around = {
      baseDir,
      configPath: join(baseDir, 'agent.json'),
      env: {},
      accounts: await readAccounts(),
    };
    expect((await resolveAcross({}, around)).stateDir).toBe(stateDir);
  });

  test('may begin with a byte order mark', async () => {
    expect((await at.load(`\uFEFF${JSON.stringify(sampleConfig())}`)).ok).toBe(true);
  });

  test('names a user of /etc/passwd, who brings the group along', async () => {
    expect(configOf(await at.load(sampleOfFile({ owner: 'root' }))).files[0]?.owner).toEqual({
      uid: 0,
      gid: 0,
    });
  });
});

describe('flags', () => {
  test('win over the file, at every depth, and their paths begin at the working directory', async () => {
    await mkdir(join(at.dir, 'etc'), { recursive: true });
    await writeFile(
      join(at.dir, 'etc', 'agent.json'),
      JSON.stringify(sampleConfig({ s3: { region: 'a', pathStyle: true } })),
    );
    const flags = {
      thingName: '00123',
      cert: 'certificate.pem',
      key: 'private.key',
      ca: 'AmazonRootCA1.pem',
      stateDir: 'state-of-flag',
      's3.region': 'b',
      'log.level': 'debug',
    };
    const config = configOf(await loadConfig({ configPath: 'etc/agent.json', flags, env: {}, cwd: at.dir }));
    expect(config).toMatchObject({
      thingName: '00123',
      clientId: '00123',
      cert: join(at.dir, 'certificate.pem'),
      stateDir: join(at.dir, 'state-of-flag'),
      s3: { region: 'b', pathStyle: true },
      log: { level: 'debug', format: 'text' },
    });
    expect(config.files[0]?.path).toBe(join(at.dir, 'etc', 'tmpfile'));
  });

  test('are enough without a file; the only file goes to /tmp/tmpfile', async () => {
    const { files: _, ...keys } = sampleConfig();
    const flags = { ...keys, 'files[].property': 's3', 'files[].mode': '600' } as Flags;
    const config = configOf(await loadConfig({ flags, env: {}, cwd: at.dir }));
    expect(config.files).toEqual([{ property: 's3', path: '/tmp/tmpfile', mode: 0o600, keepPrevious: true }]);
    expect(config.stateDir).toBe(join(at.dir, 'state'));
  });

  test('give a hook, whose program is sought from the working directory where it is a path', async () => {
    const { files: _, ...keys } = sampleConfig();
    const flags = {
      ...keys,
      'files[].property': 's3',
      'files[].onInstall.command': ['./apply', './as-is'],
    } as Flags;
    const config = configOf(await loadConfig({ flags, env: {}, cwd: at.dir }));
    expect(config.files[0]?.onInstall).toEqual({
      command: [join(at.dir, 'apply'), './as-is'],
      timeoutSeconds: 60,
    });
    const inPath = { ...flags, 'files[].onInstall.command': ['systemctl', 'restart', 'app'] };
    const other = configOf(await loadConfig({ flags: inPath, env: {}, cwd: at.dir }));
    expect(other.files[0]?.onInstall?.command).toEqual(['systemctl', 'restart', 'app']);
  });

  test('that define the only file are a usage error beside `files`', async () => {
    const loaded = await at.load(sampleConfig(), {
      'files[].property': 's3',
      'files[].allow': ['s3://bucket/'],
    });
    expect(loaded).toMatchObject({
      ok: false,
      usage: true,
      problems: [{ path: '--shadow-property' }, { path: '--allow' }],
    });
  });

  test('are named in the place of the key whose value they gave', async () => {
    const flags = {
      thingName: 'a b',
      'files[].property': 's3',
      'files[].allow': ['s3://b'],
      'files[].verify.publicKeys': ['x'],
      's3.endpoint': 'x',
    };
    const loaded = await at.load(sampleWithout('files'), flags);
    expect(problemsOf(loaded).map(({ path }) => path)).toEqual([
      '--thing-name',
      '--s3-endpoint',
      '--allow',
      '--verify-public-keys',
    ]);
  });

  test('are named in the hint of what is missing', async () => {
    const problems = problemsOf(await loadConfig({ flags: {}, env: {}, cwd: at.dir }));
    expect(problems.map(({ path }) => path)).toEqual([
      'thingName',
      'endpoint',
      'credentialEndpoint',
      'cert',
      'key',
      'ca',
      'files',
    ]);
    expect(problems[0]?.hint).toContain('--thing-name');
    expect(problems.at(-1)?.hint).toContain('--shadow-property');
  });
});
