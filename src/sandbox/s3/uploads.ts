import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { type Blob, type Body, type Expectation, writeBlob } from './blob.ts';
import { type Checksum, type ChecksumAlgorithm, type ChecksumType, createHasher } from './checksums.ts';
import { S3Error } from './errors.ts';
import type { ObjectAttributes, ObjectStore, PutOptions } from './store.ts';
import type { StoredObject } from './versions.ts';

export interface Part extends Blob {
  partNumber: number;
  lastModifiedMs: number;
}

/** A multipart upload that is under way. */
export interface Upload extends ObjectAttributes {
  uploadId: string;
  bucket: string;
  key: string;
  initiatedMs: number;
  algorithm: ChecksumAlgorithm;
  checksumType: ChecksumType;
  parts: Map<number, Part>;
}

/** A part as the request to complete names it; the ETag is unquoted. */
export interface CompletedPart {
  partNumber: number;
  eTag: string;
  /** Base64, by algorithm; only that of the part's own is looked at. */
  checksums: Partial<Record<ChecksumAlgorithm, string | undefined>>;
}

/** API Reference, CompleteMultipartUpload: each part but the last has at least 5 MiB. */
const minPartBytes = 5 * 1024 * 1024;
const maxPartNumber = 10_000;

/** The multipart uploads of a store. Methods throw S3Error. */
export class Uploads {
  readonly #store: ObjectStore;
  readonly #dir: string;
  readonly #byId = new Map<string, Upload>();

  constructor(store: ObjectStore, dir: string) {
    this.#store = store;
    this.#dir = dir;
  }

  create(
    bucket: string,
    key: string,
    options: ObjectAttributes & {
      algorithm?: ChecksumAlgorithm | undefined;
      checksumType?: ChecksumType | undefined;
    },
  ): Upload {
    this.#store.bucket(bucket);
    const algorithm = options.algorithm ?? 'crc64nvme';
    const upload: Upload = {
      ...options,
      uploadId: randomBytes(48).toString('base64url'),
      bucket,
      key,
      initiatedMs: this.#store.now(),
      algorithm,
      checksumType: options.checksumType ?? (algorithm === 'crc64nvme' ? 'FULL_OBJECT' : 'COMPOSITE'),
      parts: new Map(),
    };
    this.#byId.set(upload.uploadId, upload);
    return upload;
  }

  /** Throws NoSuchUpload. */
  find(bucket: string, key: string, uploadId: string): Upload {
    this.#store.bucket(bucket);
    const upload = this.#byId.get(uploadId);
    if (upload?.bucket !== bucket || upload.key !== key) {
      throw new S3Error('NoSuchUpload', { details: { UploadId: uploadId } });
    }
    return upload;
  }

  list(bucket: string): Upload[] {
    this.#store.bucket(bucket);
    return [...this.#byId.values()].filter((upload) => upload.bucket === bucket);
  }

  /** Stores a part; one of the same number is replaced. */
  async putPart(upload: Upload, partNumber: number, body: Body, expected: Expectation): Promise<Part> {
    if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > maxPartNumber) {
      throw new S3Error('InvalidArgument', {
        message: `Part number must be an integer between 1 and ${maxPartNumber}, inclusive`,
        details: { ArgumentName: 'partNumber', ArgumentValue: partNumber },
      });
    }
    const algorithm = expected.algorithm ?? upload.algorithm;
    if (upload.checksumType === 'COMPOSITE' && algorithm !== upload.algorithm) {
      throw new S3Error('InvalidRequest', {
        message: `Checksum Type mismatch occurred, expected checksum Type: ${upload.algorithm}, actual checksum Type: ${algorithm}`,
      });
    }
    const blob = await writeBlob(this.#dir, body, { ...expected, algorithm });
    if (!this.#byId.has(upload.uploadId)) {
      await rm(blob.file, { force: true });
      throw new S3Error('NoSuchUpload', { details: { UploadId: upload.uploadId } });
    }
    const replaced = upload.parts.get(partNumber);
    const part = { ...blob, partNumber, lastModifiedMs: this.#store.now() };
    upload.parts.set(partNumber, part);
    if (replaced !== undefined) await rm(replaced.file, { force: true });
    return part;
  }

  /** Joins the parts into the object. `checksum` is that of the whole object, when the sender knows it. */
  async complete(
    upload: Upload,
    listed: readonly CompletedPart[],
    options: { checksum?: string | undefined; condition?: PutOptions['condition'] },
  ): Promise<StoredObject> {
    const parts = chooseParts(upload, listed);
    const composite = upload.checksumType === 'COMPOSITE';
    const blob = await writeBlob(this.#dir, join(parts), {
      algorithm: upload.algorithm,
      checksum: composite ? undefined : () => options.checksum,
    });
    const object = await this.#store.commit(upload.bucket, upload.key, blob, {
      headers: upload.headers,
      metadata: upload.metadata,
      condition: options.condition,
      eTag: eTagOf(parts),
      checksum: composite
        ? compositeChecksum(upload.algorithm, parts)
        : { algorithm: upload.algorithm, value: blob.digest.toString('base64'), type: 'FULL_OBJECT' },
      eventName: 'ObjectCreated:CompleteMultipartUpload',
    });
    await this.abort(upload);
    return object;
  }

  /** Forgets an upload and deletes its parts. */
  async abort(upload: Upload): Promise<void> {
    this.#byId.delete(upload.uploadId);
    for (const part of upload.parts.values()) await rm(part.file, { force: true });
  }

  async abortAll(bucket: string): Promise<void> {
    for (const upload of this.#byId.values()) {
      if (upload.bucket === bucket) await this.abort(upload);
    }
  }
}

function chooseParts(upload: Upload, listed: readonly CompletedPart[]): Part[] {
  const parts = listed.map(({ partNumber, eTag, checksums }, index) => {
    const previous = listed[index - 1];
    if (previous !== undefined && previous.partNumber >= partNumber) throw new S3Error('InvalidPartOrder');
    const part = upload.parts.get(partNumber);
    if (part === undefined || part.md5.toString('hex') !== eTag || !checksumFits(part, checksums)) {
      const details = { UploadId: upload.uploadId, PartNumber: partNumber, ETag: eTag };
      throw new S3Error('InvalidPart', { details });
    }
    return part;
  });
  const small = parts.slice(0, -1).find((part) => part.size < minPartBytes);
  if (small === undefined) return parts;
  throw new S3Error('EntityTooSmall', {
    details: {
      ProposedSize: small.size,
      MinSizeAllowed: minPartBytes,
      PartNumber: small.partNumber,
      ETag: small.md5.toString('hex'),
    },
  });
}

function checksumFits(part: Part, checksums: CompletedPart['checksums']): boolean {
  const stated = checksums[part.algorithm];
  return stated === undefined || stated === part.digest.toString('base64');
}

async function* join(parts: readonly Part[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    const stream: AsyncIterable<Uint8Array> = createReadStream(part.file, { highWaterMark: 1024 * 1024 });
    yield* stream;
  }
}

/** MD5 of the parts' MD5s, and their number: no MD5 of the object. */
function eTagOf(parts: readonly Part[]): string {
  const md5 = createHash('md5');
  for (const part of parts) md5.update(part.md5);
  return `${md5.digest('hex')}-${parts.length}`;
}

function compositeChecksum(algorithm: ChecksumAlgorithm, parts: readonly Part[]): Checksum {
  const hasher = createHasher(algorithm);
  for (const part of parts) hasher.update(part.digest);
  return {
    algorithm,
    value: `${hasher.digest().toString('base64')}-${parts.length}`,
    type: 'COMPOSITE',
  };
}
