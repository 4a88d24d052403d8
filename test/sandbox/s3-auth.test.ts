import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { AwsV4Signer } from 'aws4fetch';
import { Verifier } from '../../src/sandbox/verifier.ts';
import { bucket, type S3Fixture, startS3Fixture, xmlField } from '../support/s3-fixture.ts';

let fixture: S3Fixture;

beforeAll(async () => {
  fixture = await startS3Fixture();
  await fixture.s3.store.put(bucket, 'file', 'content');
});
afterEach(() => fixture.faults.clear());
afterAll(() => fixture.close());

const get = { path: `/${bucket}/file` };

describe('signatures in the Authorization header', () => {
  test('the GET example of the S3 documentation has the signature that AWS computed', async () => {
    const session = {
      accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
      secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
      expiresAtMs: Number.POSITIVE_INFINITY,
    };
    const empty = createHash('sha256').digest('hex');
    const expected = await new Verifier(session, 'us-east-1', 's3').expect({
      method: 'GET',
      path: '/test.txt',
      query: {},
      headers: {
        host: 'examplebucket.s3.amazonaws.com',
        range: 'bytes=0-9',
        'x-amz-content-sha256': empty,
        'x-amz-date': '20130524T000000Z',
      },
      payloadHash: empty,
      timestamp: '20130524T000000Z',
    });
    expect(expected.signature).toBe('f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41');
  });

  test('a request of the operator and one of a thing are let in', async () => {
    for (const session of [fixture.operator, fixture.device]) {
      const response = await fixture.raw(await fixture.sign(get, session));
      expect([response.status, response.body.toString()]).toEqual([200, 'content']);
      expect(response.headers['server']).toBe('AmazonS3');
      expect(response.headers['x-amz-request-id']).toMatch(/^[0-9A-F]{16}$/);
    }
  });

  test('a request that aws4fetch signed is let in', async () => {
    const { accessKeyId, secretAccessKey, sessionToken } = fixture.device;
    const signer = new AwsV4Signer({
      url: `${fixture.s3.url}${get.path}`,
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: 's3',
      region: 'us-east-1',
    });
    const headers = Object.fromEntries((await signer.sign()).headers.entries());
    expect((await fixture.raw({ ...get, headers })).status).toBe(200);
  });

  test('an anonymous request is AccessDenied', async () => {
    const response = await fixture.raw(get);
    expect([response.status, xmlField(response, 'Code')]).toEqual([403, 'AccessDenied']);
    expect(response.headers['content-type']).toBe('application/xml');
    expect(response.body.toString()).toMatch(/^<\?xml version="1.0" encoding="UTF-8"\?>\n<Error><Code>/);
  });

  test('another secret is SignatureDoesNotMatch, with what was to be signed', async () => {
    const wrong = { ...fixture.operator, secretAccessKey: 'guessed' };
    const response = await fixture.raw(await fixture.sign(get, wrong));
    expect([response.status, xmlField(response, 'Code')]).toEqual([403, 'SignatureDoesNotMatch']);
    expect(xmlField(response, 'StringToSign')).toStartWith('AWS4-HMAC-SHA256\n');
    expect(xmlField(response, 'CanonicalRequest')).toStartWith(`GET\n/${bucket}/file\n`);
  });

  test('a request changed behind the signature is SignatureDoesNotMatch', async () => {
    const signed = await fixture.sign({ ...get, headers: { range: 'bytes=0-1' } }, fixture.operator);
    const headers = { ...signed.headers, range: 'bytes=0-2' };
    expect((await fixture.raw({ ...signed, headers })).status).toBe(403);
    expect((await fixture.raw({ ...signed, path: `/${bucket}/other` })).status).toBe(403);
    expect((await fixture.raw({ ...signed, path: `${get.path}?versionId=null` })).status).toBe(403);
    expect((await fixture.raw({ ...signed, method: 'HEAD' })).status).toBe(403);
  });

  test('an unknown key, and a temporary one without its token, are InvalidAccessKeyId', async () => {
    const unknown = { ...fixture.operator, accessKeyId: 'AKIANOBODY' };
    const { sessionToken: _, ...bare } = fixture.device;
    for (const session of [unknown, bare]) {
      const response = await fixture.raw(await fixture.sign(get, session));
      expect([response.status, xmlField(response, 'Code')]).toEqual([403, 'InvalidAccessKeyId']);
      expect(xmlField(response, 'AWSAccessKeyId')).toBe(session.accessKeyId);
    }
  });

  test('another token is InvalidToken', async () => {
    const response = await fixture.raw(
      await fixture.sign(get, { ...fixture.device, sessionToken: 'another' }),
    );
    expect([response.status, xmlField(response, 'Code')]).toEqual([400, 'InvalidToken']);
  });

  test('a session that has ended is ExpiredToken', async () => {
    const ended = fixture.sessions.issue('test-thing', Date.now() - 1);
    const response = await fixture.raw(await fixture.sign(get, ended));
    expect([response.status, xmlField(response, 'Code')]).toEqual([400, 'ExpiredToken']);
    expect(xmlField(response, 'Message')).toBe('The provided token has expired.');
  });

  test('a clock that is 16 minutes off is RequestTimeTooSkewed, 14 minutes are not', async () => {
    for (const minutes of [-16, 16]) {
      const dateMs = Date.now() + minutes * 60_000;
      const response = await fixture.raw(await fixture.sign(get, fixture.device, { dateMs }));
      expect([response.status, xmlField(response, 'Code')]).toEqual([403, 'RequestTimeTooSkewed']);
      expect(xmlField(response, 'MaxAllowedSkewMilliseconds')).toBe('900000');
      const serverTimeMs = Date.parse(xmlField(response, 'ServerTime') ?? '');
      expect(Math.abs(serverTimeMs - Date.now())).toBeLessThan(5000);
    }
    const dateMs = Date.now() - 14 * 60_000;
    expect((await fixture.raw(await fixture.sign(get, fixture.device, { dateMs }))).status).toBe(200);
  });

  test('another region is AuthorizationHeaderMalformed and names the right one', async () => {
    const response = await fixture.raw(await fixture.sign(get, fixture.device, { region: 'eu-west-1' }));
    expect([response.status, xmlField(response, 'Code')]).toEqual([400, 'AuthorizationHeaderMalformed']);
    expect(xmlField(response, 'Message')).toContain("the region 'eu-west-1' is wrong; expecting 'us-east-1'");
    expect(xmlField(response, 'Region')).toBe('us-east-1');
  });

  test('another service is AuthorizationHeaderMalformed', async () => {
    const response = await fixture.raw(await fixture.sign(get, fixture.device, { service: 'iotdata' }));
    expect([response.status, xmlField(response, 'Code')]).toEqual([400, 'AuthorizationHeaderMalformed']);
  });

  test('a missing x-amz-content-sha256 is InvalidRequest', async () => {
    const signed = await fixture.sign(get, fixture.device);
    const { 'x-amz-content-sha256': _, ...headers } = signed.headers ?? {};
    const response = await fixture.raw({ ...signed, headers });
    expect([response.status, xmlField(response, 'Code')]).toEqual([400, 'InvalidRequest']);
    expect(xmlField(response, 'Message')).toContain('x-amz-content-sha256');
  });

  test('an x-amz header that is not signed is AccessDenied and named', async () => {
    const signed = await fixture.sign(get, fixture.device);
    const headers = { ...signed.headers, 'x-amz-checksum-mode': 'ENABLED' };
    const response = await fixture.raw({ ...signed, headers });
    expect([response.status, xmlField(response, 'Code')]).toEqual([403, 'AccessDenied']);
    expect(xmlField(response, 'HeadersNotSigned')).toBe('x-amz-checksum-mode');
  });

  test('rubbish in the Authorization header is a 400', async () => {
    for (const authorization of [
      'AWS4-HMAC-SHA256',
      'AWS4-HMAC-SHA256 Credential=a',
      'AWS a:b',
      'Basic eDp5',
    ]) {
      const response = await fixture.raw({ ...get, headers: { authorization } });
      expect(response.status).toBe(400);
    }
  });

  test('a body that is not what was signed is XAmzContentSHA256Mismatch and stores nothing', async () => {
    const request = { method: 'PUT', path: `/${bucket}/tampered`, body: 'signed!' };
    const signed = await fixture.sign(request, fixture.operator);
    const response = await fixture.raw({ ...signed, body: 'altered' });
    expect([response.status, xmlField(response, 'Code')]).toEqual([400, 'XAmzContentSHA256Mismatch']);
    expect(() => fixture.s3.store.head(bucket, 'tampered')).toThrow('does not exist');
  });
});

describe('presigned URLs', () => {
  async function presign(options: { dateMs?: number; expiresSeconds?: string; token?: boolean } = {}) {
    const { accessKeyId, secretAccessKey, sessionToken } = fixture.device;
    const url = new URL(`${fixture.s3.url}${get.path}`);
    url.searchParams.set('X-Amz-Expires', options.expiresSeconds ?? '60');
    url.searchParams.set('response-content-type', 'text/x-override');
    const signer = new AwsV4Signer({
      url: url.href,
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: 's3',
      region: 'us-east-1',
      signQuery: true,
      datetime: new Date(options.dateMs ?? Date.now()).toISOString().replace(/[:-]|\.\d{3}/g, ''),
    });
    const signed = await signer.sign();
    return signed.url.pathname + signed.url.search;
  }

  test('are let in, and override response headers', async () => {
    const response = await fixture.raw({ path: await presign() });
    expect([response.status, response.body.toString()]).toEqual([200, 'content']);
    expect(response.headers['content-type']).toBe('text/x-override');
  });

  test('are AccessDenied once they have expired', async () => {
    const response = await fixture.raw({ path: await presign({ dateMs: Date.now() - 61_000 }) });
    expect([response.status, xmlField(response, 'Message')]).toEqual([403, 'Request has expired']);
  });

  test('are refused when they are changed, incomplete or would live for more than a week', async () => {
    const path = await presign();
    expect((await fixture.raw({ path: path.replace('x-override', 'x-another') })).status).toBe(403);
    expect((await fixture.raw({ path: path.replace(/X-Amz-Date=[^&]+&/, '') })).status).toBe(400);
    expect((await fixture.raw({ path: await presign({ expiresSeconds: '604801' }) })).status).toBe(400);
  });
});

describe('what a thing may do', () => {
  test('it reads and lists, and writes nothing', async () => {
    const listing = await fixture.raw(await fixture.sign({ path: `/${bucket}?list-type=2` }, fixture.device));
    expect(listing.status).toBe(200);
    for (const method of ['PUT', 'DELETE', 'POST']) {
      const request = { method, path: `/${bucket}/file`, body: '' };
      const response = await fixture.raw(await fixture.sign(request, fixture.device));
      expect([response.status, xmlField(response, 'Code')]).toEqual([403, 'AccessDenied']);
    }
  });

  test('a denied prefix is AccessDenied for it, not for the operator', async () => {
    fixture.s3.store.denied.add(`${bucket}/fi`);
    expect((await fixture.raw(await fixture.sign(get, fixture.device))).status).toBe(403);
    expect((await fixture.raw(await fixture.sign(get, fixture.operator))).status).toBe(200);
    fixture.s3.store.denied.clear();
  });

  test('without s3:ListBucket it is not told that a key is missing', async () => {
    const missing = { path: `/${bucket}/missing` };
    fixture.s3.store.hideMissing = true;
    const hidden = await fixture.raw(await fixture.sign(missing, fixture.device));
    fixture.s3.store.hideMissing = false;
    const shown = await fixture.raw(await fixture.sign(missing, fixture.device));
    expect([xmlField(hidden, 'Code'), xmlField(shown, 'Code')]).toEqual(['AccessDenied', 'NoSuchKey']);
    expect(xmlField(shown, 'Key')).toBe('missing');
  });
});

describe('a bucket in another region', () => {
  test('is a PermanentRedirect that names it, and is served to who signs for it', async () => {
    fixture.s3.store.createBucket('far-away', { region: 'eu-west-1' });
    await fixture.s3.store.put('far-away', 'file', 'far');
    const request = { path: '/far-away/file' };
    const response = await fixture.raw(await fixture.sign(request, fixture.device));
    expect([response.status, xmlField(response, 'Code')]).toEqual([301, 'PermanentRedirect']);
    expect(response.headers['x-amz-bucket-region']).toBe('eu-west-1');
    expect(response.headers['location']).toBeUndefined();
    expect(xmlField(response, 'Endpoint')).toBe('far-away.s3.eu-west-1.amazonaws.com');
    const signed = await fixture.sign(request, fixture.device, { region: 'eu-west-1' });
    expect((await fixture.raw(signed)).body.toString()).toBe('far');
  });
});
