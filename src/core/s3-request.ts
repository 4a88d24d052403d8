import type { Artifact } from './artifact.ts';
import { quoted } from './secrets.ts';

/** Where a bucket is asked for. */
export interface S3Address {
  region: string;
  /** Origin of a server other than AWS's, such as `https://127.0.0.1:9000`. */
  endpoint?: string;
  pathStyle: boolean;
  dualStack: boolean;
}

/**
 * Percent-encodes a key once, as SigV4 of S3 signs it: all but `A-Za-z0-9-_.~` and the slashes between segments.
 * Source: S3 user guide, sig-v4-header-based-auth.
 */
export function encodeKey(key: string): string {
  return key.split('/').map(encodeSegment).join('/');
}

function encodeSegment(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** The part of AWS that a region is in; credentials of one are worth nothing in another. Source: botocore, partitions.json. */
export function partitionOf(region: string): 'aws' | 'aws-cn' | 'aws-us-gov' | 'aws-eusc' {
  if (region.startsWith('cn-')) return 'aws-cn';
  if (region.startsWith('us-gov-')) return 'aws-us-gov';
  return region.startsWith('eusc-') ? 'aws-eusc' : 'aws';
}

/** Domain of AWS in a region's partition. Source: botocore, partitions.json. */
export function partitionSuffix(region: string): string {
  if (region.startsWith('cn-')) return 'amazonaws.com.cn';
  return region.startsWith('eusc-') ? 'amazonaws.eu' : 'amazonaws.com';
}

/**
 * A bucket becomes part of the host name only where the wildcard certificate of S3 covers it and DNS can carry it.
 * Source: botocore, check_dns_name; IP literals force path style.
 */
export function usesVirtualHost(bucket: string, address: S3Address): boolean {
  if (address.pathStyle || !/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(bucket)) return false;
  return (
    address.endpoint === undefined ||
    !/^(\[.*\]|\d+\.\d+\.\d+\.\d+)$/.test(new URL(address.endpoint).hostname)
  );
}

/** The URL of an object: path or virtual-hosted, by the rule of AWS's own clients. */
export function objectUrl(artifact: Artifact, address: S3Address): string {
  const stack = address.dualStack ? 's3.dualstack' : 's3';
  const origin = address.endpoint ?? `https://${stack}.${address.region}.${partitionSuffix(address.region)}`;
  const { protocol, host } = new URL(origin);
  const place = usesVirtualHost(artifact.bucket, address)
    ? `${artifact.bucket}.${host}`
    : `${host}/${artifact.bucket}`;
  const version = artifact.versionId === undefined ? '' : `?versionId=${encodeSegment(artifact.versionId)}`;
  return `${protocol}//${place}/${encodeKey(artifact.key)}${version}`;
}

/** What an error answer of S3 says, without the session token, which it may say back. */
export interface S3ErrorBody {
  code: string;
  message: string;
  region?: string;
  /** The clock of S3, where it finds ours wrong. */
  serverTime?: string;
}

/** Reads the XML of an error answer. Anything else gives an empty code. */
export function parseS3Error(xml: string): S3ErrorBody {
  const body: S3ErrorBody = { code: element(xml, 'Code'), message: element(xml, 'Message') };
  const region = element(xml, 'Region');
  if (/^[a-z0-9-]{1,40}$/.test(region)) body.region = region;
  const serverTime = element(xml, 'ServerTime');
  if (Number.isFinite(Date.parse(serverTime))) body.serverTime = serverTime;
  return body;
}

function element(xml: string, name: string): string {
  const match = new RegExp(`<${name}>([^<]*)`).exec(xml);
  return quoted(match?.[1] ?? '', 300).trim();
}

/** `Content-Range: bytes 5-9/10`; undefined where it is anything else. Source: RFC 9110, 14.4. */
export function parseContentRange(
  header: string | null,
): { first: number; last: number; size: number } | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(header ?? '');
  if (match === null) return undefined;
  const [first, last, size] = match.slice(1).map(Number);
  if (first === undefined || last === undefined || size === undefined) return undefined;
  return first <= last && last < size ? { first, last, size } : undefined;
}
