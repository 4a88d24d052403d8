import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { parseAddress } from '../../src/sandbox/s3/address.ts';
import { checksumAlgorithms, createHasher } from '../../src/sandbox/s3/checksums.ts';
import { decodeChunks } from '../../src/sandbox/s3/chunked.ts';
import { parseXml, repeated, writeXml } from '../../src/sandbox/s3/xml.ts';
import { Verifier } from '../../src/sandbox/verifier.ts';
import { bucket, type S3Fixture, startS3Fixture, xmlField } from '../support/s3-fixture.ts';

describe('checksums', () => {
  /** Check values of the CRC catalogue, and of the digests by node:crypto. */
  const known = {
    crc32: 'cbf43926',
    crc32c: 'e3069283',
    crc64nvme: 'ae8b14860a799888',
    sha1: createHash('sha1').update('123456789').digest('hex'),
    sha256: createHash('sha256').update('123456789').digest('hex'),
  };
  for (const algorithm of checksumAlgorithms) {
    test(`${algorithm} has its check value however the bytes are split`, () => {
      for (let split = 0; split <= 9; split += 1) {
        const hasher = createHasher(algorithm);
        hasher.update(Buffer.from('123456789'.slice(0, split)));
        hasher.update(Buffer.from('123456789'.slice(split)));
        expect(hasher.digest().toString('hex')).toBe(known[algorithm]);
      }
    });
  }
});

describe('decodeChunks()', () => {
  const body = '4\r\nWiki\r\nA\r\n0123456789\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n';

  async function decode(pieces: string[]) {
    const trailers = new Map<string, string>();
    const source = (async function* () {
      for (const piece of pieces) yield Buffer.from(piece);
    })();
    const chunks: Uint8Array[] = [];
    for await (const chunk of decodeChunks(source, trailers)) chunks.push(chunk);
    return { text: Buffer.concat(chunks).toString(), trailers: Object.fromEntries(trailers) };
  }

  test('yields the same bytes and trailers at every split', async () => {
    const expected = { text: 'Wiki0123456789', trailers: { 'x-amz-checksum-crc32': 'AAAAAA==' } };
    for (let split = 0; split <= body.length; split += 1) {
      expect(await decode([body.slice(0, split), body.slice(split)])).toEqual(expected);
    }
    expect(await decode([...body])).toEqual(expected);
  });

  test('refuses a body that ends early or is not framed', async () => {
    for (let end = 0; end < body.length; end += 1) {
      await expect(decode([body.slice(0, end)])).rejects.toMatchObject({ code: 'IncompleteBody' });
    }
    for (const bad of [
      'zz\r\n',
      '4\r\nWikiXX',
      `${'1'.repeat(20_000)}`,
      '4\r\nWiki\r\n0\r\nnonsense\r\n\r\n',
    ]) {
      await expect(decode([bad])).rejects.toMatchObject({ code: 'IncompleteBody' });
    }
  });
});

describe('parseAddress()', () => {
  const cases: Array<[target: string, host: string, bucket: string | undefined, key: string | undefined]> = [
    ['/', '127.0.0.1:9000', undefined, undefined],
    ['/b', '127.0.0.1:9000', 'b', undefined],
    ['/b/', 'localhost', 'b', undefined],
    ['/b/k', '[::1]:9000', 'b', 'k'],
    ['/b//k', 's3.us-east-1.amazonaws.com', 'b', '/k'],
    ['/b/a%2Fb?x=%2F', 's3-fips.us-east-1.amazonaws.com', 'b', 'a/b'],
    ['/b/a%2Bb+c', '127.0.0.1', 'b', 'a+b c'],
    ['/k/l', 'b.localhost:9000', 'b', 'k/l'],
    ['//k', 'b.with.dots.s3.eu-west-1.amazonaws.com', 'b.with.dots', '/k'],
    ['/', 'b.s3.dualstack.eu-west-1.amazonaws.com', 'b', undefined],
  ];
  for (const [target, host, expectedBucket, key] of cases) {
    test(`finds ${expectedBucket} and ${key} in ${target} at ${host}`, () => {
      expect(parseAddress(target, host)).toMatchObject({ bucket: expectedBucket, key });
    });
  }

  test('re-encodes the path as it is to be signed', () => {
    expect(parseAddress("/b/a!'(é)/..//%7e%2b", '127.0.0.1').canonicalPath).toBe(
      '/b/a%21%27%28%C3%A9%29/..//~%2B',
    );
  });
});

describe('XML', () => {
  test('round-trips every character that a key may hold and XML can carry', () => {
    const key = ' <&>"\' é 🚀\r\n\t ';
    const schema = v.object({ R: v.object({ Key: repeated(v.string()) }) });
    expect(parseXml(writeXml('R', { Key: [key, 'b'] }), schema).R.Key).toEqual([key, 'b']);
  });

  test('that is broken, of another shape or declares entities is MalformedXML', () => {
    const schema = v.object({ R: v.string() });
    for (const text of ['', '<R>', '<S>x</S>', '<R><X/></R>', '<!DOCTYPE R [<!ENTITY e "x">]><R>&e;</R>']) {
      expect(() => parseXml(text, schema)).toThrow('not well-formed');
    }
  });
});

describe('signed chunks', () => {
  let fixture: S3Fixture;
  beforeAll(async () => {
    fixture = await startS3Fixture();
  });
  afterAll(() => fixture.close());

  /** Sends a body in two chunks, each signed after the one before, with a signed trailer where asked. */
  async function upload(key: string, options: { trailer: boolean; tamper?: 'chunk' | 'trailer' }) {
    const dateMs = Date.now();
    const payloadHash = `STREAMING-AWS4-HMAC-SHA256-PAYLOAD${options.trailer ? '-TRAILER' : ''}`;
    const content = `${'a'.repeat(8192)}last`;
    const request = {
      method: 'PUT',
      path: `/${bucket}/${key}`,
      headers: {
        'content-encoding': 'aws-chunked,gzip',
        'x-amz-decoded-content-length': String(content.length),
        ...(options.trailer ? { 'x-amz-trailer': 'x-amz-checksum-sha256' } : {}),
      },
    };
    const signed = await fixture.sign(request, fixture.operator, { dateMs, payloadHash });
    const timestamp = signed.headers?.['x-amz-date'] ?? '';
    const verifier = new Verifier(fixture.operator, 'us-east-1', 's3');
    const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
    let previous = /Signature=(\w+)/.exec(signed.headers?.['authorization'] ?? '')?.[1] ?? '';
    const sign = async (...lines: string[]) => {
      const [algorithm = '', ...hashes] = lines;
      const text = [algorithm, timestamp, verifier.scope(timestamp), previous, ...hashes].join('\n');
      previous = await verifier.signText(text, timestamp);
      return previous;
    };
    let body = '';
    for (const chunk of [content.slice(0, 8192), content.slice(8192), '']) {
      const signature = await sign('AWS4-HMAC-SHA256-PAYLOAD', sha256(''), sha256(chunk));
      body += `${chunk.length.toString(16)};chunk-signature=${signature}\r\n${chunk}`;
      if (chunk !== '') body += '\r\n';
    }
    if (options.trailer) {
      const trailer = `x-amz-checksum-sha256:${createHash('sha256').update(content).digest('base64')}`;
      const signature = await sign('AWS4-HMAC-SHA256-TRAILER', sha256(`${trailer}\n`));
      body += `${trailer}\r\nx-amz-trailer-signature:${signature}\r\n`;
    }
    body += '\r\n';
    if (options.tamper === 'chunk') body = body.replace('last', 'lost');
    if (options.tamper === 'trailer') body = body.replace(/(trailer-signature:)./, '$1x');
    return await fixture.raw({ ...signed, body });
  }

  for (const trailer of [false, true]) {
    test(`are taken ${trailer ? 'with' : 'without'} a trailer`, async () => {
      expect((await upload('chunks', { trailer })).status).toBe(200);
      const object = fixture.s3.store.head(bucket, 'chunks');
      expect([object.size, object.headers['content-encoding']]).toEqual([8196, 'gzip']);
      expect(object.checksum.algorithm).toBe(trailer ? 'sha256' : 'crc64nvme');
    });
  }

  for (const tamper of ['chunk', 'trailer'] as const) {
    test(`are refused when the ${tamper} is not what was signed`, async () => {
      const response = await upload('tampered', { trailer: true, tamper });
      expect([response.status, xmlField(response, 'Code')]).toEqual([403, 'SignatureDoesNotMatch']);
      expect(() => fixture.s3.store.head(bucket, 'tampered')).toThrow();
    });
  }
});
