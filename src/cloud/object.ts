import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { GetObjectCommand, HeadObjectCommand, type S3Client, S3ServiceException } from '@aws-sdk/client-s3';
import type { Upload } from './events.ts';

export interface ObjectFacts {
  /** SHA-256 in lower-case hexadecimal. */
  hash: string;
  /** Bytes. */
  size: number;
}

/**
 * Finds out what was uploaded: from the checksum that S3 keeps, where that is a SHA-256 of the whole object, else by
 * reading it. Without a versionId it is what lies under the key now, which may be newer than the upload.
 * @returns undefined where the object is gone
 * @throws Error of the S3 client; when the object ends early
 */
export async function inspect(s3: S3Client, upload: Upload): Promise<ObjectFacts | undefined> {
  const { bucket, key, versionId } = upload;
  const object = { Bucket: bucket, Key: key, ...(versionId === null ? {} : { VersionId: versionId }) };
  try {
    const head = await s3.send(new HeadObjectCommand({ ...object, ChecksumMode: 'ENABLED' }));
    const hash = head.ChecksumType === 'COMPOSITE' ? undefined : hexOfSha256(head.ChecksumSHA256);
    if (hash !== undefined && head.ContentLength !== undefined) return { hash, size: head.ContentLength };
    const { Body, ContentLength } = await s3.send(new GetObjectCommand(object));
    if (!(Body instanceof Readable)) throw new Error(`S3 sent no stream for s3://${bucket}/${key}`);
    return await digest(Body, ContentLength);
  } catch (error) {
    if (error instanceof S3ServiceException && error.$metadata.httpStatusCode === 404) return undefined;
    throw error;
  }
}

/** The digest in base64, as S3 has it. One with `-parts` behind it is a checksum of checksums. */
function hexOfSha256(base64: string | undefined): string | undefined {
  if (base64 === undefined || !/^[A-Za-z0-9+/]{43}=$/.test(base64)) return undefined;
  return Buffer.from(base64, 'base64').toString('hex');
}

async function digest(body: Readable, contentLength: number | undefined): Promise<ObjectFacts> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of body) {
    hash.update(chunk);
    size += chunk.length;
  }
  if (contentLength !== undefined && size !== contentLength) {
    throw new Error(`S3 sent ${size} bytes of an object that has ${contentLength}`);
  }
  return { hash: hash.digest('hex'), size };
}
