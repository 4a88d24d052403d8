import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { Sha256 } from '@aws-crypto/sha256-js';
import { SignatureV4 } from '@smithy/signature-v4';
import { AwsV4Signer } from 'aws4fetch';
import fc from 'fast-check';
import { type Desired, parseDesired } from '../../src/core/artifact.ts';
import type { S3Address } from '../../src/core/s3-request.ts';
import { createFetch, type Fetch } from '../../src/io/runtime.ts';
import { createPki } from '../../src/sandbox/pki.ts';
import { fakeCredentials, getObjectOf } from '../support/io-download-fixture.ts';
import { FakeClock } from '../support/io-fake-clock.ts';
import { ObjectServer, plain, type WireRequest } from '../support/io-object-server.ts';

const never = new AbortController().signal;
const secretAccessKey = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const hash = 'ab'.repeat(32);
const atMs = Date.UTC(2013, 4, 24);

test('the signer gives the signature that AWS publishes for its GET example', async () => {
  // Source: S3 API reference, sig-v4-header-based-auth, "GET Object".
  const signer = new AwsV4Signer({
    url: 'https://examplebucket.s3.amazonaws.com/test.txt',
    headers: {
      range: 'bytes=0-9',
      'x-amz-content-sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    },
    accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
    secretAccessKey,
    service: 's3',
    region: 'us-east-1',
    datetime: '20130524T000000Z',
    // The example signs the range; without this the signer leaves such headers out.
    allHeaders: true,
  });
  const { headers } = await signer.sign();
  expect(headers.get('authorization')).toBe(
    'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, ' +
      'SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, ' +
      'Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  );
});

/** The Authorization that AWS's own signer gives to a request as it came over the wire. */
async function authorizationOf(request: WireRequest, sessionToken: string): Promise<string> {
  const [path = '', search] = request.target.split('?');
  const named = /SignedHeaders=([^,]+)/.exec(request.headers['authorization'] ?? '')?.[1]?.split(';') ?? [];
  const headers = Object.fromEntries(named.map((name) => [name, request.headers[name] ?? '']));
  const signer = new SignatureV4({
    service: 's3',
    region: 'us-east-1',
    sha256: Sha256,
    uriEscapePath: false,
    applyChecksum: false,
    credentials: { accessKeyId: 'ASIA1', secretAccessKey, sessionToken },
  });
  const [name = '', value = ''] = (search ?? '').split('=');
  const signed = await signer.sign(
    {
      method: request.method,
      protocol: 'https:',
      hostname: request.headers['host'] ?? '',
      path,
      headers,
      ...(search === undefined ? {} : { query: { [decodeURIComponent(name)]: decodeURIComponent(value) } }),
    },
    { signingDate: new Date(atMs) },
  );
  return signed.headers['authorization'] ?? '';
}

function artifactOf(
  url: string,
  versionId: string | undefined,
): Extract<Desired, { kind: 'artifact' }>['artifact'] {
  const desired = parseDesired({ url, hash, ...(versionId === undefined ? {} : { versionId }) }, {});
  if (desired.kind !== 'artifact') throw new Error(`refused: ${JSON.stringify(desired)}`);
  return desired.artifact;
}

const piece = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 6 }),
  fc.string({ unit: 'binary', maxLength: 4 }),
  fc.constantFrom(
    '/',
    '//',
    ' ',
    '+',
    '%',
    '%2F',
    '%2e%2e',
    "!'()*",
    '?',
    '#',
    '&',
    '=',
    '@',
    ':',
    ';',
    '\\',
    '~',
    '\t',
  ),
  fc.constantFrom(
    '日本',
    'é',
    'e\u0301',
    '😀',
    '..a',
    'a..',
    '.a',
    '$',
    ',',
    '"',
    '<',
    '|',
    '^',
    '`',
    '\u007f',
    '\u00a0',
  ),
);
const key = fc
  .array(piece, { minLength: 1, maxLength: 8 })
  .map((pieces) => pieces.join(''))
  .filter((text) => parseDesired({ url: `s3://examplebucket/${text}`, hash }, {}).kind === 'artifact');
const versionId = fc.option(
  fc.oneof(
    fc.constantFrom(
      'null',
      'a+b',
      'a b',
      '3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo',
      'a&b=c',
      '%20',
    ),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }).filter((text) => text.isWellFormed()),
  ),
  { nil: undefined },
);
const token = fc.base64String({ minLength: 4, maxLength: 80 });
const range = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2 ** 40 }));
const etag = fc.option(fc.stringMatching(/^"[0-9a-f]{32}(-[0-9]{1,4})?"$/), { nil: undefined });

interface Sample {
  key: string;
  versionId: string | undefined;
  token: string;
  offset: number;
  ifMatch: string | undefined;
}
const sample = fc.record({ key, versionId, token, offset: range, ifMatch: etag });

/** Makes the GET of a sample. */
async function get(address: S3Address, fetch: Fetch, { key, versionId, token, offset, ifMatch }: Sample) {
  const artifact = artifactOf(`s3://examplebucket/${key}`, versionId);
  const getObject = getObjectOf(address, fetch, fakeCredentials(token), new FakeClock(atMs));
  const answer = await getObject({ artifact, offset, ifMatch }, never);
  if ('body' in answer) await answer.body.cancel();
}

function checkKey({ target }: WireRequest, prefix: string, { key, versionId }: Sample): void {
  const [path = '', search] = target.split('?');
  // The very form that S3 signs: each segment encoded once, the unreserved characters as they are.
  expect(path).toMatch(/^[A-Za-z0-9\-_.~/%]*$/);
  expect(path.startsWith(prefix)).toBe(true);
  expect(decodeURIComponent(path.slice(prefix.length))).toBe(key);
  expect(search === undefined ? undefined : decodeURIComponent(search.replace('versionId=', ''))).toBe(
    versionId,
  );
}

describe('what really goes over the wire', async () => {
  const pki = await createPki();
  let server: ObjectServer;

  beforeAll(async () => {
    server = await ObjectServer.start(pki.server);
    server.otherwise = plain(200, 'x');
  });
  afterAll(() => server.close());

  test('is signed as AWS signs it, and asks for the very key, whatever key, version and token', async () => {
    const address = { region: 'us-east-1', endpoint: server.origin, pathStyle: true, dualStack: false };
    const fetch = createFetch({ ca: [pki.caCert] });
    await fc.assert(
      fc.asyncProperty(sample, async (drawn) => {
        server.requests.length = 0;
        await get(address, fetch, drawn);
        const [request] = server.requests;
        if (request === undefined) throw new Error('no request came');
        checkKey(request, '/examplebucket/', drawn);
        expect(request.headers['authorization']).toBe(await authorizationOf(request, drawn.token));
        expect(request.headers['x-amz-security-token']).toBe(drawn.token);
        const unsigned = Object.keys(request.headers).filter((name) => name.startsWith('x-amz-'));
        for (const name of unsigned) expect(request.headers['authorization']).toContain(name);
      }),
      { numRuns: 150 },
    );
  }, 20_000);
});

describe('what is handed to fetch for AWS itself', () => {
  test.each([
    [{ pathStyle: false, dualStack: false }, 'examplebucket.s3.us-east-1.amazonaws.com', '/'],
    [{ pathStyle: true, dualStack: false }, 's3.us-east-1.amazonaws.com', '/examplebucket/'],
    [{ pathStyle: false, dualStack: true }, 'examplebucket.s3.dualstack.us-east-1.amazonaws.com', '/'],
  ])('with %o is signed for the host %s', async (style, host, prefix) => {
    await fc.assert(
      fc.asyncProperty(sample, async (drawn) => {
        const seen: WireRequest[] = [];
        const fetch: Fetch = async (url, { headers }) => {
          const { host, pathname, search, protocol } = new URL(url);
          expect(protocol).toBe('https:');
          const sent = { ...Object.fromEntries(headers), host };
          seen.push({
            method: 'GET',
            target: `${pathname}${search}`,
            headers: sent,
            closed: Promise.resolve(),
          });
          return new Response('x');
        };
        await get({ region: 'us-east-1', ...style }, fetch, drawn);
        const [request] = seen;
        if (request === undefined) throw new Error('no request was made');
        expect(request.headers['host']).toBe(host);
        checkKey(request, prefix, drawn);
        expect(request.headers['authorization']).toBe(await authorizationOf(request, drawn.token));
      }),
      { numRuns: 100 },
    );
  });
});
