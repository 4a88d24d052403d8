/** How the publisher finds out what was uploaded, with AWS's client on a transport that is played. */
import { expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { S3Client } from '@aws-sdk/client-s3';
import type { Upload } from '../../src/cloud/events.ts';
import { inspect } from '../../src/cloud/object.ts';

const upload: Upload = {
  bucket: 'bucket',
  key: 'a b+c',
  versionId: null,
  sequencer: '00',
  uploadedAt: '2019-09-03T19:37:27.192Z',
};

interface Answer {
  statusCode: number;
  headers?: Record<string, string>;
  body?: Readable;
}

/** A client whose requests are answered by method, and the requests that it made. */
function played(answers: Record<string, Answer>) {
  const requests: Array<{ method: string; path: string; query: Record<string, unknown> }> = [];
  const client = new S3Client({
    region: 'us-east-1',
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' },
    maxAttempts: 1,
    requestHandler: {
      handle: async (request: { method: string; path: string; query: Record<string, unknown> }) => {
        requests.push(request);
        const answer = answers[request.method] ?? { statusCode: 500 };
        return { response: { headers: {}, body: Readable.from([]), ...answer } };
      },
    },
  });
  return { client, requests };
}

/** A stream of zeros that makes its bytes as they are asked for. */
function zeros(bytes: number): Readable {
  const chunk = Buffer.alloc(1024 * 1024);
  return Readable.from(
    (function* () {
      for (let left = bytes; left > 0; left -= chunk.length)
        yield chunk.subarray(0, Math.min(left, chunk.length));
    })(),
  );
}

function sha256OfZeros(bytes: number): string {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(1024 * 1024);
  for (let left = bytes; left > 0; left -= chunk.length)
    hash.update(chunk.subarray(0, Math.min(left, chunk.length)));
  return hash.digest('hex');
}

const digest = createHash('sha256').update('hoge\n').digest();

test('the SHA-256 that S3 keeps of a whole object is taken, and nothing is read', async () => {
  for (const type of [{ 'x-amz-checksum-type': 'FULL_OBJECT' }, {}]) {
    const headers = { 'content-length': '5', 'x-amz-checksum-sha256': digest.toString('base64'), ...type };
    const { client, requests } = played({ HEAD: { statusCode: 200, headers } });
    expect(await inspect(client, upload)).toEqual({ hash: digest.toString('hex'), size: 5 });
    expect(requests.map(({ method }) => method)).toEqual(['HEAD']);
  }
});

test('a checksum of checksums is none: the object is read', async () => {
  const base64 = digest.toString('base64');
  const composite: Array<Record<string, string>> = [
    { 'x-amz-checksum-sha256': `${base64}-2`, 'x-amz-checksum-type': 'COMPOSITE' },
    { 'x-amz-checksum-sha256': base64, 'x-amz-checksum-type': 'COMPOSITE' },
    { 'x-amz-checksum-sha256': `${base64}-2` },
    { 'x-amz-checksum-crc32': 'AAAAAA==' },
    {},
  ];
  for (const checksum of composite) {
    const headers = { 'content-length': '3' };
    const { client, requests } = played({
      HEAD: { statusCode: 200, headers: { ...headers, ...checksum } },
      GET: { statusCode: 200, headers, body: zeros(3) },
    });
    expect(await inspect(client, upload)).toEqual({ hash: sha256OfZeros(3), size: 3 });
    expect(requests.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
  }
});

test('the version of the upload is read where it has one', async () => {
  const answer = { statusCode: 200, headers: { 'content-length': '3' } };
  const { client, requests } = played({ HEAD: answer, GET: { ...answer, body: zeros(3) } });
  await inspect(client, { ...upload, versionId: 'v1' });
  expect(requests.map(({ query }) => query['versionId'])).toEqual(['v1', 'v1']);
  expect(requests[0]?.path).toBe('/a%20b%2Bc');
});

test('an object that is gone is nothing; other refusals are errors', async () => {
  const gone = played({ HEAD: { statusCode: 404 } });
  expect(await inspect(gone.client, upload)).toBeUndefined();
  const denied = played({ HEAD: { statusCode: 403 } });
  await expect(inspect(denied.client, upload)).rejects.toThrow();
  const answer = { statusCode: 200, headers: { 'content-length': '4' } };
  const cut = played({ HEAD: answer, GET: { ...answer, body: zeros(3) } });
  await expect(inspect(cut.client, upload)).rejects.toThrow();
});

test('5 GB are hashed as they come, in little memory', async () => {
  const size = 5_000_000_000;
  const headers = { 'content-length': String(size) };
  const { client } = played({
    HEAD: { statusCode: 200, headers },
    GET: { statusCode: 200, headers, body: zeros(size) },
  });
  const before = process.memoryUsage().rss;
  expect(await inspect(client, upload)).toEqual({
    // `head -c 5000000000 /dev/zero | sha256sum`
    hash: '750f9080de24a9e562c6b1fecc288c732a758003ab16e5cad014eba45c17466b',
    size,
  });
  expect(process.memoryUsage().rss - before).toBeLessThan(300_000_000);
}, 60_000);
