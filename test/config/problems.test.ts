import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type ConfigDir,
  createConfigDir,
  problemsOf,
  sampleConfig,
  sampleOfFile,
  sampleWithout,
} from '../support/config.ts';

let at: ConfigDir;

beforeAll(async () => {
  at = await createConfigDir();
});

afterAll(() => at.remove());

type Json = Record<string, unknown>;

describe('one wrong key is one problem that names it', () => {
  const longDir = `/tmp/${'d'.repeat(92)}`;
  async function expectOne(config: Json, path: string, message: string): Promise<void> {
    const [problem, ...others] = problemsOf(await at.load(config));
    expect(others).toEqual([]);
    expect(problem?.path).toBe(path);
    expect(problem?.message).toContain(message);
    expect(problem?.hint).not.toBe('');
  }

  test.each(['thingName', 'credentialEndpoint', 'cert', 'key', 'ca', 'files'])(
    '%s is missing',
    async (key) => {
      await expectOne(sampleWithout(key), key, 'is missing');
    },
  );

  test('no endpoint, where the region is given', async () => {
    await expectOne({ ...sampleWithout('endpoint'), s3: { region: 'us-east-1' } }, 'endpoint', 'is missing');
  });

  const cases: [string, Json, string, string][] = [
    ['an empty list of files', { files: [] }, 'files', 'must name at least one file'],
    ['an object for the list of files', { files: {} }, 'files', 'must be a list, not {}'],
    ['a list for a section', { s3: [] }, 's3', 'must be an object, not a list'],
    ['a string for a file', { files: ['/tmp/x'] }, 'files[0]', 'must be an object, not "/tmp/x"'],
    ['a number for a string', { thingName: 123 }, 'thingName', 'must be a string in "quotes", not 123'],
    ['null', { shadowName: null }, 'shadowName', 'must be a string in "quotes", not null'],
    ['a blank in the thing name', { thingName: 'a b' }, 'thingName', 'must be 1 to 128'],
    ['a thing name of 129', { thingName: 'a'.repeat(129) }, 'thingName', 'must be 1 to 128'],
    ['a slash in the shadow name', { shadowName: 'a/b' }, 'shadowName', 'must be 1 to 64'],
    ['a client id that begins with $', { clientId: '$x' }, 'clientId', 'must not begin with $'],
    ['a client id of 129 bytes', { clientId: `${'é'.repeat(64)}x` }, 'clientId', 'at most 128 bytes'],
    ['an empty client id', { clientId: '' }, 'clientId', 'must not be empty'],
    ['an endpoint with a scheme', { endpoint: 'mqtts://a.b' }, 'endpoint', 'without a scheme'],
    ['an endpoint with a path', { endpoint: 'a.b/mqtt' }, 'endpoint', 'must be host or host:port'],
    ['an endpoint with port 0', { endpoint: 'a.b:0' }, 'endpoint', 'must be host or host:port'],
    ['an endpoint with port 65536', { endpoint: 'a.b:65536' }, 'endpoint', 'must be host or host:port'],
    [
      'the credentials provider for the endpoint',
      { endpoint: 'x.credentials.iot.us-east-1.amazonaws.com' },
      'endpoint',
      'is the credentials provider',
    ],
    [
      'a credentials provider without a path',
      { credentialEndpoint: 'a.b' },
      'credentialEndpoint',
      'must end in /role-aliases/',
    ],
    [
      'an empty role alias',
      { credentialEndpoint: 'a.b/role-aliases//credentials' },
      'credentialEndpoint',
      'must end in',
    ],
    [
      'a query behind the path',
      { credentialEndpoint: 'a.b/role-aliases/r/credentials?x' },
      'credentialEndpoint',
      'must end in',
    ],
    [
      'a credentials provider in clear',
      { credentialEndpoint: 'http://a.b/role-aliases/r/credentials' },
      'credentialEndpoint',
      'must be https',
    ],
    [
      'a user in the credentials provider',
      { credentialEndpoint: 'u@a.b/role-aliases/r/credentials' },
      'credentialEndpoint',
      'must begin with host',
    ],
    [
      'an endpoint that tells no region',
      { endpoint: 'localhost:8883' },
      's3.region',
      'is missing, and endpoint localhost',
    ],
    ['a region with a dot', { s3: { region: 'us.east' } }, 's3.region', 'must be the name of a region'],
    ['S3 in clear', { s3: { endpoint: 'http://127.0.0.1:9000' } }, 's3.endpoint', 'must be https'],
    ['S3 with a path', { s3: { endpoint: 'https://a.b/c' } }, 's3.endpoint', 'with nothing behind it'],
    ['S3 with a user', { s3: { endpoint: 'https://u:p@a.b' } }, 's3.endpoint', 'with nothing behind it'],
    [
      'a string for a boolean',
      { s3: { pathStyle: 'yes' } },
      's3.pathStyle',
      'must be true or false, not "yes"',
    ],
    [
      'a limit that would take hours',
      { s3: { maxBytesPerSecond: 999 } },
      's3.maxBytesPerSecond',
      'must be 0 or at least 1000: 999',
    ],
    ['a missing PEM file for S3', { s3: { ca: 'none.pem' } }, 's3.ca', 'none.pem does not exist'],
    ['a keep-alive of 29', { keepAliveSeconds: 29 }, 'keepAliveSeconds', 'from 30 to 1200: 29'],
    ['a keep-alive of 1201', { keepAliveSeconds: 1201 }, 'keepAliveSeconds', 'from 30 to 1200: 1201'],
    ['a broken number', { stallSeconds: 1.5 }, 'stallSeconds', 'must be a whole number'],
    ['a resync of 0', { resyncSeconds: 0 }, 'resyncSeconds', 'must be a whole number'],
    ['a jitter below 0', { jitterSeconds: -1 }, 'jitterSeconds', 'must be a whole number'],
    ['another digest', { digest: 'md5' }, 'digest', 'must be "native" or "noble", not "md5"'],
    ['another log level', { log: { level: 'loud' } }, 'log.level', 'must be "debug" or "info" or'],
    ['no property', { files: [{ path: 'x' }] }, 'files[0].property', 'is missing'],
    ['no path', { files: [{ property: 'x' }] }, 'files[0].path', 'is missing'],
    ['a state directory that is a file', { stateDir: 'private.key' }, 'stateDir', 'is no directory'],
    [
      'a state directory that is too long',
      { stateDir: longDir },
      'stateDir',
      '108 bytes, and 107 is the most',
    ],
    ['a missing certificate', { cert: 'none.pem' }, 'cert', 'none.pem does not exist'],
    ['a key for the certificate', { cert: 'private.key' }, 'cert', 'holds no certificate, but a private key'],
    [
      'a certificate for the key',
      { key: 'certificate.pem' },
      'key',
      'holds no private key, but a certificate',
    ],
  ];
  test.each(cases)('%s', (_name, changes, path, message) => expectOne(sampleConfig(changes), path, message));

  const key = '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=';
  const fileCases: [string, Json, string, string][] = [
    ['an empty property', { property: '' }, 'property', 'must not be empty'],
    ['the reserved property', { property: 'shadowAgent' }, 'property', 'is reserved'],
    ['a control character', { property: 'a\nb' }, 'property', 'control characters'],
    ['an empty path', { path: '' }, 'path', 'must not be empty'],
    ['a path that is a directory', { path: '/tmp' }, 'path', '/tmp is a directory'],
    ['a path that ends in a slash', { path: 'sub/' }, 'path', 'sub/ is a directory'],
    ['a device', { path: '/dev/null' }, 'path', '/dev/null is no regular file'],
    ['a path below a file', { path: 'private.key/x' }, 'path', 'lies below a file'],
    ['the private key as target', { path: 'private.key' }, 'path', 'is the same as key'],
    ['the configuration as target', { path: 'agent.json' }, 'path', 'the configuration itself'],
    ['a number for the mode', { mode: 644 }, 'mode', 'must be a string in "quotes", not 644'],
    ['a mode of two digits', { mode: '64' }, 'mode', 'three or four octal digits'],
    ['a mode with an 8', { mode: '0648' }, 'mode', 'three or four octal digits'],
    ['an owner with a blank', { owner: 'a b' }, 'owner', 'must be user or user:group'],
    ['an unknown user', { owner: 'no-such-user' }, 'owner', 'names no user'],
    ['an unknown group', { owner: '0:no-such-group' }, 'owner', 'names no group'],
    ['a number without a group', { owner: '3999999999' }, 'owner', 'has no group'],
    ['a string for the list', { allow: 's3://bucket/' }, 'allow', 'must be a list'],
    ['an empty list of prefixes', { allow: [] }, 'allow', 'at least one prefix'],
    [
      'a bucket without its slash',
      { allow: ['s3://fine/', 's3://bucket'] },
      'allow[1]',
      'must be s3://bucket/',
    ],
    ['another scheme', { allow: ['https://bucket/'] }, 'allow[0]', 'must be s3://bucket/'],
    ['a hook without a command', { onInstall: {} }, 'onInstall.command', 'is missing'],
    ['a hook of no words', { onInstall: { command: [] } }, 'onInstall.command', 'must name a program'],
    ['a hook as a shell line', { onInstall: { command: 'a b' } }, 'onInstall.command', 'must be a list'],
    ['an empty program', { onInstall: { command: [''] } }, 'onInstall.command[0]', 'must be a word'],
    [
      'a hook without any time',
      { onInstall: { command: ['a'], timeoutSeconds: 0 } },
      'onInstall.timeoutSeconds',
      'from 1 to 86400',
    ],
    ['no keys to verify by', { verify: {} }, 'verify.publicKeys', 'is missing'],
    ['an empty list of keys', { verify: { publicKeys: [] } }, 'verify.publicKeys', 'at least one key'],
    [
      'a key that is cut short',
      { verify: { publicKeys: [key, key.slice(1)] } },
      'verify.publicKeys[1]',
      '44 characters',
    ],
    [
      'a PEM file for a key',
      { verify: { publicKeys: ['-----BEGIN X'] } },
      'verify.publicKeys[0]',
      'not the content',
    ],
    [
      'a private key for a key',
      { verify: { publicKeys: [`MC4CAQAwBQYDK2VwBCIEI${'x'.repeat(43)}`] } },
      'verify.publicKeys[0]',
      'is a private key',
    ],
    [
      'a PEM file of a private key for a key',
      { verify: { publicKeys: ['-----BEGIN PRIVATE KEY-----\nx'] } },
      'verify.publicKeys[0]',
      'is a private key',
    ],
    ['a size of 0', { maxBytes: 0 }, 'maxBytes', 'must be a whole number'],
  ];
  test.each(fileCases)('%s', (_name, changes, key, message) =>
    expectOne(sampleOfFile(changes), `files[0].${key}`, message),
  );

  test.each([
    [sampleConfig({ thing_name: 1 }), 'thing_name', 'did you mean "thingName"?'],
    [sampleConfig({ keepaliveSecond: 1 }), 'keepaliveSecond', 'did you mean "keepAliveSeconds"?'],
    [sampleConfig({ s3: { pathstyle: true } }), 's3.pathstyle', 'did you mean "pathStyle"?'],
    [sampleConfig({ region: 'us-east-1' }), 'region', 'did you mean "s3.region"?'],
    [sampleConfig({ 's3.region': 'us-east-1' }), '"s3.region"', 'did you mean "s3.region"?'],
    [sampleConfig({ log: { colour: true } }), 'log.colour', 'the keys here are level, format'],
    [sampleOfFile({ modes: '0644' }), 'files[0].modes', 'did you mean "mode"?'],
    [
      JSON.parse(JSON.stringify(sampleConfig()).replace('{', '{"__proto__":{},')),
      '__proto__',
      'did you mean "proxy"?',
    ],
  ])('the unknown key of case %#', async (config, path, hint) => {
    const [problem, ...others] = problemsOf(await at.load(config));
    expect(others).toEqual([]);
    expect(problem?.path).toBe(path);
    expect(problem?.message).toBe('is no known key');
    expect(problem?.hint).toContain(hint);
  });

  test.each([
    [['MC4CAQAwBQYDK2VwBCIEIB9L7d5xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx']],
    [['B9L7d5xxxxxxx']],
    'MC4CAQAwBQYDK2VwBCIEIB9L7d5xxxxxxx',
  ])(
    'what stands in the place of a public key is not shown, as it may be the private one: %j',
    async (publicKeys) => {
      const problems = problemsOf(await at.load(sampleOfFile({ verify: { publicKeys } })));
      expect(problems).toHaveLength(1);
      expect(JSON.stringify(problems)).not.toContain('B9L7d5');
      // Nor is any key proposed: whoever copied one could be forged by all who know its other half.
      expect(problems[0]?.hint).toBe('for example "publicKeys": ["<what shadow-agent keygen printed>"]');
    },
  );

  test('a longest state directory is accepted', async () => {
    const loaded = await at.load(sampleConfig({ stateDir: longDir.slice(0, -1) }));
    expect(loaded.ok).toBe(true);
  });
});

describe('problems across keys', () => {
  test('two files with one property or one path, however it is written', async () => {
    await mkdir(join(at.dir, 'real'), { recursive: true });
    await symlink(join(at.dir, 'real'), join(at.dir, 'linked'));
    const files = [
      { property: 'a', path: 'real/x' },
      { property: 'a', path: './real/../real/x' },
      { property: 'b', path: 'linked/x' },
    ];
    expect(problemsOf(await at.load(sampleConfig({ files })))).toMatchObject([
      { path: 'files[1].property', message: 'is the same as files[0].property' },
      { path: 'files[1].path', message: 'is the same as files[0].path' },
      { path: 'files[2].path', message: 'is the same as files[0].path' },
    ]);
  });

  test('many at once are all listed', async () => {
    const problems = problemsOf(
      await at.load({
        thingNam: 'x',
        endpoint: 'localhost',
        credentialEndpoint: 'nowhere',
        cert: 'none.pem',
        key: 'certificate.pem',
        ca: 5,
        stateDir: 'private.key',
        s3: { regoin: 'x', pathStyle: 1 },
        files: [
          { property: 'a', path: '/tmp', mode: 'rw', colour: 1 },
          { property: 'a', owner: 'no-such-user' },
          7,
        ],
        keepAliveSeconds: 5,
        proxy: 'socks5://user:password@proxy:3128',
      }),
    );
    expect(problems.map(({ path }) => path).sort()).toEqual([
      'ca',
      'cert',
      'credentialEndpoint',
      'files[0].colour',
      'files[0].mode',
      'files[0].path',
      'files[1].owner',
      'files[1].path',
      'files[1].property',
      'files[2]',
      'keepAliveSeconds',
      'key',
      'proxy',
      's3.pathStyle',
      's3.region',
      's3.regoin',
      'stateDir',
      'thingNam',
      'thingName',
    ]);
    for (const { message, hint } of problems) expect([message, hint]).not.toContain('');
  });

  test('a key that stands where its path should is not shown', async () => {
    const loaded = await at.load(sampleConfig({ key: at.device.key, thingName: at.device.key }));
    const told = JSON.stringify(problemsOf(loaded));
    expect(told).toContain('must be the path of a file, not its content');
    for (const line of at.device.key.trim().split('\n').slice(1, -1)) expect(told).not.toContain(line);
  });
});
