import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { Sha256 } from '@aws-crypto/sha256-js';
import {
  DeleteThingShadowCommand,
  GetThingShadowCommand,
  IoTDataPlaneClient,
  ListNamedShadowsForThingCommand,
  UpdateThingShadowCommand,
} from '@aws-sdk/client-iot-data-plane';
import { SignatureV4 } from '@smithy/signature-v4';
import { type DataPlane, startDataPlane } from '../../src/sandbox/data-plane.ts';
import { createPki } from '../../src/sandbox/pki.ts';
import { bytes, createIot, type Iot } from './iot-fixture.ts';

const keys = { accessKeyId: 'AKIAOPERATOR', secretAccessKey: 'operator-secret' };
const thingName = 'test-thing';
const pki = await createPki();
let iot: Iot;
let dataPlane: DataPlane;

beforeEach(async () => {
  iot = await createIot(pki);
  iot.sessions.addLongTerm(keys.accessKeyId, keys.secretAccessKey);
  dataPlane = await startDataPlane(iot);
});

afterEach(() => dataPlane.close());

interface Request {
  method?: string;
  path?: string;
  query?: Record<string, string>;
  body?: string;
  service?: string;
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
  atMs?: number;
  /** Sent instead of the body that was signed. */
  tamperedBody?: string;
  anonymous?: boolean;
}

/** Signs a request as the SDKs do and sends it. */
async function send(request: Request): Promise<Response> {
  const {
    method = 'GET',
    path = `/things/${thingName}/shadow`,
    query = {},
    body,
    atMs = Date.now(),
  } = request;
  const signer = new SignatureV4({
    service: request.service ?? 'iotdata',
    region: 'us-east-1',
    credentials: request.credentials ?? keys,
    sha256: Sha256,
    applyChecksum: false,
  });
  const host = `127.0.0.1:${dataPlane.port}`;
  const unsigned = { method, protocol: 'https:', hostname: host, path, query, headers: { host }, body };
  const signed = await signer.sign(unsigned, { signingDate: new Date(atMs) });
  const search = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return fetch(`https://${host}${path}${search.length === 0 ? '' : `?${search.join('&')}`}`, {
    method,
    headers: request.anonymous === true ? {} : signed.headers,
    tls: { ca: pki.caCert },
    keepalive: false,
    ...(body === undefined ? {} : { body: request.tamperedBody ?? body }),
  });
}

async function expectError(
  response: Response,
  status: number,
  type: string,
  message?: string,
): Promise<void> {
  expect(response.headers.get('x-amzn-ErrorType')).toBe(type);
  expect(response.status).toBe(status);
  const body = await response.json();
  expect(body).toEqual({ message: message ?? expect.any(String) });
}

describe('the AWS SDK', () => {
  let client: IoTDataPlaneClient;

  function clientWith(credentials: typeof keys): IoTDataPlaneClient {
    return new IoTDataPlaneClient({
      endpoint: `https://127.0.0.1:${dataPlane.port}`,
      region: 'us-east-1',
      credentials,
      requestHandler: { httpsAgent: { ca: pki.caCert } },
    });
  }

  beforeEach(() => {
    client = clientWith(keys);
  });

  afterEach(() => client.destroy());

  function bodyOf(payload: Uint8Array | undefined): unknown {
    return JSON.parse(Buffer.from(payload ?? []).toString());
  }

  test('updates, gets and deletes a shadow', async () => {
    const payload = bytes({ state: { desired: { a: 'ü' } }, clientToken: 'token' });
    const updated = await client.send(new UpdateThingShadowCommand({ thingName, payload }));
    expect(bodyOf(updated.payload)).toMatchObject({ version: 1, clientToken: 'token' });
    const got = await client.send(new GetThingShadowCommand({ thingName }));
    expect(bodyOf(got.payload)).toMatchObject({ state: { desired: { a: 'ü' }, delta: { a: 'ü' } } });
    const deleted = await client.send(new DeleteThingShadowCommand({ thingName }));
    expect(bodyOf(deleted.payload)).toMatchObject({ version: 1 });
  });

  test('sees errors by their names', async () => {
    await expect(client.send(new GetThingShadowCommand({ thingName }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
      message: "No shadow exists with name: 'test-thing'",
      $metadata: { httpStatusCode: 404 },
    });
    const payload = bytes({ state: {} });
    await client.send(new UpdateThingShadowCommand({ thingName, payload }));
    const conflicting = bytes({ state: {}, version: 9 });
    const conflict = client.send(new UpdateThingShadowCommand({ thingName, payload: conflicting }));
    await expect(conflict).rejects.toMatchObject({ name: 'ConflictException', message: 'Version conflict' });
  });

  test('uses names that must be escaped, and lists named shadows by pages', async () => {
    for (const shadowName of ['$a:b', 'b', 'c']) {
      const payload = bytes({ state: {} });
      await client.send(new UpdateThingShadowCommand({ thingName: 'a:b', shadowName, payload }));
    }
    const list = (nextToken?: string) =>
      client.send(new ListNamedShadowsForThingCommand({ thingName: 'a:b', pageSize: 2, nextToken }));
    const first = await list();
    expect(first.results).toEqual(['$a:b', 'b']);
    expect((await list(first.nextToken)).results).toEqual(['c']);
  });

  test('with wrong keys is refused', async () => {
    const stranger = clientWith({ ...keys, secretAccessKey: 'wrong' });
    await expect(stranger.send(new GetThingShadowCommand({ thingName }))).rejects.toMatchObject({
      name: 'InvalidSignatureException',
    });
  });
});

describe('the data plane', () => {
  test.each(['iotdata', 'iotdevicegateway'])('accepts requests that are signed for %s', async (service) => {
    await expectError(await send({ service }), 404, 'ResourceNotFoundException');
  });

  test.each<[string, Request, string]>([
    ['is not signed', { anonymous: true }, 'MissingAuthenticationTokenException'],
    ['is signed for another service', { service: 's3' }, 'InvalidSignatureException'],
    [
      'is signed with an unknown key',
      { credentials: { ...keys, accessKeyId: 'AKIAUNKNOWN' } },
      'UnrecognizedClientException',
    ],
    [
      'has a token that the key does not go with',
      { credentials: { ...keys, sessionToken: 'token' } },
      'UnrecognizedClientException',
    ],
    ['was signed 16 minutes ago', { atMs: Date.now() - 16 * 60_000 }, 'InvalidSignatureException'],
    [
      'has another body than was signed',
      { method: 'POST', body: '{"state":{}}', tamperedBody: '{"state":[]}' },
      'InvalidSignatureException',
    ],
  ])('refuses a request that %s', async (_name, request, type) => {
    await expectError(await send(request), 403, type);
  });

  test('refuses the temporary keys of a device, ended or not', async () => {
    const lasting = iot.sessions.issue(thingName, Date.now() + 60_000);
    await expectError(await send({ credentials: lasting }), 403, 'ForbiddenException');
    const ended = iot.sessions.issue(thingName, Date.now() - 1);
    await expectError(await send({ credentials: ended }), 403, 'ExpiredTokenException');
  });

  test.each<[string, Request, number, string, string]>([
    ['bad JSON', { method: 'POST', body: '{' }, 400, 'InvalidRequestException', 'Invalid JSON'],
    [
      'an unknown method',
      { method: 'PUT', body: '{}' },
      405,
      'MethodNotAllowedException',
      'The method PUT is not allowed',
    ],
    ['an unknown path', { path: '/things' }, 404, 'ResourceNotFoundException', 'Not Found'],
    [
      'a thing name that is none',
      { path: '/things/a%20b/shadow' },
      400,
      'InvalidRequestException',
      'Invalid thing name',
    ],
    [
      'a shadow name that is none',
      { query: { name: 'a b' } },
      400,
      'InvalidRequestException',
      'Invalid shadow name',
    ],
    [
      'a body beyond all limits',
      { method: 'POST', body: 'x'.repeat(131_073) },
      413,
      'RequestEntityTooLargeException',
      'The payload exceeds the maximum size allowed',
    ],
    [
      'a document beyond 8 KB',
      { method: 'POST', body: JSON.stringify({ state: { desired: { a: 'x'.repeat(8192) } } }) },
      413,
      'RequestEntityTooLargeException',
      'The payload exceeds the maximum size allowed',
    ],
  ])('answers %s with an error in REST form', async (_name, request, status, type, message) => {
    await expectError(await send(request), status, type, message);
  });

  test('serves more than one shadow over one path by its query', async () => {
    await send({ method: 'POST', query: { name: 'files' }, body: '{"state":{"desired":{"a":1}}}' });
    const named = await send({ query: { name: 'files' } });
    expect(await named.json()).toMatchObject({ state: { desired: { a: 1 } }, version: 1 });
    await expectError(await send({}), 404, 'ResourceNotFoundException');
  });

  test('an update is announced to the listeners of the shadow service, an error is not', async () => {
    const topics: string[] = [];
    iot.shadows.onMessage(({ topic }) => topics.push(topic.replace('$aws/things/test-thing/shadow/', '')));
    await send({ method: 'POST', body: '{"state":1}' });
    await send({ method: 'POST', body: '{"state":{"desired":{"a":1}}}' });
    expect(topics).toEqual(['update/accepted', 'update/delta', 'update/documents']);
  });

  test('a payload hash in a header must be that of the body', async () => {
    const hash = createHash('sha256').update('other').digest('hex');
    const host = `127.0.0.1:${dataPlane.port}`;
    const path = `/things/${thingName}/shadow`;
    const signer = new SignatureV4({
      service: 'iotdata',
      region: 'us-east-1',
      credentials: keys,
      sha256: Sha256,
    });
    const headers = { host, 'x-amz-content-sha256': hash };
    const signed = await signer.sign({ method: 'GET', protocol: 'https:', hostname: host, path, headers });
    const response = await fetch(`https://${host}${path}`, {
      headers: signed.headers,
      tls: { ca: pki.caCert },
    });
    await expectError(response, 403, 'InvalidSignatureException');
  });
});
