import { createHash, randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChecksumAlgorithm, createHasher } from './checksums.ts';
import { S3Error } from './errors.ts';

export type Body = AsyncIterable<Uint8Array> | Uint8Array | string;

/** What the sender says of its bytes; a mismatch is BadDigest. */
export interface Expectation {
  /** Which checksum to compute; crc64nvme as S3 does when the sender names none. */
  algorithm?: ChecksumAlgorithm | undefined;
  /** The sender's checksum in base64, asked for after the last byte, as it may come in a trailer. */
  checksum?: (() => string | undefined) | undefined;
  /** The Content-MD5 header. */
  md5Base64?: string | undefined;
}

/** Bytes on disk that never change. */
export interface Blob {
  file: string;
  size: number;
  md5: Buffer;
  algorithm: ChecksumAlgorithm;
  digest: Buffer;
}

/**
 * Streams a body into a new file of `dir`, hashing as it goes. When the body throws, ends early by its own account,
 * or is not what was expected (S3Error BadDigest, InvalidDigest), no file is left.
 */
export async function writeBlob(dir: string, body: Body, expected: Expectation = {}): Promise<Blob> {
  const file = join(dir, randomUUID());
  const handle = await open(file, 'wx', 0o600);
  try {
    const blob = await fill(handle, file, body, expected.algorithm ?? 'crc64nvme');
    verify(blob, expected);
    return blob;
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
}

async function fill(
  handle: Awaited<ReturnType<typeof open>>,
  file: string,
  body: Body,
  algorithm: ChecksumAlgorithm,
): Promise<Blob> {
  const md5 = createHash('md5');
  const hasher = createHasher(algorithm);
  let size = 0;
  for await (const chunk of chunksOf(body)) {
    md5.update(chunk);
    hasher.update(chunk);
    for (let written = 0; written < chunk.length; ) {
      written += (await handle.write(chunk, written)).bytesWritten;
    }
    size += chunk.length;
  }
  return { file, size, md5: md5.digest(), algorithm, digest: hasher.digest() };
}

function verify(blob: Blob, expected: Expectation): void {
  const checksum = expected.checksum?.();
  if (checksum !== undefined) {
    if (Buffer.from(checksum, 'base64').length !== blob.digest.length) {
      const message = `Value for x-amz-checksum-${blob.algorithm} header is invalid.`;
      throw new S3Error('InvalidRequest', { message });
    }
    if (checksum !== blob.digest.toString('base64')) {
      const message = `The ${blob.algorithm.toUpperCase()} you specified did not match the calculated checksum.`;
      throw new S3Error('BadDigest', { message });
    }
  }
  if (expected.md5Base64 === undefined) return;
  if (Buffer.from(expected.md5Base64, 'base64').length !== 16) {
    throw new S3Error('InvalidDigest', { details: { 'Content-MD5': expected.md5Base64 } });
  }
  if (expected.md5Base64 !== blob.md5.toString('base64')) {
    const details = {
      ExpectedDigest: expected.md5Base64,
      CalculatedDigest: blob.md5.toString('base64'),
    };
    throw new S3Error('BadDigest', { details });
  }
}

function chunksOf(body: Body): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  if (typeof body === 'string') return [Buffer.from(body)];
  return body instanceof Uint8Array ? [body] : body;
}
