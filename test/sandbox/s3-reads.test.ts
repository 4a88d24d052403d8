import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { DeleteObjectCommand, PutBucketVersioningCommand, type S3Client } from '@aws-sdk/client-s3';
import { bucket, type S3Fixture, startS3Fixture, xmlField } from '../support/s3-fixture.ts';

let fixture: S3Fixture;
let client: S3Client;

beforeAll(async () => {
  fixture = await startS3Fixture();
  client = fixture.client(fixture.operator);
});
afterAll(async () => {
  client.destroy();
  await fixture.close();
});

async function rawGet(path: string, headers: Record<string, string> = {}) {
  return await fixture.raw(await fixture.sign({ path, headers }, fixture.operator));
}

describe('ranges', () => {
  const cases: Array<[range: string, status: number, body: string, contentRange: string | undefined]> = [
    ['bytes=0-8', 206, '012345678', 'bytes 0-8/10'],
    ['bytes=3-3', 206, '3', 'bytes 3-3/10'],
    ['bytes=4-', 206, '456789', 'bytes 4-9/10'],
    ['bytes=8-100', 206, '89', 'bytes 8-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=-100', 206, '0123456789', 'bytes 0-9/10'],
    ['bytes=5-2', 200, '0123456789', undefined],
    ['bytes=0-1,3-4', 200, '0123456789', undefined],
    ['bytes=-', 200, '0123456789', undefined],
    ['lines=0-1', 200, '0123456789', undefined],
    ['bytes=a-b', 200, '0123456789', undefined],
  ];
  for (const [range, status, body, contentRange] of cases) {
    test(`${range} of ten bytes is ${status} ${contentRange ?? 'with everything'}`, async () => {
      await fixture.s3.store.put(bucket, 'ten', '0123456789');
      const response = await rawGet(`/${bucket}/ten`, { range });
      expect([response.status, response.body.toString()]).toEqual([status, body]);
      expect(response.headers['content-range']).toEqual(contentRange);
      expect(response.headers['content-length']).toBe(String(body.length));
    });
  }

  for (const range of ['bytes=10-', 'bytes=10-12', 'bytes=-0']) {
    test(`${range} of ten bytes is InvalidRange`, async () => {
      await fixture.s3.store.put(bucket, 'ten', '0123456789');
      const response = await rawGet(`/${bucket}/ten`, { range });
      expect([response.status, xmlField(response, 'Code')]).toEqual([416, 'InvalidRange']);
      expect(xmlField(response, 'ActualObjectSize')).toBe('10');
      expect(xmlField(response, 'RangeRequested')).toBe(range);
    });
  }

  test('leave the checksum out, a whole object has it', async () => {
    await fixture.s3.store.put(bucket, 'ten', '0123456789');
    const mode = { 'x-amz-checksum-mode': 'ENABLED' };
    const part = await rawGet(`/${bucket}/ten`, { ...mode, range: 'bytes=1-' });
    const whole = await rawGet(`/${bucket}/ten`, mode);
    expect(part.headers['x-amz-checksum-crc64nvme']).toBeUndefined();
    expect(whole.headers['x-amz-checksum-crc64nvme']).toBeString();
    expect(whole.headers['x-amz-checksum-type']).toBe('FULL_OBJECT');
  });
});

describe('conditions', () => {
  const eTag = createHash('md5').update('0123456789').digest('hex');
  const past = new Date(Date.now() - 86_400_000).toUTCString();
  const future = new Date(Date.now() + 86_400_000).toUTCString();
  const cases: Array<[headers: Record<string, string>, status: number]> = [
    [{ 'if-match': `"${eTag}"` }, 200],
    [{ 'if-match': eTag }, 200],
    [{ 'if-match': '*' }, 200],
    [{ 'if-match': `"other", "${eTag}"` }, 200],
    [{ 'if-match': '"other"' }, 412],
    [{ 'if-match': '"other"', range: 'bytes=0-1' }, 412],
    [{ 'if-none-match': `"${eTag}"` }, 304],
    [{ 'if-none-match': eTag }, 304],
    [{ 'if-none-match': '"other"' }, 200],
    [{ 'if-none-match': `"${eTag}"`, range: 'bytes=10-' }, 304],
    [{ 'if-modified-since': past }, 200],
    [{ 'if-modified-since': future }, 304],
    [{ 'if-unmodified-since': past }, 412],
    [{ 'if-unmodified-since': future }, 200],
    [{ 'if-match': `"${eTag}"`, 'if-unmodified-since': past }, 200],
    [{ 'if-none-match': '"other"', 'if-modified-since': future }, 200],
  ];
  for (const [headers, status] of cases) {
    test(`${JSON.stringify(headers).replaceAll(eTag, 'ETAG')} is ${status}`, async () => {
      await fixture.s3.store.put(bucket, 'ten', '0123456789');
      const response = await rawGet(`/${bucket}/ten`, headers);
      expect(response.status).toBe(status);
      if (status === 304) expect([response.body.length, response.headers['etag']]).toEqual([0, `"${eTag}"`]);
      if (status === 412) expect(xmlField(response, 'Condition')).toStartWith('If-');
    });
  }
});

describe('versions', () => {
  beforeAll(async () => {
    fixture.s3.store.createBucket('versioned', { versioned: true });
  });

  async function rawVersion(key: string, versionId: string) {
    return await rawGet(`/versioned/${key}?versionId=${versionId}`);
  }

  test('are all kept, and a deleted object can be read by version', async () => {
    const one = await fixture.s3.store.put('versioned', 'v', 'one');
    const two = await fixture.s3.store.put('versioned', 'v', 'two');
    expect((await rawGet('/versioned/v')).headers['x-amz-version-id']).toBe(two.versionId);
    expect((await rawVersion('v', one.versionId)).body.toString()).toBe('one');
    expect(fixture.events.at(-1)?.versionId).toBe(two.versionId);

    const deleted = await client.send(new DeleteObjectCommand({ Bucket: 'versioned', Key: 'v' }));
    expect(deleted.DeleteMarker).toBe(true);
    const missing = await rawGet('/versioned/v');
    expect([missing.status, xmlField(missing, 'Code')]).toEqual([404, 'NoSuchKey']);
    expect(missing.headers['x-amz-delete-marker']).toBe('true');
    expect((await rawVersion('v', two.versionId)).body.toString()).toBe('two');
    const marker = await rawVersion('v', String(deleted.VersionId));
    expect([marker.status, xmlField(marker, 'Code')]).toEqual([405, 'MethodNotAllowed']);

    const VersionId = String(deleted.VersionId);
    await client.send(new DeleteObjectCommand({ Bucket: 'versioned', Key: 'v', VersionId }));
    expect((await rawGet('/versioned/v')).body.toString()).toBe('two');
  });

  test('that do not exist are NoSuchVersion, rubbish is InvalidArgument', async () => {
    await fixture.s3.store.put('versioned', 'v', 'one');
    const unknown = await rawVersion('v', 'x'.repeat(32));
    expect([unknown.status, xmlField(unknown, 'Code')]).toEqual([404, 'NoSuchVersion']);
    const rubbish = await rawVersion('v', 'rubbish');
    expect([rubbish.status, xmlField(rubbish, 'Code')]).toEqual([400, 'InvalidArgument']);
    expect(xmlField(rubbish, 'Message')).toBe('Invalid version id specified');
  });

  test('begin when a bucket is told to keep them; what was there is version null', async () => {
    fixture.s3.store.createBucket('later');
    await fixture.s3.store.put('later', 'key', 'before');
    await client.send(
      new PutBucketVersioningCommand({ Bucket: 'later', VersioningConfiguration: { Status: 'Enabled' } }),
    );
    await fixture.s3.store.put('later', 'key', 'after');
    expect((await rawGet('/later/key?versionId=null')).body.toString()).toBe('before');
    expect((await rawGet('/later/key')).body.toString()).toBe('after');
  });
});

test('a HEAD of a missing object has no body and is recorded', async () => {
  const request = { method: 'HEAD', path: `/${bucket}/missing`, headers: { range: 'bytes=1-' } };
  const response = await fixture.raw(await fixture.sign(request, fixture.operator));
  expect([response.status, response.body.length]).toEqual([404, 0]);
  expect(fixture.s3.requests.at(-1)).toEqual({
    ...{ method: 'HEAD', bucket, key: 'missing', versionId: undefined, range: 'bytes=1-' },
    ...{ ifMatch: undefined, ifNoneMatch: undefined, checksumMode: undefined },
    ...{ accessKeyId: fixture.operator.accessKeyId },
    ...{ status: 404, bytesSent: 0, code: 'NoSuchKey' },
  });
});
