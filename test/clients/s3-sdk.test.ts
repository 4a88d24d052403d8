/** `@aws-sdk/client-s3` where only a client that acts on the answers tells whether they are right. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  NoSuchBucket,
  NoSuchKey,
  NotFound,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { bucketName as Bucket, region } from '../../src/sandbox/sandbox.ts';
import type { Session } from '../../src/sandbox/sessions.ts';
import { ClientsSandbox } from '../support/clients-sandbox.ts';
import { noise } from '../support/world.ts';

const versioned = 'versioned-files';
let clients: ClientsSandbox;
let operator: S3Client;

beforeAll(async () => {
  clients = await ClientsSandbox.start();
  clients.sandbox.s3.store.createBucket(versioned, { versioned: true });
  operator = clientOf(clients.sandbox.operator);
});
afterAll(async () => {
  operator.destroy();
  await clients.close();
});

function clientOf(credentials: Session, options: S3ClientConfig = {}): S3Client {
  const { s3, pki } = clients.sandbox;
  const requestHandler = { httpsAgent: new Agent({ ca: pki.caCert }) };
  return new S3Client({ ...{ endpoint: s3.url, region, credentials, requestHandler }, ...options });
}

/** A client with the session of a device, whom the faults are for. */
function deviceClient(options: S3ClientConfig = {}): S3Client {
  return clientOf(clients.sandbox.sessions.issue('test-thing', Date.now() + 3_600_000), options);
}

async function textOf(client: S3Client, input: ConstructorParameters<typeof GetObjectCommand>[0]) {
  const { Body } = await client.send(new GetObjectCommand(input));
  return await Body?.transformToString();
}

describe('errors are those that the SDK has classes for', () => {
  test('a missing key is NoSuchKey, for HEAD NotFound, and a missing bucket NoSuchBucket', async () => {
    const missing = { Bucket, Key: 'missing' };
    await expect(operator.send(new GetObjectCommand(missing))).rejects.toBeInstanceOf(NoSuchKey);
    await expect(operator.send(new HeadObjectCommand(missing))).rejects.toBeInstanceOf(NotFound);
    const elsewhere = new GetObjectCommand({ Bucket: 'no-such-bucket', Key: 'x' });
    await expect(operator.send(elsewhere)).rejects.toBeInstanceOf(NoSuchBucket);
  });

  test('a range or condition that cannot be met has its code, and what it is about', async () => {
    const { ETag } = await operator.send(new PutObjectCommand({ Bucket, Key: 'ten', Body: '0123456789' }));
    const ten = { Bucket, Key: 'ten' };
    await expect(textOf(operator, { ...ten, Range: 'bytes=10-' })).rejects.toMatchObject({
      ...{ name: 'InvalidRange', ActualObjectSize: '10', $metadata: { httpStatusCode: 416 } },
    });
    await expect(textOf(operator, { ...ten, IfMatch: '"other"' })).rejects.toMatchObject({
      ...{ name: 'PreconditionFailed', Condition: 'If-Match', $metadata: { httpStatusCode: 412 } },
    });
    await expect(textOf(operator, { ...ten, IfNoneMatch: ETag })).rejects.toMatchObject({
      $metadata: { httpStatusCode: 304 },
    });
    const part = await operator.send(new GetObjectCommand({ ...ten, Range: 'bytes=3-5', IfMatch: ETag }));
    expect([part.ContentRange, part.ContentLength]).toEqual(['bytes 3-5/10', 3]);
    expect(await part.Body?.transformToString()).toBe('345');
  });
});

describe('versions', () => {
  test('are copied, read and deleted by their ids', async () => {
    const key = { Bucket: versioned, Key: 'a key/é' };
    const one = await operator.send(new PutObjectCommand({ ...key, Body: 'one' }));
    const two = await operator.send(new PutObjectCommand({ ...key, Body: 'two' }));
    const CopySource = `${versioned}/${encodeURI(key.Key)}?versionId=${one.VersionId}`;
    const copied = await operator.send(new CopyObjectCommand({ ...key, CopySource }));
    expect(copied.CopySourceVersionId).toBe(one.VersionId);
    expect(await textOf(operator, key)).toBe('one');
    const { UploadId } = await operator.send(new CreateMultipartUploadCommand(key));
    const part = { ...key, UploadId, PartNumber: 1, CopySource };
    const { CopySourceVersionId } = await operator.send(new UploadPartCopyCommand(part));
    expect(CopySourceVersionId).toBe(one.VersionId);

    const Objects = [copied, two].map(({ VersionId }) => ({ Key: key.Key, VersionId }));
    const deleted = await operator.send(
      new DeleteObjectsCommand({ Bucket: versioned, Delete: { Objects: [...Objects, { Key: key.Key }] } }),
    );
    expect(deleted.Deleted?.map(({ DeleteMarker = false }) => DeleteMarker)).toEqual([false, false, true]);
    await expect(textOf(operator, key)).rejects.toBeInstanceOf(NoSuchKey);
    await expect(textOf(operator, { ...key, VersionId: two.VersionId })).rejects.toMatchObject({
      name: 'NoSuchVersion',
    });
    expect(await textOf(operator, { ...key, VersionId: one.VersionId })).toBe('one');
  });
});

test('a multipart upload under an odd key has one object as its outcome', async () => {
  const content = noise(6_000_000);
  const upload = { Bucket, Key: 'multi part/é+%41//<&>.bin' };
  const { UploadId, Key } = await operator.send(new CreateMultipartUploadCommand(upload));
  expect(Key).toBe(upload.Key);
  const Parts = [];
  for (const [index, Body] of [content.subarray(0, 5_500_000), content.subarray(5_500_000)].entries()) {
    const part = { ...upload, UploadId, PartNumber: index + 1, Body };
    const { ETag, ChecksumCRC32 } = await operator.send(new UploadPartCommand(part));
    Parts.push({ PartNumber: index + 1, ETag, ChecksumCRC32 });
  }
  const complete = { ...upload, UploadId, MultipartUpload: { Parts } };
  const done = await operator.send(new CompleteMultipartUploadCommand(complete));
  expect([done.Bucket, done.Key]).toEqual([Bucket, upload.Key]);
  const got = await operator.send(new GetObjectCommand(upload));
  expect(Buffer.from((await got.Body?.transformToByteArray()) ?? []).equals(content)).toBe(true);
});

describe('what the SDK does about trouble', () => {
  test('it repeats what SlowDown refused', async () => {
    await clients.sandbox.s3.store.put(Bucket, 'busy', 'at last');
    clients.sandbox.faults.set('s3-503', 1, 2);
    expect(await textOf(deviceClient(), { Bucket, Key: 'busy' })).toBe('at last');
  });

  test('it sets its clock by the answer that calls it skewed', async () => {
    await clients.sandbox.s3.store.put(Bucket, 'late', 'in time');
    clients.sandbox.faults.set('s3-skew', 3600);
    try {
      expect(await textOf(deviceClient(), { Bucket, Key: 'late' })).toBe('in time');
    } finally {
      clients.sandbox.faults.clear();
    }
  });

  test('it follows a redirect to the region of the bucket', async () => {
    clients.sandbox.s3.store.createBucket('far-away', { region: 'eu-west-1' });
    await clients.sandbox.s3.store.put('far-away', 'key', 'found');
    const following = clientOf(clients.sandbox.operator, { followRegionRedirects: true });
    expect(await textOf(following, { Bucket: 'far-away', Key: 'key' })).toBe('found');
  });

  test('it notices by the checksum that an object was damaged', async () => {
    const body = 'whole and undamaged';
    await operator.send(new PutObjectCommand({ Bucket, Key: 'damaged', Body: body }));
    const blobs = clients.path('s3/blobs');
    for (const name of await readdir(blobs)) {
      const path = `${blobs}/${name}`;
      if ((await readFile(path, 'latin1')) === body)
        await writeFile(path, body.replace('undamaged', 'corrupted'));
    }
    await expect(textOf(operator, { Bucket, Key: 'damaged' })).rejects.toThrow(/checksum/i);
  });

  test('it is told at once that its session has ended', async () => {
    await clients.sandbox.s3.store.put(Bucket, 'secret', 'x');
    const client = deviceClient();
    clients.sandbox.sessions.expireAll();
    await expect(textOf(client, { Bucket, Key: 'secret' })).rejects.toMatchObject({ name: 'ExpiredToken' });
  });
});
