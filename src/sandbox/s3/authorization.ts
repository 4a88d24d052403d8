import type { IncomingHttpHeaders } from 'node:http';
import { S3Error } from './errors.ts';

/** What a request says of who signed it and how: from the Authorization header or from a presigned URL. */
export interface Authorization {
  presigned: boolean;
  accessKeyId: string;
  /** `YYYYMMDD`. */
  scopeDate: string;
  region: string;
  service: string;
  signedHeaders: string[];
  signature: string;
  /** `YYYYMMDDTHHMMSSZ`. */
  timestamp: string;
  payloadHash: string;
  securityToken: string | undefined;
  /** Of presigned URLs only. */
  expiresSeconds?: number;
}

const payloadHashPattern =
  /^([0-9a-f]{64}|UNSIGNED-PAYLOAD|STREAMING-AWS4-HMAC-SHA256-PAYLOAD(-TRAILER)?|STREAMING-UNSIGNED-PAYLOAD-TRAILER)$/;
const maxExpiresSeconds = 604_800;

/**
 * Reads the SigV4 parts of a request. Source: API Reference, Authenticating Requests (AWS Signature Version 4).
 * Throws S3Error AccessDenied for an anonymous request, and what S3 says to malformed ones.
 */
export function parseAuthorization(
  headers: IncomingHttpHeaders,
  query: ReadonlyMap<string, string>,
): Authorization {
  const presigned = query.has('X-Amz-Algorithm') || query.has('X-Amz-Signature');
  const header = headers.authorization;
  if (header === undefined) {
    if (presigned) return parsePresigned(headers, query);
    if (query.has('AWSAccessKeyId')) throw unsupported('AWS');
    throw new S3Error('AccessDenied');
  }
  if (presigned) {
    throw new S3Error('InvalidArgument', {
      message:
        'Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified',
      details: { ArgumentName: 'Authorization', ArgumentValue: 'AWS4-HMAC-SHA256' },
    });
  }
  return parseHeader(header, headers);
}

function parseHeader(header: string, headers: IncomingHttpHeaders): Authorization {
  const [algorithm, ...rest] = header.split(' ');
  if (algorithm !== 'AWS4-HMAC-SHA256') throw unsupported(algorithm ?? '');
  const fields = new Map(
    rest
      .join(' ')
      .split(',')
      .map((field): [string, string] => {
        const equals = field.indexOf('=');
        return [field.slice(0, Math.max(equals, 0)).trim(), field.slice(equals + 1).trim()];
      }),
  );
  const credential = fields.get('Credential');
  const signedHeaders = fields.get('SignedHeaders');
  const signature = fields.get('Signature');
  if (credential === undefined || signedHeaders === undefined || signature === undefined) throw malformed();
  const scope = parseCredential(credential);
  if (scope === undefined) {
    throw malformed(
      'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
    );
  }
  const timestamp = first(headers['x-amz-date']);
  if (timestamp === undefined) {
    throw new S3Error('AccessDenied', {
      message: 'AWS authentication requires a valid Date or x-amz-date header',
    });
  }
  return {
    presigned: false,
    ...scope,
    signedHeaders: signedHeaders.split(';'),
    signature,
    timestamp,
    payloadHash: requirePayloadHash(first(headers['x-amz-content-sha256'])),
    securityToken: first(headers['x-amz-security-token']),
  };
}

function parsePresigned(headers: IncomingHttpHeaders, query: ReadonlyMap<string, string>): Authorization {
  const algorithm = query.get('X-Amz-Algorithm');
  const credential = query.get('X-Amz-Credential');
  const signature = query.get('X-Amz-Signature');
  const timestamp = query.get('X-Amz-Date');
  const signedHeaders = query.get('X-Amz-SignedHeaders');
  const expires = query.get('X-Amz-Expires');
  if (!algorithm || !credential || !signature || !timestamp || !signedHeaders || !expires) {
    throw queryError(
      'Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.',
    );
  }
  if (algorithm !== 'AWS4-HMAC-SHA256')
    throw queryError('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"');
  const scope = parseCredential(credential);
  if (scope === undefined) {
    throw queryError(
      'Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
    );
  }
  const expiresSeconds = /^\d{1,9}$/.test(expires) ? Number(expires) : Number.NaN;
  if (!(expiresSeconds >= 1 && expiresSeconds <= maxExpiresSeconds)) {
    throw queryError(
      'X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds',
    );
  }
  const payloadHash = first(headers['x-amz-content-sha256']) ?? query.get('X-Amz-Content-Sha256');
  return {
    presigned: true,
    ...scope,
    signedHeaders: signedHeaders.split(';'),
    signature,
    timestamp,
    payloadHash: requirePayloadHash(payloadHash ?? 'UNSIGNED-PAYLOAD'),
    securityToken: query.get('X-Amz-Security-Token'),
    expiresSeconds,
  };
}

function parseCredential(text: string) {
  const match = /^([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request$/.exec(text);
  if (match === null) return undefined;
  const [, accessKeyId = '', scopeDate = '', region = '', service = ''] = match;
  return { accessKeyId, scopeDate, region, service };
}

function requirePayloadHash(value: string | undefined): string {
  if (value === undefined) {
    throw new S3Error('InvalidRequest', {
      message: 'Missing required header for this request: x-amz-content-sha256',
    });
  }
  if (payloadHashPattern.test(value)) return value;
  throw new S3Error('InvalidArgument', {
    message:
      'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.',
    details: { ArgumentName: 'x-amz-content-sha256', ArgumentValue: value },
  });
}

function unsupported(algorithm: string): S3Error {
  if (algorithm === 'AWS') {
    return new S3Error('InvalidRequest', {
      message: 'The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.',
    });
  }
  return new S3Error('InvalidArgument', {
    message: 'Unsupported Authorization Type',
    details: { ArgumentName: 'Authorization' },
  });
}

/** AuthorizationHeaderMalformed with its reason. */
export function malformed(
  reason = 'the authorization header requires three components: Credential, SignedHeaders, and Signature.',
  details: Record<string, string> = {},
): S3Error {
  return new S3Error('AuthorizationHeaderMalformed', {
    message: `The authorization header is malformed; ${reason}`,
    details,
  });
}

/** AuthorizationQueryParametersError with its reason. */
export function queryError(message: string, details: Record<string, string> = {}): S3Error {
  return new S3Error('AuthorizationQueryParametersError', { message, details });
}

/** The value of a header; of a repeated one, all of them as one. */
export function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(',') : value;
}
