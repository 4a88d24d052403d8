import { encodeUri } from './address.ts';
import { owner, queryNumber } from './buckets.ts';
import { S3Error } from './errors.ts';
import { compareKeys, type ListQuery, listPage } from './listing.ts';
import { isoTime, type OperationRequest, type Reply } from './operation.ts';
import type { StoredObject } from './versions.ts';
import { writeXml, type XmlTree } from './xml.ts';

const maxKeysLimit = 1000;

/** ListObjectsV2, and ListObjects where `list-type` is not 2. */
export function listObjects(request: OperationRequest): Reply {
  const { store, bucket, query } = request;
  const version2 = query.get('list-type') === '2';
  const token = version2 ? query.get('continuation-token') : undefined;
  const after =
    (token === undefined ? undefined : decodeToken(token)) ?? query.get(version2 ? 'start-after' : 'marker');
  const list = listQuery(query);
  const page = listPage(store.list(bucket), list, (entry, commonPrefix) => {
    return after !== undefined && compareKeys(commonPrefix === after ? after : entry.key, after) <= 0;
  });
  const next = page.truncated ? (page.last.entry?.key ?? page.last.prefix) : undefined;
  const encode = encoder(query);
  const count = page.entries.length + page.commonPrefixes.length;
  const position: XmlTree = version2
    ? {
        KeyCount: count,
        ContinuationToken: token,
        NextContinuationToken: next === undefined ? undefined : encodeToken(next),
        StartAfter: optional(query.get('start-after'), encode),
      }
    : { Marker: encode(after ?? ''), NextMarker: optional(next, encode) };
  return {
    status: 200,
    xml: writeXml('ListBucketResult', {
      Name: bucket,
      ...listHead(query, list, page.truncated),
      ...position,
      Contents: page.entries.map((object) => contents(object, encode)),
      CommonPrefixes: page.commonPrefixes.map((prefix) => ({ Prefix: encode(prefix) })),
    }),
  };
}

/** ListObjectVersions. */
export function listObjectVersions({ store, bucket, query }: OperationRequest): Reply {
  const keyMarker = query.get('key-marker');
  const versionMarker = query.get('version-id-marker');
  const list = listQuery(query);
  const encode = encoder(query);
  let passedMarker = false;
  const page = listPage(store.listVersions(bucket), list, ({ key, version }, commonPrefix) => {
    if (keyMarker === undefined) return false;
    const order = compareKeys(commonPrefix === keyMarker ? keyMarker : key, keyMarker);
    if (order !== 0 || versionMarker === undefined || commonPrefix !== undefined || passedMarker) {
      return order < 0 || (order === 0 && !passedMarker);
    }
    passedMarker = version.versionId === versionMarker;
    return true;
  });
  const { entry, prefix } = page.last;
  const describe = ({ key, version, isLatest }: (typeof page.entries)[number]): XmlTree => ({
    ...(version.deleteMarker ? { Key: encode(key) } : contents(version, encode)),
    VersionId: version.versionId,
    IsLatest: isLatest,
    LastModified: isoTime(version.lastModifiedMs),
    Owner: owner,
  });
  return {
    status: 200,
    xml: writeXml('ListVersionsResult', {
      Name: bucket,
      ...listHead(query, list, page.truncated),
      KeyMarker: encode(keyMarker ?? ''),
      VersionIdMarker: versionMarker ?? '',
      ...(page.truncated
        ? { NextKeyMarker: encode(entry?.key ?? prefix ?? ''), NextVersionIdMarker: entry?.version.versionId }
        : {}),
      Version: page.entries.filter(({ version }) => !version.deleteMarker).map(describe),
      DeleteMarker: page.entries.filter(({ version }) => version.deleteMarker).map(describe),
      CommonPrefixes: page.commonPrefixes.map((one) => ({ Prefix: encode(one) })),
    }),
  };
}

function listQuery(query: ReadonlyMap<string, string>): ListQuery {
  return {
    prefix: query.get('prefix') ?? '',
    delimiter: query.get('delimiter') ?? '',
    maxKeys: queryNumber(query, 'max-keys', maxKeysLimit),
  };
}

function listHead(query: ReadonlyMap<string, string>, list: ListQuery, truncated: boolean): XmlTree {
  const encode = encoder(query);
  return {
    Prefix: encode(list.prefix),
    Delimiter: optional(list.delimiter || undefined, encode),
    MaxKeys: list.maxKeys,
    EncodingType: query.get('encoding-type'),
    IsTruncated: truncated,
  };
}

function contents(object: StoredObject, encode: (text: string) => string): XmlTree {
  return {
    Key: encode(object.key),
    LastModified: isoTime(object.lastModifiedMs),
    ETag: `"${object.eTag}"`,
    ChecksumAlgorithm: object.checksum.algorithm.toUpperCase(),
    ChecksumType: object.checksum.type,
    Size: object.size,
    StorageClass: 'STANDARD',
  };
}

/** Keys may hold what XML cannot, so clients ask for them percent-encoded. */
function encoder(query: ReadonlyMap<string, string>): (text: string) => string {
  const type = query.get('encoding-type');
  if (type === undefined) return (text) => text;
  if (type === 'url') return (text) => text.split('/').map(encodeUri).join('/');
  throw new S3Error('InvalidArgument', {
    message: 'Invalid Encoding Method specified in Request',
    details: { ArgumentName: 'encoding-type', ArgumentValue: type },
  });
}

function optional(text: string | undefined, encode: (text: string) => string): string | undefined {
  return text === undefined ? undefined : encode(text);
}

function encodeToken(after: string): string {
  return Buffer.from(after).toString('base64url');
}

function decodeToken(token: string): string {
  if (/^[\w-]+$/.test(token)) return Buffer.from(token, 'base64url').toString();
  throw new S3Error('InvalidArgument', {
    message: 'The continuation token provided is incorrect',
    details: { ArgumentName: 'continuation-token', ArgumentValue: token },
  });
}
