import { isIP } from 'node:net';
import { S3Error } from './errors.ts';

/** Which bucket and object a request is about, from its raw request target and Host. */
export interface Address {
  bucket: string | undefined;
  key: string | undefined;
  /** The decoded path, re-encoded as SigV4 signs it. */
  canonicalPath: string;
  /** Decoded; a parameter without `=` has the value ''. The first of a repeated name counts. */
  query: ReadonlyMap<string, string>;
}

const maxKeyBytes = 1024;

/**
 * Reads the address of a request, by path (`/bucket/key`) or by virtual host (`bucket.host/key`). The target is taken
 * as it came over the wire: keys such as `/a`, `a//b` and `a/../b` are objects of their own, which URL parsers fold.
 * Throws S3Error InvalidURI or KeyTooLongError.
 */
export function parseAddress(target: string, host: string): Address {
  if (!target.startsWith('/')) throw new S3Error('InvalidURI', { details: { URI: target } });
  const mark = target.indexOf('?');
  const path = decode(mark < 0 ? target : target.slice(0, mark));
  const query = parseQuery(mark < 0 ? '' : target.slice(mark + 1));
  const canonicalPath = path.split('/').map(encodeUri).join('/');
  const hosted = bucketOfHost(host);
  const slash = path.indexOf('/', 1);
  const bucket = hosted ?? path.slice(1, slash < 0 ? undefined : slash);
  const key = hosted !== undefined ? path.slice(1) : slash < 0 ? '' : path.slice(slash + 1);
  if (Buffer.byteLength(key) > maxKeyBytes) {
    const details = { Size: Buffer.byteLength(key), MaxSizeAllowed: maxKeyBytes };
    throw new S3Error('KeyTooLongError', { details });
  }
  return { bucket: bucket || undefined, key: key || undefined, canonicalPath, query };
}

/** Percent-encodes as SigV4 wants it: all but A-Z a-z 0-9 - . _ ~ (encodeURIComponent leaves five more). */
export function encodeUri(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Decodes one part of a target once; S3 takes a bare `+` for a space, also in a path. */
export function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw new S3Error('InvalidURI', { details: { URI: text } });
  }
}

function parseQuery(text: string): Map<string, string> {
  const query = new Map<string, string>();
  for (const parameter of text.split('&').filter((part) => part !== '')) {
    const equals = parameter.indexOf('=');
    const name = decode(equals < 0 ? parameter : parameter.slice(0, equals));
    if (!query.has(name)) query.set(name, equals < 0 ? '' : decode(parameter.slice(equals + 1)));
  }
  return query;
}

/** The bucket in a virtual host; undefined for hosts that stand for S3 itself. */
function bucketOfHost(host: string): string | undefined {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  if (name.startsWith('[') || isIP(name) !== 0 || !name.includes('.') || /^s3[.-]/.test(name))
    return undefined;
  return /^(.+?)\.s3[.-]/.exec(name)?.[1] ?? name.slice(0, name.indexOf('.'));
}
