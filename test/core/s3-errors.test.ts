import { describe, expect, test } from 'bun:test';
import { type RefusedRequest, refuse } from '../../src/core/s3-errors.ts';
import type { S3Address, S3ErrorBody } from '../../src/core/s3-request.ts';

const aws: S3Address = { region: 'us-east-1', pathStyle: false, dualStack: false };
const own: S3Address = { ...aws, endpoint: 'https://127.0.0.1:9000', pathStyle: true };

/** An error answer, of which only what matters is told. */
function refused(
  status: number,
  body: Partial<S3ErrorBody> = {},
  changes: Partial<RefusedRequest> = {},
): ReturnType<typeof refuse> {
  return refuse({
    what: 'Cannot get it',
    status,
    body: { code: '', message: '', ...body },
    bucketRegion: null,
    location: null,
    date: null,
    bucket: 'examplebucket',
    address: aws,
    ...changes,
  });
}

describe('an error', () => {
  test('tells what failed, the status, the code and the words of S3', () => {
    expect(refused(403, { code: 'AccessDenied', message: 'Access Denied' }).error.message).toBe(
      'Cannot get it: HTTP 403 AccessDenied (Access Denied)',
    );
    expect(refused(500).error.message).toBe('Cannot get it: HTTP 500');
  });

  test.each([
    [500, 'InternalError', 'S3', 'soon'],
    [503, 'SlowDown', 'S3', 'soon'],
    [503, '', 'S3', 'soon'],
    [429, '', 'S3', 'soon'],
    [400, 'RequestTimeout', 'S3', 'soon'],
    [400, 'InvalidArgument', 'S3', 'slow'],
    [400, '', 'S3', 'slow'],
    [401, '', 'S3_DENIED', 'slow'],
    [403, 'AccessDenied', 'S3_DENIED', 'slow'],
    [403, 'SignatureDoesNotMatch', 'S3_DENIED', 'slow'],
    [403, 'InvalidObjectState', 'S3_DENIED', 'slow'],
    [404, 'NoSuchKey', 'S3_NOT_FOUND', 'slow'],
    [404, 'NoSuchBucket', 'S3_NOT_FOUND', 'slow'],
    [404, 'NoSuchVersion', 'S3_NOT_FOUND', 'slow'],
    [405, 'MethodNotAllowed', 'S3_NOT_FOUND', 'slow'],
  ] as const)('%i %s is %s, class %s, and has no remedy', (status, code, errorCode, retry) => {
    const { error, remedy } = refused(status, { code });
    expect([error.code, error.retry]).toEqual([errorCode, retry]);
    expect(remedy).toBeUndefined();
  });
});

describe('the hint of a denial', () => {
  const hintOf = (code: string) => refused(403, { code }).error.hint ?? '';

  test('names the permission, and that the object may not be uploaded yet', () => {
    for (const code of ['AccessDenied', 'AnyOther'])
      expect(hintOf(code)).toMatch(/s3:GetObject.*not uploaded yet/);
  });

  test('of a wrong signature names what may have changed the request, not the permission', () => {
    expect(hintOf('SignatureDoesNotMatch')).toMatch(/changed on its way.*"s3.endpoint"/);
    expect(hintOf('SignatureDoesNotMatch')).not.toContain('s3:GetObject');
  });

  test('of an archived object says how to restore it', () => {
    expect(hintOf('InvalidObjectState')).toMatch(/archived.*aws s3api restore-object/);
    expect(hintOf('InvalidObjectState')).not.toContain('s3:GetObject');
  });
});

describe('a session that has ended', () => {
  test.each([
    [400, 'ExpiredToken'],
    [400, 'InvalidToken'],
    [400, 'TokenRefreshRequired'],
    [403, 'InvalidAccessKeyId'],
  ])('(%i %s) is replaced; said again, it is slow', (status, code) => {
    const { error, remedy } = refused(status, { code });
    expect(remedy).toEqual({ mend: 'session' });
    expect([error.code, error.retry]).toEqual(['S3', 'slow']);
  });
});

describe('a clock that differs', () => {
  test('is mended with the time of S3', () => {
    const serverTime = '2026-01-01T00:00:00Z';
    const { error, remedy } = refused(403, { code: 'RequestTimeTooSkewed', serverTime });
    expect(remedy).toEqual({ mend: 'time', serverTime });
    expect(error.hint).toContain('clock');
  });

  test('is mended with the Date of the answer where its body tells no time', () => {
    const date = 'Thu, 01 Jan 2026 00:00:00 GMT';
    const { remedy } = refused(403, { code: 'RequestTimeTooSkewed' }, { date });
    expect(remedy).toEqual({ mend: 'time', serverTime: date });
  });

  test('cannot be mended where S3 does not tell its own', () => {
    expect(refused(403, { code: 'RequestTimeTooSkewed' }).remedy).toBeUndefined();
  });
});

describe('a bucket of another region', () => {
  test.each([
    ['301', 301, { code: 'PermanentRedirect' }, 'eu-west-1'],
    ['301 without a body', 301, {}, 'eu-west-1'],
    ['301 with the region in its body', 301, { region: 'eu-west-1' }, null],
    ['400', 400, { code: 'AuthorizationHeaderMalformed', region: 'eu-west-1' }, null],
    ['400 of an opt-in region', 400, { code: 'IllegalLocationConstraintException' }, 'eu-west-1'],
  ] as const)('is asked there: %s', (_, status, body, bucketRegion) => {
    const { error, remedy } = refused(status, body, { bucketRegion });
    expect(remedy).toEqual({ mend: 'region', region: 'eu-west-1' });
    expect(error.hint).toContain('"eu-west-1"');
  });

  test('the header outweighs the body', () => {
    const { remedy } = refused(301, { region: 'eu-west-2' }, { bucketRegion: 'eu-west-1' });
    expect(remedy).toEqual({ mend: 'region', region: 'eu-west-1' });
  });

  test('is not asked again where it already was', () => {
    const { error, remedy } = refused(301, {}, { bucketRegion: 'us-east-1' });
    expect(remedy).toBeUndefined();
    expect(error.retry).toBe('slow');
  });

  test.each(['eu west', 'EU-WEST-1', 'eu-west-1.evil.example', '../x', '', 'x'.repeat(41)])(
    'that is no name of a region (%p) is not believed',
    (bucketRegion) => {
      expect(refused(301, {}, { bucketRegion }).remedy).toBeUndefined();
    },
  );

  test.each([
    ['us-east-1', 'cn-north-1'],
    ['cn-north-1', 'us-east-1'],
    ['us-east-1', 'us-gov-west-1'],
    ['us-gov-west-1', 'us-east-1'],
    ['us-east-1', 'eusc-de-east-1'],
  ])('of another partition is named, but not asked: from %s to %s', (region, bucketRegion) => {
    const { error, remedy } = refused(301, {}, { bucketRegion, address: { ...aws, region } });
    expect(remedy).toBeUndefined();
    expect(error.hint).toContain(`"${bucketRegion}"`);
  });

  test.each([
    ['cn-north-1', 'cn-northwest-1'],
    ['us-gov-west-1', 'us-gov-east-1'],
  ])('stays within a partition that is not the default one: from %s to %s', (region, bucketRegion) => {
    const { remedy } = refused(301, {}, { bucketRegion, address: { ...aws, region } });
    expect(remedy).toEqual({ mend: 'region', region: bucketRegion });
  });
});

describe('a temporary redirect', () => {
  const redirected = (location: string | null, address = aws) =>
    refused(307, { code: 'TemporaryRedirect' }, { location, address });

  test.each([
    [
      'https://examplebucket.s3.eu-west-1.amazonaws.com/key',
      { endpoint: 'https://s3.eu-west-1.amazonaws.com', pathStyle: false, region: 'eu-west-1' },
    ],
    [
      'https://examplebucket.s3-eu-west-1.amazonaws.com/key',
      { endpoint: 'https://s3-eu-west-1.amazonaws.com', pathStyle: false, region: 'eu-west-1' },
    ],
    [
      'https://s3.eu-west-1.amazonaws.com/examplebucket/key',
      { endpoint: 'https://s3.eu-west-1.amazonaws.com', pathStyle: true, region: 'eu-west-1' },
    ],
    [
      'https://examplebucket.s3.dualstack.eu-west-1.amazonaws.com/key',
      { endpoint: 'https://s3.dualstack.eu-west-1.amazonaws.com', pathStyle: false, region: 'eu-west-1' },
    ],
    [
      'https://examplebucket.s3.amazonaws.com/key',
      { endpoint: 'https://s3.amazonaws.com', pathStyle: false, region: 'us-east-1' },
    ],
    [
      'https://examplebucket.s3-external-1.amazonaws.com/key',
      { endpoint: 'https://s3-external-1.amazonaws.com', pathStyle: false, region: 'us-east-1' },
    ],
  ])('to S3 of the same partition is followed: %s', (location, address) => {
    const { error, remedy } = redirected(location);
    expect(remedy).toEqual({ mend: 'redirect', address });
    expect([error.code, error.retry]).toEqual(['S3', 'slow']);
  });

  test.each([
    null,
    '',
    '/key',
    'https://',
    'https://evil.example/examplebucket/key',
    'https://s3.amazonaws.com.evil.example/key',
    'https://examplebucket.s3.evil.example/key',
    'https://evilamazonaws.com/key',
    'https://s3.evilamazonaws.com/key',
    'https://amazonaws.com/key',
    'https://evil-bucket.execute-api.us-east-1.amazonaws.com/key',
    'https://ec2-203-0-113-1.compute-1.amazonaws.com/key',
    'https://user@evil.example#.s3.amazonaws.com/key',
    'http://examplebucket.s3.eu-west-1.amazonaws.com/key',
    'https://examplebucket.s3.cn-north-1.amazonaws.com.cn/key',
    'https://examplebucket.s3.us-gov-west-1.amazonaws.com/key',
    'https://s3.us-east-1.amazonaws.com:8443/examplebucket/key',
    'https://otherbucket.s3.eu-west-1.amazonaws.com/examplebucket/key',
    'ftp://s3.amazonaws.com/key',
  ])('anywhere else (%p) is not followed', (location) => {
    const { error, remedy } = redirected(location);
    expect(remedy).toBeUndefined();
    expect([error.code, error.retry]).toEqual(['S3', 'slow']);
    expect(error.hint).toBeString();
  });

  test.each([
    ['cn-north-1', 's3.cn-northwest-1.amazonaws.com.cn', { region: 'cn-northwest-1' }],
    ['cn-north-1', 's3.eu-west-1.amazonaws.com', undefined],
    ['us-gov-west-1', 's3.us-gov-east-1.amazonaws.com', { region: 'us-gov-east-1' }],
    ['us-gov-west-1', 's3.us-east-1.amazonaws.com', undefined],
  ])('from %s to %s stays within the partition', (region, host, followed) => {
    const { remedy } = redirected(`https://examplebucket.${host}/key`, { ...aws, region });
    const address = { endpoint: `https://${host}`, pathStyle: false, ...followed };
    expect(remedy).toEqual(followed && { mend: 'redirect', address });
  });

  test('to the configured endpoint itself is followed, in either style', () => {
    const local: S3Address = { ...own, endpoint: 'https://s3.local:9000' };
    expect(redirected('https://127.0.0.1:9000/examplebucket/key', own).remedy).toEqual({
      mend: 'redirect',
      address: { pathStyle: true },
    });
    expect(redirected('https://examplebucket.s3.local:9000/key', local).remedy).toEqual({
      mend: 'redirect',
      address: { pathStyle: false },
    });
  });

  test.each([
    'https://127.0.0.1:9001/examplebucket/key',
    'https://localhost:9000/examplebucket/key',
    'http://127.0.0.1:9000/examplebucket/key',
    'https://examplebucket.s3.eu-west-1.amazonaws.com/key',
  ])('from an endpoint of our own to %s is not followed', (location) => {
    expect(redirected(location, own).remedy).toBeUndefined();
  });

  test.each([302, 303, 308])('by status %i is none that S3 makes: not followed', (status) => {
    const location = 'https://examplebucket.s3.eu-west-1.amazonaws.com/key';
    expect(refused(status, {}, { location }).remedy).toBeUndefined();
  });
});
