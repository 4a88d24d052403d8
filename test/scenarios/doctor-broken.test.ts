/** `shadow-agent doctor` on what is broken in the cloud or on the way to it, with the compiled executable. */
import { expect, test } from 'bun:test';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer as createTcp, type Server } from 'node:net';
import { join } from 'node:path';
import { createServer as createTls } from 'node:tls';
import { createPki } from '../../src/sandbox/pki.ts';
import { roleAlias } from '../../src/sandbox/sandbox.ts';
import { examine, failures, finding } from '../support/doctor.ts';
import { ScriptedProxy } from '../support/proxy.ts';
import { Relay } from '../support/relay.ts';
import { bucketName, scenario, type World } from '../support/world.ts';

const topics = '$aws/things/test-thing/shadow';
const arn = (kind: string, name: string) => `arn:aws:iot:us-east-1:ACCOUNT:${kind}/${name}`;
const statement = (Action: string, Resource: string | string[]) => ({ Effect: 'Allow', Action, Resource });
/** The region that a host of AWS tells; the sandbox has none, so the statements say REGION. */
const unnamed = (policy: object) => JSON.parse(JSON.stringify(policy).replaceAll('us-east-1', 'REGION'));

const refusals: Array<
  [answer: string, breakIt: (world: World) => void, hint: string, policy: object | null]
> = [
  [
    'Invalid thing name passed',
    ({ device }) => device.certificate.things.clear(),
    'aws iot attach-thing-principal --thing-name test-thing',
    null,
  ],
  [
    'Access Denied',
    ({ device }) => {
      device.certificate.assumeRole = false;
    },
    'iot:AssumeRoleWithCertificate',
    statement('iot:AssumeRoleWithCertificate', arn('rolealias', roleAlias)),
  ],
  [
    'Role alias does not exist',
    ({ sandbox }) => void sandbox.roleAliases.delete(roleAlias),
    'aws iot create-role-alias',
    null,
  ],
  [
    'Unable to assume the role, or the role to assume does not exist',
    ({ sandbox }) => void sandbox.roleAliases.set(roleAlias, { roleExists: false }),
    'let credentials.iot.amazonaws.com assume the role',
    { Effect: 'Allow', Principal: { Service: 'credentials.iot.amazonaws.com' }, Action: 'sts:AssumeRole' },
  ],
  [
    'The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role',
    ({ sandbox }) =>
      void sandbox.roleAliases.set(roleAlias, { durationSeconds: 7200, maxDurationSeconds: 3600 }),
    "raise the role's maximum",
    null,
  ],
  [
    'Certificate is invalid on this endpoint',
    ({ device }) => {
      device.certificate.active = false;
    },
    'register and activate the certificate',
    null,
  ],
];

test.each(refusals)('the provider\'s "%s" is explained', (answer, breakIt, hint, policy) =>
  scenario(async (world) => {
    breakIt(world);
    const found = finding(await examine(world), 'credentials');
    expect(found.message).toContain(answer);
    expect(found.hint).toContain(hint);
    expect(found.policy?.statement ?? null).toEqual(policy === null ? null : unnamed(policy));
  }),
);

test('a certificate that is not active, or may not connect, is told with the statement for iot:Connect', () =>
  scenario(async (world) => {
    world.device.certificate.active = false;
    const found = await examine(world);
    expect(failures(found)).toEqual(['mqtt', 'credentials']);
    expect(finding(found, 'mqtt').policy?.statement).toEqual(
      unnamed(statement('iot:Connect', arn('client', 'test-thing'))),
    );
  }));

test('a policy that lacks a subscription is told with the topics and the statement', () =>
  scenario(async (world) => {
    world.device.certificate.policy = { subscribe: [`${topics}/get/*`] };
    const found = await examine(world);
    expect(failures(found)).toEqual(['subscriptions']);
    const { message, hint, policy } = finding(found, 'subscriptions');
    expect(message).toBe(
      `refused: ${['accepted', 'rejected', 'delta'].map((answer) => `${topics}/update/${answer}`).join(', ')}`,
    );
    // How often the connection was lost is all that is seen.
    expect(hint).toContain('where it does, the connection was lost each time');
    expect(policy?.statement).toEqual(
      unnamed(
        statement('iot:Subscribe', [
          arn('topicfilter', `${topics}/get/*`),
          arn('topicfilter', `${topics}/update/*`),
        ]),
      ),
    );
  }));

test('on a slow link each topic that is refused is still told, at one connection a second', () =>
  scenario(async (world) => {
    world.device.certificate.policy = { subscribe: [] };
    const relay = await Relay.to(world.sandbox.broker.port);
    relay.delayMs = 1_500;
    await relay.up();
    try {
      const found = await examine(world, '--endpoint', `127.0.0.1:${relay.port}`);
      const { message, milliseconds } = finding(found, 'subscriptions');
      expect(message.match(/accepted|rejected|delta/g)).toHaveLength(5);
      expect(milliseconds).toBeGreaterThan(15_000);
    } finally {
      await relay.down();
    }
  }));

test.each([0, 1, 2, 5, 10, 20])(
  'one connection that is lost after %i ms is no fault of the policy',
  (afterMs) =>
    scenario(async (world) => {
      world.sandbox.faults.set('mqtt-kick', afterMs, 1);
      expect(failures(await examine(world))).toEqual([]);
    }),
);

test.each([
  ['iot:Publish', { publish: [] }, ['get', 'update']],
  ['iot:Receive', { receive: [] }, ['get/*', 'update/*']],
])('a policy that lacks %s is told at the shadow, with the statement', (action, policy, names) =>
  scenario(async (world) => {
    world.device.certificate.policy = policy;
    const found = await examine(world);
    expect(failures(found)).toEqual(['shadow']);
    const resources = names.map((name) => arn('topic', `${topics}/${name}`));
    expect(finding(found, 'shadow').policy?.statement).toEqual(unnamed(statement(action, resources)));
  }),
);

test('an object that the role may not read is told with the statement, for its key', () =>
  scenario(async (world) => {
    await world.put('a b/c.txt', 'hoge\n');
    world.sandbox.s3.store.denied.add(`${bucketName}/a b/`);
    const found = await examine(world);
    expect(failures(found)).toEqual(['s3']);
    expect(finding(found, 's3').policy?.statement).toEqual(
      statement('s3:GetObject', `arn:aws:s3:::${bucketName}/a b/c.txt`),
    );
  }));

test('a server that "ca" does not vouch for is told with who issued its certificate', () =>
  scenario(async (world) => {
    const other = join(world.device.dir, 'other.pem');
    writeFileSync(other, (await createPki()).caCert);
    const found = await examine(world, '--ca', other);
    expect(failures(found)).toEqual(['tls data', 'tls credentials']);
    const { message, hint } = finding(found, 'tls data');
    expect(message).toMatch(/its certificate was issued by "shadow-agent sandbox CA/);
    expect(hint).toContain('"ca" vouches for');
    expect(finding(found, 'tls s3').verdict).toBe('ok');
  }));

/** Runs something while a server listens on loopback. */
async function listening(server: Server, run: (endpoint: string) => Promise<void>) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  try {
    if (address === null || typeof address === 'string') throw new Error('No port');
    await run(`127.0.0.1:${address.port}`);
  } finally {
    server.close();
  }
}

test('a server with a certificate for another name is told', () =>
  scenario(async (world) => {
    const { pki } = world.sandbox;
    await listening(createTls(await pki.issueServer(['other.example'])), async (endpoint) => {
      const found = finding(await examine(world, '--endpoint', endpoint), 'tls data');
      expect(found.verdict).toBe('fail');
      expect(found.message).toMatch(/altnames|not match/);
      expect(found.hint).toContain('"ca" vouches for');
    });
  }));

test('a port that nobody listens on, and one that never answers, are told within seconds', () =>
  scenario(async (world) => {
    const refused = finding(await examine(world, '--endpoint', '127.0.0.1:9'), 'tls data');
    expect(refused.message).toMatch(/^No connection to 127\.0\.0\.1:9: .*ECONNREFUSED/);
    expect(refused.hint).toContain('firewall');
    await listening(createTcp(), async (endpoint) => {
      const startedMs = Date.now();
      const silent = finding(await examine(world, '--endpoint', endpoint), 'tls data');
      expect(silent.message).toMatch(/no TLS handshake in 8 s$/);
      expect(Date.now() - startedMs).toBeLessThan(15_000);
    });
  }));

test('a host without an address is told', () =>
  scenario(async (world) => {
    const found = await examine(world, '--endpoint', 'nowhere.invalid:8883');
    expect(failures(found)).toEqual(['dns data']);
    expect(finding(found, 'dns data')).toMatchObject({
      message: expect.stringContaining('nowhere.invalid has no address'),
      hint: expect.stringContaining('/etc/resolv.conf'),
    });
    expect(finding(found, 'mqtt').verdict).toBe('skip');
    expect(finding(found, 'credentials').verdict).toBe('ok');
  }));

test('through a proxy all is well; one that wants a password is told at each endpoint', () =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    const proxy = await ScriptedProxy.start();
    try {
      const url = `http://127.0.0.1:${proxy.port}`;
      const found = await examine(world, '--proxy', url);
      expect(failures(found)).toEqual([]);
      expect(finding(found, 'tls data').message).toContain(`through the proxy 127.0.0.1:${proxy.port}`);
      expect(finding(found, 's3').verdict).toBe('ok');
      proxy.answer = { say: 'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n' };
      const refused = await examine(world, '--proxy', url);
      expect(failures(refused)).toEqual(['tls data', 'tls credentials', 'tls s3']);
      expect(finding(refused, 'tls s3').hint).toContain('the proxy wants a user and password');
    } finally {
      await proxy.close();
    }
  }));
