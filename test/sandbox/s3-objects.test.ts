import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { connect } from 'node:tls';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { encodeUri } from '../../src/sandbox/s3/address.ts';
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

const oddKeys = [
  'plain.txt',
  'with space',
  'a+b',
  '100%',
  '%41',
  '%2F',
  'what?',
  'a#b',
  "!'()*~-_.",
  'back\\slash',
  'a&b=c;d:e@f,g$h',
  '日本語/ファイル.bin',
  'e\u0301 and \u00e9',
  '🚀',
  'tab\there',
  '<xml>&"\'',
  'double//slash',
  'trailing/',
  '"quoted"',
];
/** Keys that URL parsers fold, so that only raw requests tell them apart. */
const foldedKeys = ['/leading', '//leading', 'a/../b', 'a/./b', '../up', '.', '..', 'b', 'leading'];

async function putText(Key: string, Body: string): Promise<void> {
  await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
}

async function getText(Key: string, VersionId?: string): Promise<string | undefined> {
  const answer = await client.send(
    new GetObjectCommand({ Bucket: bucket, Key, ...(VersionId === undefined ? {} : { VersionId }) }),
  );
  return await answer.Body?.transformToString();
}

async function rawGet(path: string, headers: Record<string, string> = {}) {
  return await fixture.raw(await fixture.sign({ path, headers }, fixture.operator));
}

describe('keys', () => {
  test('that are odd are stored and read by the SDK, each an object of its own', async () => {
    for (const key of oddKeys) await putText(key, `content of ${key}`);
    for (const key of oddKeys) expect(await getText(key)).toBe(`content of ${key}`);
    for (const key of oddKeys) expect(fixture.s3.store.head(bucket, key).key).toBe(key);
  });

  test('that URL parsers fold are objects of their own, too', async () => {
    for (const key of foldedKeys) await fixture.s3.store.put(bucket, key, `content of ${key}`);
    for (const key of foldedKeys) {
      const response = await rawGet(`/${bucket}/${key}`);
      expect([response.status, response.body.toString()]).toEqual([200, `content of ${key}`]);
    }
    expect((await rawGet(`/${bucket}/a/x/b`)).status).toBe(404);
  });

  test('with encoded dots name the same object as with bare ones', async () => {
    await fixture.s3.store.put(bucket, 'dots/../x', 'dots');
    const signed = await fixture.sign({ path: `/${bucket}/dots/../x` }, fixture.operator);
    const response = await fixture.raw({ ...signed, path: `/${bucket}/dots/%2e%2e/x` });
    expect(response.body.toString()).toBe('dots');
  });

  test('in requests to a virtual host need no bucket in the path', async () => {
    await fixture.s3.store.put(bucket, '/hosted/../key', 'hosted');
    const headers = { host: `${bucket}.s3.us-east-1.amazonaws.com` };
    const response = await rawGet('//hosted/../key', headers);
    expect([response.status, response.body.toString()]).toEqual([200, 'hosted']);
    const local = await rawGet('//hosted/../key', { host: `${bucket}.localhost:${fixture.s3.port}` });
    expect(local.body.toString()).toBe('hosted');
  });

  test('over 1024 bytes are KeyTooLongError, and a bad escape is InvalidURI', async () => {
    const long = await rawGet(`/${bucket}/${'k'.repeat(1025)}`);
    expect([long.status, xmlField(long, 'Code')]).toEqual([400, 'KeyTooLongError']);
    const bad = await rawGet(`/${bucket}/%zz`);
    expect([bad.status, xmlField(bad, 'Code')]).toEqual([400, 'InvalidURI']);
  });
});

describe('what is stored', () => {
  test('comes back with its metadata, headers, ETag and the checksum that the SDK chose', async () => {
    const Body = 'some text';
    const put = await client.send(
      new PutObjectCommand({
        ...{ Bucket: bucket, Key: 'meta', Body, ContentType: 'text/plain', ContentEncoding: 'gzip' },
        ...{ CacheControl: 'no-cache', Metadata: { sha256: 'abc', 'two-words': 'x y' } },
      }),
    );
    const eTag = `"${createHash('md5').update(Body).digest('hex')}"`;
    expect(put.ETag).toBe(eTag);
    const head = await client.send(
      new HeadObjectCommand({ Bucket: bucket, Key: 'meta', ChecksumMode: 'ENABLED' }),
    );
    expect(head).toMatchObject({
      ...{ ETag: eTag, ContentLength: 9, ContentType: 'text/plain', ContentEncoding: 'gzip' },
      ...{ CacheControl: 'no-cache', Metadata: { sha256: 'abc', 'two-words': 'x y' } },
      ...{ AcceptRanges: 'bytes', ServerSideEncryption: 'AES256', ChecksumType: 'FULL_OBJECT' },
    });
    expect(head.ChecksumCRC32).toBe(put.ChecksumCRC32 ?? 'missing');
  });

  test('loses the aws-chunked of a streamed upload, whose trailing checksum is verified', async () => {
    const Body = Readable.from(Array.from({ length: 40 }, () => Buffer.from('streamed'.repeat(1000))));
    await client.send(
      new PutObjectCommand({ Bucket: bucket, Key: 'streamed', Body, ContentLength: 320_000 }),
    );
    const object = fixture.s3.store.head(bucket, 'streamed');
    expect([object.size, object.headers['content-encoding'], object.checksum.algorithm]).toEqual([
      320_000,
      undefined,
      'crc32',
    ]);
  });

  for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const) {
    test(`may be checked by ${ChecksumAlgorithm}`, async () => {
      const Key = `checked-${ChecksumAlgorithm}`;
      await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: '123456789', ChecksumAlgorithm }));
      const stored: string = fixture.s3.store.head(bucket, Key).checksum.algorithm;
      expect(stored).toBe(ChecksumAlgorithm.toLowerCase());
      expect(await getText(Key)).toBe('123456789');
    });
  }

  test('with a wrong checksum or MD5 is BadDigest and leaves no file', async () => {
    const files = async () => (await readdir(join(fixture.dir, 'blobs'))).length;
    const before = await files();
    const wrong = { ContentMD5: createHash('md5').update('other').digest('base64') };
    const put = { Bucket: bucket, Key: 'bad', Body: 'text' };
    await expect(client.send(new PutObjectCommand({ ...put, ...wrong }))).rejects.toMatchObject({
      name: 'BadDigest',
    });
    const crc = { ChecksumCRC32: 'AAAAAA==' };
    await expect(client.send(new PutObjectCommand({ ...put, ...crc }))).rejects.toMatchObject({
      name: 'BadDigest',
    });
    expect(await files()).toBe(before);
  });

  test('is announced with an ascending sequencer, once it is visible', async () => {
    const from = fixture.events.length;
    await putText('announced', 'one');
    await putText('announced', 'two');
    const events = fixture.events.slice(from);
    expect(events.map(({ key, size, eventName }) => [key, size, eventName])).toEqual([
      ['announced', 3, 'ObjectCreated:Put'],
      ['announced', 3, 'ObjectCreated:Put'],
    ]);
    const [one, two] = events;
    expect(String(one?.sequencer) < String(two?.sequencer)).toBe(true);
    expect(two?.eTag).toBe(createHash('md5').update('two').digest('hex'));
  });

  test('stays when If-None-Match: * or If-Match forbid a write', async () => {
    await putText('guarded', 'first');
    const put = { Bucket: bucket, Key: 'guarded', Body: 'second' };
    for (const condition of [{ IfNoneMatch: '*' }, { IfMatch: '"other"' }]) {
      await expect(client.send(new PutObjectCommand({ ...put, ...condition }))).rejects.toMatchObject({
        name: 'PreconditionFailed',
      });
    }
    expect(await getText('guarded')).toBe('first');
  });

  test('can be copied, with its metadata or with new', async () => {
    const Metadata = { colour: 'red' };
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'source é+', Body: 'copy me', Metadata }));
    const CopySource = `${bucket}/${encodeUri('source é+')}`;
    await client.send(new CopyObjectCommand({ Bucket: bucket, Key: 'copy', CopySource }));
    expect(await getText('copy')).toBe('copy me');
    expect(fixture.s3.store.head(bucket, 'copy').metadata).toEqual(Metadata);
    expect(fixture.events.at(-1)?.eventName).toBe('ObjectCreated:Copy');
    const replace = { MetadataDirective: 'REPLACE', Metadata: { colour: 'blue' } } as const;
    await client.send(new CopyObjectCommand({ Bucket: bucket, Key: 'copy', CopySource, ...replace }));
    expect(fixture.s3.store.head(bucket, 'copy').metadata).toEqual({ colour: 'blue' });
  });

  test('can be deleted, one by one and many at once', async () => {
    for (const key of ['d/1', 'd/2', 'd/& <3>']) await putText(key, 'x');
    await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'd/1' }));
    const many = await client.send(
      new DeleteObjectsCommand({
        Bucket: bucket,
        Delete: { Objects: [{ Key: 'd/2' }, { Key: 'd/& <3>' }, { Key: 'd/never' }] },
      }),
    );
    expect(many.Deleted?.map(({ Key }) => Key)).toEqual(['d/2', 'd/& <3>', 'd/never']);
    await expect(getText('d/2')).rejects.toMatchObject({ name: 'NoSuchKey' });
    expect(fixture.s3.store.list(bucket).filter(({ key }) => key.startsWith('d/'))).toEqual([]);
  });
});

test('a client that expects 100-continue is asked for its body only when the signature is right', async () => {
  const request = { method: 'PUT', path: `/${bucket}/expected`, body: 'the body' };
  const signed = await fixture.sign(request, fixture.operator);
  const lines = { ...signed.headers, expect: '100-continue', 'content-length': '8', connection: 'close' };
  for (const secret of ['right', 'wrong']) {
    const socket = connect({ host: '127.0.0.1', port: fixture.s3.port, rejectUnauthorized: false });
    const target = secret === 'right' ? request.path : `${request.path}-other`;
    const head = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`PUT ${target} HTTP/1.1\r\n${head.join('')}\r\n`);
    const statuses: string[] = [];
    for await (const chunk of socket) {
      const found: string[] = String(chunk).match(/HTTP\/1\.1 \d+/g) ?? [];
      statuses.push(...found.map((line) => line.slice(-3)));
      if (found.includes('HTTP/1.1 100')) socket.write('the body');
    }
    expect(statuses).toEqual(secret === 'right' ? ['100', '200'] : ['403']);
  }
  expect(fixture.s3.store.head(bucket, 'expected').size).toBe(8);
});
