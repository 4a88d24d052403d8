import type { IncomingHttpHeaders } from 'node:http';
import * as v from 'valibot';
import { decode } from './address.ts';
import { first } from './authorization.ts';
import { checkLength, readXml } from './body.ts';
import { isChecksumAlgorithm } from './checksums.ts';
import { conditionsOf, evaluate, preconditionFailed, writeCondition } from './conditions.ts';
import { S3Error } from './errors.ts';
import { checksumHeaders, isoTime, type OperationRequest, type Reply, versionHeader } from './operation.ts';
import type { ObjectAttributes } from './store.ts';
import type { StoredObject } from './versions.ts';
import { parseXml, repeated, writeXml, type XmlTree } from './xml.ts';

const storedHeaderNames = [
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-type',
  'expires',
];
const maxMetadataBytes = 2048;

/** PutObject; CopyObject when the request names a source. */
export async function putObject(request: OperationRequest): Promise<Reply> {
  if (request.headers['x-amz-copy-source'] !== undefined) return await copyObject(request);
  const { store, bucket, key, headers, body } = request;
  checkLength(headers);
  const object = await store.put(bucket, key, body.bytes, {
    ...attributesOf(headers),
    expected: body.expected,
    condition: writeCondition(conditionsOf(headers)),
  });
  return {
    status: 200,
    headers: {
      ETag: `"${object.eTag}"`,
      'x-amz-server-side-encryption': 'AES256',
      ...checksumHeaders(object),
      ...versionHeader(request, object),
    },
  };
}

async function copyObject(request: OperationRequest): Promise<Reply> {
  const { store, bucket, key, headers } = request;
  const source = copySource(request);
  const replace = first(headers['x-amz-metadata-directive']) === 'REPLACE';
  if (!replace && source.bucket === bucket && source.key === key && source.versionId === undefined) {
    throw new S3Error('InvalidRequest', {
      message:
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    });
  }
  const { object: original, file } = await store.get(source.bucket, source.key, source.versionId);
  try {
    checkCopyConditions(headers, original);
    const wanted = first(headers['x-amz-checksum-algorithm'])?.toLowerCase() ?? original.checksum.algorithm;
    const bytes: AsyncIterable<Uint8Array> = file.createReadStream({ autoClose: false });
    const object = await store.put(bucket, key, bytes, {
      ...(replace ? attributesOf(headers) : { headers: original.headers, metadata: original.metadata }),
      expected: { algorithm: isChecksumAlgorithm(wanted) ? wanted : undefined },
      condition: writeCondition(conditionsOf(headers)),
      eventName: 'ObjectCreated:Copy',
    });
    return {
      status: 200,
      headers: {
        'x-amz-server-side-encryption': 'AES256',
        ...versionHeader(request, object),
        ...sourceVersionHeader(request, source.bucket, original),
      },
      xml: writeXml('CopyObjectResult', {
        LastModified: isoTime(object.lastModifiedMs),
        ETag: `"${object.eTag}"`,
      }),
    };
  } finally {
    await file.close();
  }
}

/** The object that `x-amz-copy-source` names: `bucket/key[?versionId=...]`, percent-encoded. */
export function copySource({ headers }: Pick<OperationRequest, 'headers'>) {
  const text = first(headers['x-amz-copy-source']) ?? '';
  const [path = '', version] = text.split('?versionId=');
  const match = /^\/?([^/]+)\/(.+)$/s.exec(decode(path));
  if (match?.[1] === undefined || match[2] === undefined) {
    throw new S3Error('InvalidArgument', {
      message: 'Copy Source must mention the source bucket and key: sourcebucket/sourcekey',
      details: { ArgumentName: 'x-amz-copy-source', ArgumentValue: text },
    });
  }
  return { bucket: match[1], key: match[2], versionId: version };
}

/** Names the version that was copied, where the source's bucket keeps versions. Source: S3 API, CopyObject. */
export function sourceVersionHeader(
  { store }: OperationRequest,
  sourceBucket: string,
  { versionId }: StoredObject,
): Record<string, string> {
  const versioned = store.bucket(sourceBucket).versioning !== undefined;
  return versioned ? { 'x-amz-copy-source-version-id': versionId } : {};
}

/** The conditions on the source of a copy: all of them fail with 412. */
export function checkCopyConditions(headers: IncomingHttpHeaders, original: StoredObject): void {
  const condition = (name: string) => first(headers[`x-amz-copy-source-${name}`]);
  const outcome = evaluate(
    {
      ifMatch: condition('if-match'),
      ifNoneMatch: condition('if-none-match'),
      ifModifiedSince: condition('if-modified-since'),
      ifUnmodifiedSince: condition('if-unmodified-since'),
    },
    original,
  );
  if (outcome === 'unmodified') throw preconditionFailed('x-amz-copy-source-If-None-Match');
}

/** What a request says of the object besides its bytes. Throws MetadataTooLarge. */
export function attributesOf(headers: IncomingHttpHeaders): ObjectAttributes {
  const stored = storedHeaderNames.flatMap((name): Array<[string, string]> => {
    const value = first(headers[name]);
    const kept = name === 'content-encoding' ? withoutChunking(value) : value;
    return kept === undefined || kept === '' ? [] : [[name, kept]];
  });
  const prefix = 'x-amz-meta-';
  const metadata = Object.entries(headers)
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, value]): [string, string] => [name.slice(prefix.length), first(value) ?? '']);
  const size = metadata.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  if (size > maxMetadataBytes) {
    throw new S3Error('MetadataTooLarge', { details: { Size: size, MaxSizeAllowed: maxMetadataBytes } });
  }
  return { headers: Object.fromEntries(stored), metadata: Object.fromEntries(metadata) };
}

/** `aws-chunked` tells how the body is sent, not what the object is. */
function withoutChunking(value: string | undefined): string | undefined {
  return value
    ?.split(',')
    .map((coding) => coding.trim())
    .filter((coding) => coding !== 'aws-chunked')
    .join(',');
}

/** DeleteObject. */
export async function deleteObject(request: OperationRequest): Promise<Reply> {
  const { store, bucket, key, query } = request;
  const deleted = await store.delete(bucket, key, query.get('versionId'));
  if (deleted === undefined) return { status: 204 };
  const marker = deleted.deleteMarker ? { 'x-amz-delete-marker': 'true' } : {};
  return { status: 204, headers: { ...marker, ...versionHeader(request, deleted) } };
}

const deleteSchema = v.object({
  Delete: v.object({
    Quiet: v.optional(v.string()),
    Object: v.pipe(
      repeated(v.object({ Key: v.string(), VersionId: v.optional(v.string()) })),
      v.maxLength(1000),
    ),
  }),
});

/** DeleteObjects. */
export async function deleteObjects(request: OperationRequest): Promise<Reply> {
  const { store, bucket, body } = request;
  store.bucket(bucket);
  const { Delete: wanted } = parseXml(await readXml(body), deleteSchema);
  const deleted: XmlTree[] = [];
  const errors: XmlTree[] = [];
  for (const { Key, VersionId } of wanted.Object) {
    try {
      const version = await store.delete(bucket, Key, VersionId);
      deleted.push({
        Key,
        VersionId,
        ...(version?.deleteMarker === true
          ? { DeleteMarker: true, DeleteMarkerVersionId: version.versionId }
          : {}),
      });
    } catch (error) {
      if (!(error instanceof S3Error)) throw error;
      errors.push({ Key, VersionId, Code: error.code, Message: error.message });
    }
  }
  const quiet = wanted.Quiet?.trim() === 'true';
  return { status: 200, xml: writeXml('DeleteResult', { Deleted: quiet ? [] : deleted, Error: errors }) };
}
