/** `shadow-agent doctor` on what servers that can be reached answer. With the compiled executable. */
import { expect, test } from 'bun:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { examine, failures, finding } from '../support/doctor.ts';
import { bucketName, scenario, sha256, type World } from '../support/world.ts';

test.each([
  ['s3-expire', 'ExpiredToken'],
  ['s3-invalid-token', 'InvalidToken'],
  ['s3-token-refresh', 'TokenRefreshRequired'],
] as const)('credentials that S3 refuses (%s) are told by the code of its answer', (fault, code) =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    world.sandbox.faults.set(fault, 1);
    const found = await examine(world);
    expect(failures(found)).toEqual(['s3']);
    expect(finding(found, 's3').message).toContain(code);
    expect(finding(found, 's3').hint).toContain('the role behind the alias');
  }),
);

type Break = (world: World) => void;
const faults =
  (name: Parameters<World['sandbox']['faults']['set']>[0], value = 1): Break =>
  (world) =>
    world.sandbox.faults.set(name, value);

function configure({ device }: World, change: (config: Record<string, unknown>) => void): void {
  const config = JSON.parse(readFileSync(device.configPath, 'utf8'));
  change(config);
  writeFileSync(device.configPath, JSON.stringify(config));
}

const lasting = 'the agent tries again by itself; where that lasts, look at health.aws.amazon.com';

const cases: Array<[what: string, probe: string, breakIt: Break, message: string, hint: string]> = [
  ['S3 that is busy', 's3', faults('s3-503'), 'SlowDown', lasting],
  [
    'an object that is not there',
    's3',
    (world) => world.desire({ s3: { url: `s3://${bucketName}/a b/none`, hash: sha256('') } }),
    `Cannot get the object s3://${bucketName}/a b/none: HTTP 404 NoSuchKey`,
    'upload the object',
  ],
  ['a provider that fails', 'credentials', faults('credentials-503'), '503', lasting],
  ['a provider that is asked too often', 'credentials', faults('credentials-reject', 429), '429', 'quota'],
  [
    'S3 that hangs up',
    's3',
    faults('s3-refuse'),
    'Cannot get the object',
    'cuts the connection: check "s3.endpoint"',
  ],
  [
    'a version that is none',
    's3',
    (world) => {
      const url = `s3://${bucketName}/test.txt`;
      world.desire({ s3: { url, hash: sha256('hoge\n'), versionId: 'abcdefgh' } });
    },
    'Invalid version id',
    '"versionId" in the desired state',
  ],
  [
    'a provider that hangs up',
    'credentials',
    faults('credentials-refuse'),
    'Cannot fetch credentials',
    'cuts the connection: check "credentialEndpoint"',
  ],
  [
    'a provider that does not answer',
    'credentials',
    faults('credentials-stall'),
    'from 127.0.0.1: no answer in 20 s',
    'check "credentialEndpoint"',
  ],
  ['a shadow service that is asked too often', 'shadow', faults('shadow-reject', 429), '429', 'quota'],
  ['a shadow service that fails', 'shadow', faults('shadow-reject', 500), '500', lasting],
  [
    'S3 that no known root vouches for',
    'tls s3',
    (world) => configure(world, (config) => Reflect.deleteProperty(Object(config['s3']), 'ca')),
    'No connection to',
    '"s3.ca"',
  ],
];

test.concurrent.each(cases)('%s is told with what to do', (_, probe, breakIt, message, hint) =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    breakIt(world);
    const found = await examine(world);
    expect(failures(found)).toEqual([probe]);
    expect(finding(found, probe).message).toContain(message);
    expect(finding(found, probe).hint).toContain(hint);
  }),
);

test('a shadow that may not be read is told with the statement', () =>
  scenario(async (world) => {
    world.sandbox.faults.set('shadow-reject', 403);
    const { verdict, policy } = finding(await examine(world), 'shadow');
    expect(verdict).toBe('fail');
    expect(JSON.stringify(policy)).toContain('topic/$aws/things/test-thing/shadow/get');
  }));

test('endpoints that are exchanged are told as such', () =>
  scenario(async (world) => {
    configure(world, (config) => {
      const [credentials, ...path] = String(config['credentialEndpoint']).split('/');
      config['credentialEndpoint'] = [config['endpoint'], ...path].join('/');
      config['endpoint'] = credentials;
    });
    const found = await examine(world);
    expect(failures(found)).toEqual(['mqtt', 'credentials']);
    expect(finding(found, 'mqtt').hint).toContain('not exchanged with "credentialEndpoint"');
    expect(finding(found, 'credentials').hint).toContain('not exchanged with "endpoint"');
  }));

test('a running agent whose reports the policy does not allow is told with the statement that doctor cannot try', () =>
  scenario(async (world) => {
    world.device.certificate.policy = { publish: ['$aws/things/test-thing/shadow/get'] };
    const agent = await world.run();
    await agent.logged('was lost: it closed it');
    await agent.logged(/was lost: it closed it[\s\S]*was lost: it closed it/);
    const found = finding(await examine(world), 'mqtt');
    expect(found.message).toMatch(/is not connected: .* was lost: it closed it$/);
    expect(found.hint).toContain('doctor sends no report');
    expect(JSON.stringify(found.policy)).toContain('topic/$aws/things/test-thing/shadow/update');
  }));
