import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import {
  type CredentialsProvider,
  type RoleAlias,
  startCredentialsProvider,
} from '../../src/sandbox/credentials-provider.ts';
import { createPki, type KeyPair } from '../../src/sandbox/pki.ts';
import { createIot, type Iot } from './iot-fixture.ts';

const pki = await createPki();
const roleAliases = new Map<string, RoleAlias>([
  ['alias', { durationSeconds: 900, maxDurationSeconds: 3600 }],
  ['a=b,c@d', {}],
  ['no-role', { roleExists: false }],
  ['too-long', { durationSeconds: 43_200, maxDurationSeconds: 3600 }],
]);
let iot: Iot;
let provider: CredentialsProvider;

beforeEach(async () => {
  iot = await createIot(pki);
  provider = await startCredentialsProvider({ ...iot, roleAliases });
});

afterEach(() => provider.close());

interface Ask {
  alias?: string;
  path?: string;
  thingName?: string;
  device?: KeyPair;
  signal?: AbortSignal;
}

async function ask({
  alias = 'alias',
  path,
  thingName,
  device = iot.device,
  signal,
}: Ask = {}): Promise<Response> {
  const url = `https://127.0.0.1:${provider.port}${path ?? `/role-aliases/${alias}/credentials`}`;
  return fetch(url, {
    headers: thingName === undefined ? {} : { 'x-amzn-iot-thingname': thingName },
    tls: { ca: pki.caCert, ...device },
    keepalive: false,
    ...(signal === undefined ? {} : { signal }),
  });
}

function allow(assumeRole: boolean): void {
  iot.things.register(iot.device.cert, { things: ['test-thing'], assumeRole });
}

describe('the credentials provider', () => {
  test('trades a device certificate for credentials of a session', async () => {
    const beforeMs = Date.now();
    const response = await ask({ thingName: 'test-thing' });
    expect(response.status).toBe(200);
    expect(response.headers.get('x-amzn-RequestId')).toMatch(/^[0-9a-f-]{36}$/);
    const text = await response.text();
    expect(text.length).toBeLessThan(2048);
    const { credentials } = JSON.parse(text);
    expect(Object.keys(credentials)).toEqual([
      'accessKeyId',
      'secretAccessKey',
      'sessionToken',
      'expiration',
    ]);
    expect(credentials.expiration).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const livesMs = Date.parse(credentials.expiration) - beforeMs;
    expect(livesMs).toBeGreaterThan(899_000);
    expect(livesMs).toBeLessThan(905_000);
    expect(iot.sessions.find(credentials.accessKeyId)).toMatchObject({
      secretAccessKey: credentials.secretAccessKey,
      sessionToken: credentials.sessionToken,
      expiresAtMs: Date.parse(credentials.expiration),
      thingName: 'test-thing',
    });
    expect(provider.requests).toEqual([
      { path: '/role-aliases/alias/credentials', thingName: 'test-thing', status: 200 },
    ]);
  });

  test('the thing name is optional, and an alias may be escaped', async () => {
    expect((await ask()).status).toBe(200);
    expect((await ask({ alias: 'a=b,c@d' })).status).toBe(200);
    expect((await ask({ alias: 'a%3Db%2Cc%40d' })).status).toBe(200);
  });

  const role = 'Unable to assume the role, or the role to assume does not exist';
  const duration = 'The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role';
  test.each([
    [
      'a thing that is not attached',
      { thingName: 'other' },
      true,
      403,
      'AccessDenied',
      'Invalid thing name passed',
    ],
    ['no permission', {}, false, 403, 'AccessDenied', 'Access Denied'],
    ['no permission and no alias', { alias: 'none' }, false, 403, 'AccessDenied', 'Access Denied'],
    ['no alias', { alias: 'none' }, true, 404, 'ResourceNotFound', 'Role alias does not exist'],
    [
      'an alias with a broken escape',
      { alias: '%zz' },
      true,
      404,
      'ResourceNotFound',
      'Role alias does not exist',
    ],
    ['no role', { alias: 'no-role' }, true, 400, 'InvalidRequest', role],
    ['too long a duration', { alias: 'too-long' }, true, 400, 'InvalidRequest', duration],
    ['another path', { path: '/' }, true, 404, 'ResourceNotFound', 'Not Found'],
  ])('%s is an error', async (_name, request, assumeRole, status, type, message) => {
    allow(assumeRole);
    const response = await ask(request);
    expect(response.status).toBe(status);
    expect(response.headers.get('x-amzn-ErrorType')).toBe(`${type}Exception`);
    expect(response.headers.get('x-amzn-RequestId')).toBeString();
    expect(await response.json()).toEqual({ message });
  });

  test('a certificate that is not registered is invalid on this endpoint', async () => {
    const response = await ask({ device: await pki.issueDevice('test-thing'), alias: 'none' });
    expect(response.status).toBe(403);
    expect(response.headers.get('x-amzn-ErrorType')).toBe('AccessDeniedException');
    expect(await response.json()).toEqual({ message: 'Certificate is invalid on this endpoint' });
  });

  test('a certificate of another authority does not get through the handshake', async () => {
    await expect(ask({ device: await (await createPki()).issueDevice('test-thing') })).rejects.toThrow();
    expect(provider.requests).toEqual([]);
  });
});

describe('faults', () => {
  test('credentials-503 answers 503', async () => {
    iot.faults.set('credentials-503', 1, 1);
    const response = await ask();
    expect(response.status).toBe(503);
    expect(response.headers.get('x-amzn-ErrorType')).toBe('ServiceUnavailableException');
    expect((await ask()).status).toBe(200);
  });

  test('credentials-expire sets the life of the credentials', async () => {
    iot.faults.set('credentials-expire', 5);
    const { credentials } = await (await ask()).json();
    expect(Math.abs(Date.parse(credentials.expiration) - Date.now() - 5000)).toBeLessThan(2000);
  });

  test('credentials-skew shifts the Date header and the expiration', async () => {
    iot.faults.set('credentials-skew', 7200);
    const response = await ask();
    const dateMs = Date.parse(response.headers.get('date') ?? '');
    expect(Math.abs(dateMs - Date.now() - 7_200_000)).toBeLessThan(5000);
    const { credentials } = await response.json();
    expect(Math.abs(Date.parse(credentials.expiration) - dateMs - 900_000)).toBeLessThan(5000);
  });

  test('credentials-refuse closes the connection', async () => {
    iot.faults.set('credentials-refuse', 1);
    await expect(ask()).rejects.toThrow();
  });

  test('credentials-stall takes the request and never answers', async () => {
    iot.faults.set('credentials-stall', 1, 1);
    const given = new AbortController();
    const asked = ask({ signal: given.signal });
    while (provider.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    given.abort();
    await expect(asked).rejects.toThrow();
    expect(provider.requests[0]?.status).toBeUndefined();
  });
});
