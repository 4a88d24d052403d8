import { mkdirSync, rmSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Blob, type Body, type Expectation, writeBlob } from './blob.ts';
import type { Checksum } from './checksums.ts';
import { S3Error } from './errors.ts';
import { compareKeys } from './listing.ts';
import { Uploads } from './uploads.ts';
import {
  type Bucket,
  checkVersionId,
  type DeleteMarker,
  discard,
  markerHeaders,
  newest,
  nextVersionId,
  push,
  type StoredObject,
  take,
  type Version,
} from './versions.ts';

export interface ObjectCreated {
  bucket: string;
  key: string;
  size: number;
  /** Unquoted. */
  eTag: string;
  versionId?: string;
  /** Hex that strictly increases. */
  sequencer: string;
  eventName: 'ObjectCreated:Put' | 'ObjectCreated:CompleteMultipartUpload' | 'ObjectCreated:Copy';
}

/** What an object carries besides its bytes. */
export interface ObjectAttributes {
  headers?: Record<string, string> | undefined;
  metadata?: Record<string, string> | undefined;
}

export interface PutOptions extends ObjectAttributes {
  expected?: Expectation | undefined;
  eventName?: ObjectCreated['eventName'] | undefined;
  /** Looks at the object that is to be replaced, right before it is, and throws when it must stay. */
  condition?: ((current: StoredObject | undefined) => void) | undefined;
}

export interface StoreOptions {
  /** A directory of the store's own: objects of an earlier run in it are deleted. */
  dir: string;
  region: string;
  now: () => number;
  onCreated: (event: ObjectCreated) => void;
}

const bucketNamePattern = /^(?=.{3,63}$)[a-z0-9][a-z0-9.-]*[a-z0-9]$/;

/** Buckets and objects: bytes as files under `dir`, all else in memory. Methods throw S3Error. */
export class ObjectStore {
  readonly uploads: Uploads;
  /** `bucket/key` prefixes that sessions of things may not read. */
  readonly denied = new Set<string>();
  /** Whether sessions of things lack s3:ListBucket, so that a missing key is 403 for them. */
  hideMissing = false;
  readonly now: () => number;
  readonly #blobs: string;
  readonly #region: string;
  readonly #onCreated: (event: ObjectCreated) => void;
  readonly #buckets = new Map<string, Bucket>();
  readonly #startedHex: string;
  #created = 0;

  constructor(options: StoreOptions) {
    this.#blobs = join(options.dir, 'blobs');
    rmSync(this.#blobs, { recursive: true, force: true });
    mkdirSync(this.#blobs, { recursive: true, mode: 0o700 });
    this.#region = options.region;
    this.#onCreated = options.onCreated;
    this.now = options.now;
    this.#startedHex = options.now().toString(16).padStart(12, '0');
    this.uploads = new Uploads(this, this.#blobs);
  }

  createBucket(name: string, options: { versioned?: boolean; region?: string } = {}): Bucket {
    if (!bucketNamePattern.test(name))
      throw new S3Error('InvalidBucketName', { details: { BucketName: name } });
    if (this.#buckets.has(name))
      throw new S3Error('BucketAlreadyOwnedByYou', { details: { BucketName: name } });
    const bucket: Bucket = {
      name,
      region: options.region ?? this.#region,
      createdMs: this.now(),
      versioning: options.versioned === true ? 'Enabled' : undefined,
      versions: new Map(),
    };
    this.#buckets.set(name, bucket);
    return bucket;
  }

  buckets(): Bucket[] {
    return [...this.#buckets.values()].sort((a, b) => compareKeys(a.name, b.name));
  }

  /** Throws NoSuchBucket. */
  bucket(name: string): Bucket {
    const bucket = this.#buckets.get(name);
    if (bucket === undefined) throw new S3Error('NoSuchBucket', { details: { BucketName: name } });
    return bucket;
  }

  findBucket(name: string): Bucket | undefined {
    return this.#buckets.get(name);
  }

  /** Throws BucketNotEmpty while it holds versions, delete markers too. */
  async deleteBucket(name: string): Promise<void> {
    if (this.bucket(name).versions.size > 0)
      throw new S3Error('BucketNotEmpty', { details: { BucketName: name } });
    this.#buckets.delete(name);
    await this.uploads.abortAll(name);
  }

  /** Stores an object; resolves when it is visible. A reader of the one before keeps its bytes. */
  async put(bucketName: string, key: string, body: Body, options: PutOptions = {}): Promise<StoredObject> {
    this.bucket(bucketName);
    const blob = await writeBlob(this.#blobs, body, options.expected);
    const checksum: Checksum = {
      algorithm: blob.algorithm,
      value: blob.digest.toString('base64'),
      type: 'FULL_OBJECT',
    };
    return await this.commit(bucketName, key, blob, {
      ...options,
      eTag: blob.md5.toString('hex'),
      checksum,
    });
  }

  /** Makes a blob the newest version of a key; deletes the blob when that must not be. */
  async commit(
    bucketName: string,
    key: string,
    blob: Pick<Blob, 'file' | 'size'>,
    options: PutOptions & { eTag: string; checksum: Checksum },
  ): Promise<StoredObject> {
    let bucket: Bucket;
    try {
      bucket = this.bucket(bucketName);
      options.condition?.(newest(bucket, key));
    } catch (error) {
      await rm(blob.file, { force: true });
      throw error;
    }
    const object: StoredObject = {
      deleteMarker: false,
      key,
      versionId: nextVersionId(bucket),
      lastModifiedMs: this.now(),
      size: blob.size,
      eTag: options.eTag,
      headers: options.headers ?? {},
      metadata: options.metadata ?? {},
      checksum: options.checksum,
      file: blob.file,
    };
    const replaced = push(bucket, object);
    this.#announce(bucket, object, options.eventName ?? 'ObjectCreated:Put');
    await discard(replaced);
    return object;
  }

  /** The metadata of an object. Throws NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete marker). */
  head(bucketName: string, key: string, versionId?: string): StoredObject {
    const bucket = this.bucket(bucketName);
    if (versionId === undefined) {
      const [top] = bucket.versions.get(key) ?? [];
      if (top?.deleteMarker === false) return top;
      const headers = top === undefined ? {} : markerHeaders(top);
      throw new S3Error('NoSuchKey', { details: { Key: key }, headers });
    }
    checkVersionId(versionId);
    const version = bucket.versions.get(key)?.find((one) => one.versionId === versionId);
    if (version === undefined) {
      throw new S3Error('NoSuchVersion', { details: { Key: key, VersionId: versionId } });
    }
    if (!version.deleteMarker) return version;
    const details = { Method: 'GET', ResourceType: 'DeleteMarker' };
    throw new S3Error('MethodNotAllowed', {
      details,
      headers: { ...markerHeaders(version), Allow: 'DELETE' },
    });
  }

  /** An object and its open file, which the caller closes. Errors as of `head`. */
  async get(
    bucketName: string,
    key: string,
    versionId?: string,
  ): Promise<{ object: StoredObject; file: FileHandle }> {
    for (;;) {
      const object = this.head(bucketName, key, versionId);
      try {
        return { object, file: await open(object.file, 'r') };
      } catch (error) {
        // Replaced between the look and the open: look again.
        if (this.findBucket(bucketName)?.versions.get(key)?.includes(object)) throw error;
      }
    }
  }

  /** Deletes a version for good, or, without one and where versions are kept, puts a delete marker on top. */
  async delete(bucketName: string, key: string, versionId?: string): Promise<Version | undefined> {
    const bucket = this.bucket(bucketName);
    if (versionId !== undefined) checkVersionId(versionId);
    const wanted = versionId ?? (bucket.versioning === undefined ? 'null' : undefined);
    if (wanted !== undefined) {
      const removed = take(bucket, key, wanted);
      await discard(removed);
      return removed;
    }
    const marker: DeleteMarker = {
      deleteMarker: true,
      key,
      versionId: nextVersionId(bucket),
      lastModifiedMs: this.now(),
    };
    await discard(push(bucket, marker));
    return marker;
  }

  /** The newest versions of all keys in the order of S3, without deleted ones. */
  list(bucketName: string): StoredObject[] {
    const bucket = this.bucket(bucketName);
    return [...bucket.versions.keys()]
      .map((key) => newest(bucket, key))
      .filter((object) => object !== undefined)
      .sort((a, b) => compareKeys(a.key, b.key));
  }

  /** All versions and delete markers: keys in the order of S3, each newest first. */
  listVersions(bucketName: string): Array<{ key: string; version: Version; isLatest: boolean }> {
    return [...this.bucket(bucketName).versions]
      .sort(([a], [b]) => compareKeys(a, b))
      .flatMap(([key, versions]) =>
        versions.map((version, index) => ({ key, version, isLatest: index === 0 })),
      );
  }

  /** Deletes all bytes. */
  async close(): Promise<void> {
    await rm(this.#blobs, { recursive: true, force: true });
  }

  #announce(bucket: Bucket, object: StoredObject, eventName: ObjectCreated['eventName']): void {
    this.#created += 1;
    this.#onCreated({
      bucket: bucket.name,
      key: object.key,
      size: object.size,
      eTag: object.eTag,
      ...(bucket.versioning === undefined ? {} : { versionId: object.versionId }),
      sequencer: `${this.#startedHex}${this.#created.toString(16).padStart(6, '0')}`.toUpperCase(),
      eventName,
    });
  }
}
