import { conditionsOf, evaluate } from './conditions.ts';
import { S3Error } from './errors.ts';
import { checksumHeaders, type OperationRequest, type Reply, versionHeader } from './operation.ts';
import { type ByteRange, parseRange } from './range.ts';
import type { StoredObject } from './versions.ts';

/** GetObject. */
export async function getObject(request: OperationRequest): Promise<Reply> {
  const { store, bucket, key, query } = request;
  const { object, file } = await store.get(bucket, key, query.get('versionId'));
  let reply: Reply | undefined;
  try {
    reply = describe(request, object);
    if (reply.status === 304) return reply;
    const range = parseRange(request.headers.range, object.size);
    const start = range?.start ?? 0;
    const length = range === undefined ? object.size : range.end - range.start + 1;
    return { ...reply, file: { handle: file, start, length } };
  } finally {
    if (reply === undefined || reply.status === 304) await file.close();
  }
}

/** HeadObject. */
export function headObject(request: OperationRequest): Reply {
  const { store, bucket, key, query } = request;
  return describe(request, store.head(bucket, key, query.get('versionId')));
}

function describe(request: OperationRequest, object: StoredObject): Reply {
  const base = {
    ETag: `"${object.eTag}"`,
    'Last-Modified': new Date(object.lastModifiedMs).toUTCString(),
    ...versionHeader(request, object),
  };
  if (evaluate(conditionsOf(request.headers), object) === 'unmodified') return { status: 304, headers: base };
  const range = parseRange(request.headers.range, object.size);
  return {
    status: range === undefined ? 200 : 206,
    headers: {
      ...base,
      'Accept-Ranges': 'bytes',
      'x-amz-server-side-encryption': 'AES256',
      ...metadataHeaders(object),
      ...storedHeaders(request, object),
      ...rangeHeaders(range, object),
      ...(wantsChecksum(request, range, object) ? checksumHeaders(object) : {}),
    },
  };
}

function metadataHeaders({ metadata }: StoredObject): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`x-amz-meta-${name}`, value]));
}

/** The headers that came with the object, unless the query (response-content-type, ...) asks for others. */
function storedHeaders({ query }: OperationRequest, object: StoredObject): Record<string, string> {
  const headers = { 'content-type': 'binary/octet-stream', ...object.headers };
  const overrides = [
    'cache-control',
    'content-disposition',
    'content-encoding',
    'content-language',
    'content-type',
    'expires',
  ].flatMap((name): Array<[string, string]> => {
    const value = query.get(`response-${name}`);
    return value === undefined ? [] : [[name, printable(`response-${name}`, value)]];
  });
  return { ...headers, ...Object.fromEntries(overrides) };
}

function printable(name: string, value: string): string {
  if (/^[\x20-\x7e]*$/.test(value)) return value;
  throw new S3Error('InvalidArgument', {
    message: 'Header value cannot be represented using ISO-8859-1.',
    details: { ArgumentName: name, ArgumentValue: value },
  });
}

function rangeHeaders(range: ByteRange | undefined, { size }: StoredObject): Record<string, string> {
  if (range === undefined) return { 'Content-Length': String(size) };
  return {
    'Content-Length': String(range.end - range.start + 1),
    'Content-Range': `bytes ${range.start}-${range.end}/${size}`,
  };
}

/** The checksum is that of the whole object, so it is left out where only a part is sent. */
function wantsChecksum(
  { headers }: OperationRequest,
  range: ByteRange | undefined,
  object: StoredObject,
): boolean {
  const whole = range === undefined || range.end - range.start + 1 === object.size;
  return whole && String(headers['x-amz-checksum-mode']).toUpperCase() === 'ENABLED';
}
