import type { FileHandle } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import type { RequestBody } from './body.ts';
import type { ObjectStore } from './store.ts';
import type { StoredObject } from './versions.ts';

/** A request that was let in. */
export interface OperationRequest {
  store: ObjectStore;
  method: string;
  headers: IncomingHttpHeaders;
  query: ReadonlyMap<string, string>;
  /** '' where the operation is not on a bucket. */
  bucket: string;
  /** '' where the operation is not on an object. */
  key: string;
  body: RequestBody;
}

/** What is sent back. The sender closes the file. */
export interface Reply {
  status: number;
  headers?: Record<string, string>;
  xml?: string;
  file?: { handle: FileHandle; start: number; length: number };
}

export type Operation = (request: OperationRequest) => Reply | Promise<Reply>;

/** Names the version in the answer, where the bucket keeps versions. */
export function versionHeader(
  request: OperationRequest,
  object: Pick<StoredObject, 'versionId'>,
): Record<string, string> {
  const versioned = request.store.bucket(request.bucket).versioning !== undefined;
  return versioned ? { 'x-amz-version-id': object.versionId } : {};
}

/** The checksum headers of an object. */
export function checksumHeaders({ checksum }: Pick<StoredObject, 'checksum'>): Record<string, string> {
  return {
    [`x-amz-checksum-${checksum.algorithm}`]: checksum.value,
    'x-amz-checksum-type': checksum.type,
  };
}

/** `2026-01-31T12:00:00.000Z`, as S3 writes times in XML. */
export function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
