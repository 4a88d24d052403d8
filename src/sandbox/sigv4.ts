import { Sha256 } from '@aws-crypto/sha256-js';
import { SignatureV4 } from '@smithy/signature-v4';
import { percentDecoded } from './percent.ts';
import type { Session, Sessions } from './sessions.ts';

export interface SignedRequest {
  method: string;
  /** Path and query as they stand in the request line. */
  rawUrl: string;
  /** By lower-case name. */
  headers: Readonly<Record<string, string>>;
  /** SHA-256 of the body in lower-case hex. */
  bodyHash: string;
}

export interface VerifyOptions {
  /** Signing names that are accepted, such as `s3`. */
  service: readonly string[];
  sessions: Sessions;
  /** Wall-clock milliseconds of the server. */
  nowMs: number;
  /** True for every service but S3: the path is normalized and encoded once more (SigV4, canonical URI). */
  doubleEncode: boolean;
}

export type SigV4Problem =
  | 'MissingAuthentication'
  | 'IncompleteSignature'
  | 'UnknownAccessKey'
  | 'InvalidToken'
  | 'ExpiredToken'
  | 'SkewedClock'
  | 'WrongService'
  | 'BodyHashMismatch'
  | 'SignatureDoesNotMatch';

export type Verification = { ok: true; session: Session } | { ok: false; code: SigV4Problem };

/** AWS refuses requests whose date is further away. */
const maxSkewMs = 15 * 60_000;

interface Authorization {
  accessKeyId: string;
  region: string;
  service: string;
  signedHeaders: string[];
}

/** Verifies the `Authorization` header of a request by signing it again with AWS's own signer. */
export async function verifySigV4(request: SignedRequest, options: VerifyOptions): Promise<Verification> {
  const header = request.headers['authorization'];
  if (header === undefined) return { ok: false, code: 'MissingAuthentication' };
  const authorization = parseAuthorization(header);
  const dateMs = parseAmzDate(request.headers['x-amz-date']);
  if (authorization === undefined || dateMs === undefined) return { ok: false, code: 'IncompleteSignature' };
  const session = options.sessions.find(authorization.accessKeyId);
  if (session === undefined) return { ok: false, code: 'UnknownAccessKey' };
  const problem = problemOf(request, options, authorization, session, dateMs);
  if (problem !== undefined) return { ok: false, code: problem };
  const expected = await sign(request, options, authorization, session, dateMs);
  return expected === header.replaceAll(/,\s*/g, ', ')
    ? { ok: true, session }
    : { ok: false, code: 'SignatureDoesNotMatch' };
}

function problemOf(
  { headers, bodyHash }: SignedRequest,
  { service, nowMs }: VerifyOptions,
  authorization: Authorization,
  session: Session,
  dateMs: number,
): SigV4Problem | undefined {
  if (headers['x-amz-security-token'] !== session.sessionToken) return 'InvalidToken';
  if (session.expiresAtMs <= nowMs) return 'ExpiredToken';
  if (Math.abs(nowMs - dateMs) > maxSkewMs) return 'SkewedClock';
  if (!service.includes(authorization.service)) return 'WrongService';
  const mustBeSigned = Object.keys(headers).filter((name) => name === 'host' || name.startsWith('x-amz-'));
  if (!mustBeSigned.every((name) => authorization.signedHeaders.includes(name)))
    return 'SignatureDoesNotMatch';
  const statedHash = headers['x-amz-content-sha256'] ?? bodyHash;
  return statedHash === bodyHash || statedHash === 'UNSIGNED-PAYLOAD' ? undefined : 'BodyHashMismatch';
}

/** The `Authorization` header that the holder of the session would send for this request. */
async function sign(
  { method, rawUrl, headers, bodyHash }: SignedRequest,
  { doubleEncode }: VerifyOptions,
  { region, service, signedHeaders }: Authorization,
  { accessKeyId, secretAccessKey, sessionToken }: Session,
  dateMs: number,
): Promise<string | undefined> {
  const [path = '/', queryText] = splitOnce(rawUrl, '?');
  const covered = signedHeaders.map((name): [string, string] => [name, headers[name] ?? '']);
  const hashIsSigned = signedHeaders.includes('x-amz-content-sha256');
  const signer = new SignatureV4({
    service,
    region,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) },
    sha256: Sha256,
    uriEscapePath: doubleEncode,
    applyChecksum: false,
  });
  const signed = await signer.sign(
    {
      method,
      protocol: 'https:',
      hostname: headers['host'] ?? '',
      path,
      query: parseQuery(queryText),
      // The signer takes the payload's hash from this header; where the client did not sign it, no more than that.
      headers: { 'x-amz-content-sha256': bodyHash, ...Object.fromEntries(covered) },
    },
    {
      signingDate: new Date(dateMs),
      signableHeaders: new Set(signedHeaders),
      unsignableHeaders: new Set(hashIsSigned ? [] : ['x-amz-content-sha256']),
    },
  );
  return signed.headers['authorization'];
}

function parseAuthorization(header: string): Authorization | undefined {
  const match =
    /^AWS4-HMAC-SHA256\s+Credential=([^/,]+)\/\d{8}\/([^/,]+)\/([^/,]+)\/aws4_request,\s*SignedHeaders=([^,]+),\s*Signature=[0-9a-f]{64}$/.exec(
      header,
    );
  const [, accessKeyId, region, service, names] = match ?? [];
  if (accessKeyId === undefined || region === undefined || service === undefined || names === undefined) {
    return undefined;
  }
  return { accessKeyId, region, service, signedHeaders: names.split(';') };
}

function parseAmzDate(text: string | undefined): number | undefined {
  const match = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/.exec(text ?? '');
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second] = match;
  const timeMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

function parseQuery(text: string | undefined): Record<string, string[]> {
  const query = new Map<string, string[]>();
  for (const pair of text?.split('&') ?? []) {
    if (pair === '') continue;
    const [name = '', value = ''] = splitOnce(pair, '=').map(percentDecoded);
    query.set(name, [...(query.get(name) ?? []), value]);
  }
  return Object.fromEntries(query);
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
