import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import type { Checksum } from './checksums.ts';
import { S3Error } from './errors.ts';

export interface StoredObject {
  deleteMarker: false;
  key: string;
  /** `null` where the bucket was not versioned, as S3 calls it. */
  versionId: string;
  lastModifiedMs: number;
  size: number;
  /** Unquoted. */
  eTag: string;
  /** Response headers that the sender set, lower case: content-type, content-encoding, cache-control, ... */
  headers: Readonly<Record<string, string>>;
  /** User metadata, without `x-amz-meta-`. */
  metadata: Readonly<Record<string, string>>;
  checksum: Checksum;
  file: string;
}

export interface DeleteMarker {
  deleteMarker: true;
  key: string;
  versionId: string;
  lastModifiedMs: number;
}

export type Version = StoredObject | DeleteMarker;

export interface Bucket {
  name: string;
  region: string;
  createdMs: number;
  versioning: 'Enabled' | 'Suspended' | undefined;
  /** By key, newest first. */
  versions: Map<string, Version[]>;
}

const versionIdPattern = /^[A-Za-z0-9._-]{32}$/;

/** The object that a key names now. */
export function newest(bucket: Bucket, key: string): StoredObject | undefined {
  const top = bucket.versions.get(key)?.[0];
  return top?.deleteMarker === false ? top : undefined;
}

/** The id of the next version; `null` is the one that a bucket without versioning keeps. */
export function nextVersionId(bucket: Bucket): string {
  return bucket.versioning === 'Enabled' ? randomBytes(24).toString('base64url') : 'null';
}

/** Puts a version on top; yields the `null` version that it replaces. */
export function push(bucket: Bucket, version: Version): Version | undefined {
  const replaced = version.versionId === 'null' ? take(bucket, version.key, 'null') : undefined;
  bucket.versions.set(version.key, [version, ...(bucket.versions.get(version.key) ?? [])]);
  return replaced;
}

/** Takes a version out of its bucket. */
export function take(bucket: Bucket, key: string, versionId: string): Version | undefined {
  const versions = bucket.versions.get(key) ?? [];
  const rest = versions.filter((version) => version.versionId !== versionId);
  if (rest.length === 0) bucket.versions.delete(key);
  else bucket.versions.set(key, rest);
  return versions.find((version) => version.versionId === versionId);
}

/** Deletes the bytes of a version that was taken out. */
export async function discard(version: Version | undefined): Promise<void> {
  if (version?.deleteMarker === false) await rm(version.file, { force: true });
}

/** Throws InvalidArgument for what cannot be a version id. */
export function checkVersionId(versionId: string): void {
  if (versionId === 'null' || versionIdPattern.test(versionId)) return;
  throw new S3Error('InvalidArgument', {
    message: 'Invalid version id specified',
    details: { ArgumentName: 'versionId', ArgumentValue: versionId },
  });
}

/** What S3 says of a delete marker that it came upon. */
export function markerHeaders(marker: DeleteMarker): Record<string, string> {
  return { 'x-amz-delete-marker': 'true', 'x-amz-version-id': marker.versionId };
}
