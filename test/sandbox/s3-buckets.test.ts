import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createHash, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  GetBucketLocationCommand,
  GetBucketVersioningCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  ListPartsCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { bucket, type S3Fixture, startS3Fixture } from '../support/s3-fixture.ts';

let fixture: S3Fixture;
let client: S3Client;
const mebibyte = 1024 * 1024;

beforeAll(async () => {
  fixture = await startS3Fixture();
  client = fixture.client(fixture.operator);
});
afterAll(async () => {
  client.destroy();
  await fixture.close();
});

test('buckets are made, listed, asked about and deleted', async () => {
  await client.send(new CreateBucketCommand({ Bucket: 'made-here' }));
  const LocationConstraint = 'eu-west-1' as const;
  await client.send(
    new CreateBucketCommand({ Bucket: 'made-there', CreateBucketConfiguration: { LocationConstraint } }),
  );
  const { Buckets = [] } = await client.send(new ListBucketsCommand());
  expect(Buckets.map(({ Name }) => Name)).toEqual([bucket, 'made-here', 'made-there']);
  const head = await client.send(new HeadBucketCommand({ Bucket: 'made-here' }));
  expect(head.BucketRegion).toBe('us-east-1');
  const location = await client.send(new GetBucketLocationCommand({ Bucket: 'made-here' }));
  expect(location.LocationConstraint ?? '').toBe('');
  const versioning = await client.send(new GetBucketVersioningCommand({ Bucket: 'made-here' }));
  expect(versioning.Status).toBeUndefined();
  await fixture.s3.store.put('made-here', 'key', 'x');
  const remove = new DeleteBucketCommand({ Bucket: 'made-here' });
  await expect(client.send(remove)).rejects.toMatchObject({ name: 'BucketNotEmpty' });
  await fixture.s3.store.delete('made-here', 'key');
  await client.send(remove);
  await expect(client.send(new ListObjectsV2Command({ Bucket: 'made-here' }))).rejects.toMatchObject({
    name: 'NoSuchBucket',
  });
  await expect(client.send(new CreateBucketCommand({ Bucket: bucket }))).rejects.toMatchObject({
    name: 'BucketAlreadyOwnedByYou',
  });
});

test('what the sandbox does not have is NotImplemented, not silence', async () => {
  await fixture.s3.store.put(bucket, 'tagged', 'x');
  await expect(
    client.send(new GetObjectTaggingCommand({ Bucket: bucket, Key: 'tagged' })),
  ).rejects.toMatchObject({ name: 'NotImplemented', $metadata: { httpStatusCode: 501 } });
});

test('listings roll up common prefixes and go on over pages without loss', async () => {
  fixture.s3.store.createBucket('lists');
  const keys = ['a', 'b/', 'b/1', 'b/2/x', 'c & <d>', 'd//e', 'é', 'z/1', 'z/2', '\u{1F680}', '\uFFFD'];
  for (const key of keys) await fixture.s3.store.put('lists', key, key);
  const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

  for (const MaxKeys of [1, 2, 3, 1000]) {
    const flat: string[] = [];
    const rolled: string[] = [];
    for (const [Delimiter, into] of [
      [undefined, flat],
      ['/', rolled],
    ] as const) {
      let ContinuationToken: string | undefined;
      do {
        const page: Awaited<ReturnType<typeof listPage>> = await listPage({
          ...{ Bucket: 'lists', MaxKeys, Delimiter, ContinuationToken, EncodingType: 'url' as const },
        });
        const { Contents = [], CommonPrefixes = [] } = page;
        expect(page.KeyCount).toBe(Contents.length + CommonPrefixes.length);
        into.push(
          ...Contents.map(({ Key }) => decodeURIComponent(Key ?? '')),
          ...CommonPrefixes.map(({ Prefix }) => `${decodeURIComponent(Prefix ?? '')}*`),
        );
        ContinuationToken = page.NextContinuationToken;
        expect(page.IsTruncated).toBe(ContinuationToken !== undefined);
      } while (ContinuationToken !== undefined);
    }
    expect(flat).toEqual(sorted);
    expect(new Set(rolled)).toEqual(
      new Set(['a', 'b/*', 'c & <d>', 'd/*', 'z/*', 'é', '\uFFFD', '\u{1F680}']),
    );
    expect(rolled.length).toBe(8);
  }
});

async function listPage(input: ConstructorParameters<typeof ListObjectsV2Command>[0]) {
  return await client.send(new ListObjectsV2Command(input));
}

test('listings take a prefix and a start, and are escaped without url encoding', async () => {
  const inB = await listPage({ Bucket: 'lists', Prefix: 'b/', Delimiter: '/' });
  expect(inB.Contents?.map(({ Key }) => Key)).toEqual(['b/', 'b/1']);
  expect(inB.CommonPrefixes).toEqual([{ Prefix: 'b/2/' }]);
  const late = await listPage({ Bucket: 'lists', StartAfter: 'z/1', MaxKeys: 1 });
  expect(late.Contents?.map(({ Key }) => Key)).toEqual(['z/2']);
  const odd = await listPage({ Bucket: 'lists', Prefix: 'c ' });
  expect(odd.Contents?.[0]).toMatchObject({ Key: 'c & <d>', Size: 7, StorageClass: 'STANDARD' });
  const old = await client.send(new ListObjectsCommand({ Bucket: 'lists', Marker: 'z/', Delimiter: '/' }));
  expect(old.Contents?.map(({ Key }) => Key)).toEqual(['é', '\uFFFD', '\u{1F680}']);
});

test('versions and delete markers are listed newest first, over pages', async () => {
  fixture.s3.store.createBucket('versions', { versioned: true });
  for (const text of ['1', '2', '3']) await fixture.s3.store.put('versions', 'key', text);
  await fixture.s3.store.delete('versions', 'key');
  await fixture.s3.store.put('versions', 'other', 'x');
  const seen: string[] = [];
  let KeyMarker: string | undefined;
  let VersionIdMarker: string | undefined;
  do {
    const page: Awaited<ReturnType<typeof versionsPage>> = await versionsPage(KeyMarker, VersionIdMarker);
    for (const { Key, IsLatest } of page.DeleteMarkers ?? []) seen.push(`${Key} deleted ${IsLatest}`);
    for (const { Key, IsLatest } of page.Versions ?? []) seen.push(`${Key} ${IsLatest}`);
    KeyMarker = page.NextKeyMarker;
    VersionIdMarker = page.NextVersionIdMarker;
  } while (KeyMarker !== undefined);
  expect(seen).toEqual(['key deleted true', 'key false', 'key false', 'key false', 'other true']);
});

async function versionsPage(KeyMarker: string | undefined, VersionIdMarker: string | undefined) {
  return await client.send(
    new ListObjectVersionsCommand({ Bucket: 'versions', MaxKeys: 2, KeyMarker, VersionIdMarker }),
  );
}

async function startUpload(Key: string, options: { ChecksumAlgorithm?: 'SHA256' | 'CRC32' } = {}) {
  const { UploadId } = await client.send(
    new CreateMultipartUploadCommand({ Bucket: bucket, Key, ContentType: 'text/x-parts', ...options }),
  );
  return { Bucket: bucket, Key, UploadId };
}

test('a multipart upload joins its parts, with an ETag of their MD5s and a composite checksum', async () => {
  const content = randomBytes(12 * mebibyte);
  const upload = await startUpload('parts', { ChecksumAlgorithm: 'SHA256' });
  const slices = [0, 5, 10].map((start) => content.subarray(start * mebibyte, (start + 5) * mebibyte));
  const Parts = [];
  for (const [index, Body] of slices.entries()) {
    const part = { PartNumber: index + 1, ChecksumAlgorithm: 'SHA256' as const };
    const { ETag, ChecksumSHA256 } = await client.send(new UploadPartCommand({ ...upload, ...part, Body }));
    Parts.push({ PartNumber: index + 1, ETag, ChecksumSHA256 });
  }
  const listed = await client.send(new ListPartsCommand({ ...upload, MaxParts: 2 }));
  expect(listed.Parts?.map(({ PartNumber, Size }) => [PartNumber, Size])).toEqual([
    [1, 5 * mebibyte],
    [2, 5 * mebibyte],
  ]);
  expect(listed.IsTruncated).toBe(true);
  const uploads = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  expect(uploads.Uploads?.map(({ Key }) => Key)).toEqual(['parts']);

  const done = await client.send(
    new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }),
  );
  const digests = (algorithm: string) => {
    const all = slices.map((slice) => createHash(algorithm).update(slice).digest());
    return createHash(algorithm).update(Buffer.concat(all));
  };
  expect(done.ETag).toBe(`"${digests('md5').digest('hex')}-3"`);
  expect(done.ChecksumSHA256).toBe(`${digests('sha256').digest('base64')}-3`);
  expect(done.ChecksumType).toBe('COMPOSITE');
  const { object, file } = await fixture.s3.store.get(bucket, 'parts');
  expect((await file.readFile()).equals(content)).toBe(true);
  await file.close();
  expect(object.headers['content-type']).toBe('text/x-parts');
  expect(fixture.events.at(-1)).toMatchObject({
    ...{ key: 'parts', size: 12 * mebibyte, eventName: 'ObjectCreated:CompleteMultipartUpload' },
  });
  await expect(client.send(new ListPartsCommand(upload))).rejects.toMatchObject({ name: 'NoSuchUpload' });
});

test('a multipart upload with small, wrong or unordered parts is refused and can still be aborted', async () => {
  const files = async () => (await readdir(join(fixture.dir, 'blobs'))).length;
  const before = await files();
  const upload = await startUpload('refused');
  const eTags = [];
  for (const PartNumber of [1, 2]) {
    const part = await client.send(new UploadPartCommand({ ...upload, PartNumber, Body: 'small' }));
    eTags.push(part.ETag);
  }
  const [one, two] = eTags;
  const complete = (Parts: Array<{ PartNumber: number; ETag: string | undefined }>) =>
    client.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }));
  const first = { PartNumber: 1, ETag: one };
  const second = { PartNumber: 2, ETag: two };
  await expect(complete([first, second])).rejects.toMatchObject({ name: 'EntityTooSmall' });
  await expect(complete([second, first])).rejects.toMatchObject({ name: 'InvalidPartOrder' });
  await expect(complete([{ ...first, ETag: '"wrong"' }])).rejects.toMatchObject({ name: 'InvalidPart' });
  await expect(complete([{ PartNumber: 3, ETag: one }])).rejects.toMatchObject({ name: 'InvalidPart' });
  await client.send(new AbortMultipartUploadCommand(upload));
  expect(await files()).toBe(before);
  expect(() => fixture.s3.store.head(bucket, 'refused')).toThrow();
});

test('a part can be copied from a range of an object', async () => {
  await fixture.s3.store.put(bucket, 'source', '0123456789');
  const upload = await startUpload('copied', { ChecksumAlgorithm: 'CRC32' });
  const { CopyPartResult } = await client.send(
    new UploadPartCopyCommand({
      ...{ ...upload, PartNumber: 1, CopySource: `${bucket}/source`, CopySourceRange: 'bytes=2-4' },
    }),
  );
  const Parts = [{ PartNumber: 1, ETag: CopyPartResult?.ETag }];
  await client.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }));
  const { file } = await fixture.s3.store.get(bucket, 'copied');
  expect((await file.readFile()).toString()).toBe('234');
  await file.close();
});
