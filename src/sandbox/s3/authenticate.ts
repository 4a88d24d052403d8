import type { IncomingHttpHeaders } from 'node:http';
import type { Session } from '../sessions.ts';
import { parseTimestamp, sameSecret, Verifier } from '../verifier.ts';
import type { Address } from './address.ts';
import { type Authorization, first, malformed, queryError } from './authorization.ts';
import { S3Error } from './errors.ts';

export interface Authentication {
  method: string;
  headers: IncomingHttpHeaders;
  address: Address;
  authorization: Authorization;
  session: Session | undefined;
  /** The regions that the request may be signed for; the first is that of the endpoint. */
  regions: readonly [string, ...string[]];
  /** The clock that signatures are held against. */
  nowMs: number;
  /** The clock that sessions end by. */
  sessionNowMs: number;
}

const maxSkewMs = 15 * 60 * 1000;

/**
 * Decides whether a request is who it says it is, in the order that S3 looks at it: key, scope, signed headers, time,
 * session, signature. Yields the session and the verifier, which also signs the chunks of a streamed body.
 */
export async function authenticate(
  request: Authentication,
): Promise<{ session: Session; verifier: Verifier }> {
  const { authorization, session } = request;
  if (session === undefined || (session.sessionToken !== undefined && !authorization.securityToken)) {
    const details = { AWSAccessKeyId: authorization.accessKeyId };
    throw new S3Error('InvalidAccessKeyId', { details });
  }
  checkScope(authorization, request.regions);
  checkSignedHeaders(request);
  checkTime(authorization, request.nowMs);
  checkToken(authorization, session, request.sessionNowMs);
  const verifier = new Verifier(session, authorization.region, authorization.service);
  await checkSignature(request, verifier);
  return { session, verifier };
}

function checkScope(authorization: Authorization, regions: Authentication['regions']): void {
  const { presigned, region, service, scopeDate, timestamp } = authorization;
  const wrong = (reason: string, details?: Record<string, string>) =>
    presigned
      ? queryError(`Error parsing the X-Amz-Credential parameter; ${reason}`, details)
      : malformed(reason, details);
  if (service !== 's3') throw wrong(`incorrect service "${service}". This endpoint belongs to "s3".`);
  if (!regions.includes(region)) {
    throw wrong(`the region '${region}' is wrong; expecting '${regions[0]}'`, { Region: regions[0] });
  }
  if (Number.isNaN(parseTimestamp(timestamp))) {
    throw new S3Error('AccessDenied', {
      message: 'AWS authentication requires a valid Date or x-amz-date header',
    });
  }
  if (!timestamp.startsWith(scopeDate)) {
    throw wrong(
      `Invalid credential date "${scopeDate}". This date is not the same as X-Amz-Date: "${timestamp.slice(0, 8)}".`,
    );
  }
}

function checkSignedHeaders({ headers, authorization }: Authentication): void {
  const mustBeSigned = Object.keys(headers).filter((name) => name === 'host' || name.startsWith('x-amz-'));
  const missing = mustBeSigned.filter((name) => !authorization.signedHeaders.includes(name));
  if (missing.length === 0) return;
  throw new S3Error('AccessDenied', {
    message: 'There were headers present in the request which were not signed',
    details: { HeadersNotSigned: missing.join(', ') },
  });
}

function checkTime({ presigned, timestamp, expiresSeconds }: Authorization, nowMs: number): void {
  const signedMs = parseTimestamp(timestamp);
  const serverTime = new Date(nowMs).toISOString();
  if (presigned) {
    const endsMs = signedMs + (expiresSeconds ?? 0) * 1000;
    if (nowMs > endsMs) {
      throw new S3Error('AccessDenied', {
        message: 'Request has expired',
        details: {
          'X-Amz-Expires': expiresSeconds ?? 0,
          Expires: new Date(endsMs).toISOString(),
          ServerTime: serverTime,
        },
      });
    }
    if (signedMs <= nowMs + maxSkewMs) return;
    throw new S3Error('AccessDenied', { message: 'Request is not valid yet' });
  }
  if (Math.abs(nowMs - signedMs) <= maxSkewMs) return;
  throw new S3Error('RequestTimeTooSkewed', {
    details: {
      RequestTime: timestamp,
      ServerTime: serverTime,
      MaxAllowedSkewMilliseconds: maxSkewMs,
    },
  });
}

function checkToken({ securityToken }: Authorization, session: Session, nowMs: number): void {
  if (!sameSecret(securityToken ?? '', session.sessionToken ?? '')) {
    throw new S3Error('InvalidToken', { details: { 'Token-0': securityToken ?? '' } });
  }
  if (nowMs >= session.expiresAtMs) throw expiredToken(securityToken);
}

/** What S3 answers once a session has ended. */
export function expiredToken(securityToken: string | undefined): S3Error {
  return new S3Error('ExpiredToken', { details: { 'Token-0': securityToken ?? '' } });
}

async function checkSignature(request: Authentication, verifier: Verifier): Promise<void> {
  const { address, authorization, headers, method } = request;
  const query = Object.fromEntries(address.query);
  if (authorization.presigned) delete query['X-Amz-Signature'];
  const expected = await verifier.expect({
    method,
    path: address.canonicalPath,
    query,
    headers: Object.fromEntries(
      authorization.signedHeaders.map((name) => [name, first(headers[name]) ?? '']),
    ),
    payloadHash: authorization.payloadHash,
    timestamp: authorization.timestamp,
  });
  if (sameSecret(expected.signature, authorization.signature)) return;
  throw new S3Error('SignatureDoesNotMatch', {
    details: {
      AWSAccessKeyId: authorization.accessKeyId,
      StringToSign: expected.stringToSign,
      SignatureProvided: authorization.signature,
      StringToSignBytes: hexBytes(expected.stringToSign),
      CanonicalRequest: expected.canonicalRequest,
      CanonicalRequestBytes: hexBytes(expected.canonicalRequest),
    },
  });
}

function hexBytes(text: string): string {
  return Buffer.from(text)
    .toString('hex')
    .replace(/..(?=.)/g, '$& ');
}
