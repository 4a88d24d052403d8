import { percentDecoded } from './percent.ts';
import type { Session, Sessions } from './sessions.ts';
import { parseTimestamp, sameSecret, Verifier } from './verifier.ts';

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
  signature: string;
}

/** Verifies the `Authorization` header of a request by signing it again with AWS's own signer. */
export async function verifySigV4(request: SignedRequest, options: VerifyOptions): Promise<Verification> {
  const header = request.headers['authorization'];
  if (header === undefined) return { ok: false, code: 'MissingAuthentication' };
  const authorization = parseAuthorization(header);
  const dateMs = parseTimestamp(request.headers['x-amz-date'] ?? '');
  if (authorization === undefined || Number.isNaN(dateMs)) return { ok: false, code: 'IncompleteSignature' };
  const session = options.sessions.find(authorization.accessKeyId);
  if (session === undefined) return { ok: false, code: 'UnknownAccessKey' };
  const problem = problemOf(request, options, authorization, session, dateMs);
  if (problem !== undefined) return { ok: false, code: problem };
  const expected = await expectedSignature(request, authorization, session);
  return sameSecret(expected, authorization.signature)
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

/** The signature that the holder of the session would send with this request. */
async function expectedSignature(
  { method, rawUrl, headers, bodyHash }: SignedRequest,
  { region, service, signedHeaders }: Authorization,
  session: Session,
): Promise<string> {
  const [path = '/', queryText] = splitOnce(rawUrl, '?');
  const { signature } = await new Verifier(session, region, service).expect({
    method,
    path,
    query: parseQuery(queryText),
    headers: Object.fromEntries(signedHeaders.map((name) => [name, headers[name] ?? ''])),
    payloadHash: bodyHash,
    timestamp: headers['x-amz-date'] ?? '',
  });
  return signature;
}

function parseAuthorization(header: string): Authorization | undefined {
  const match =
    /^AWS4-HMAC-SHA256\s+Credential=([^/,]+)\/\d{8}\/([^/,]+)\/([^/,]+)\/aws4_request,\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})$/.exec(
      header,
    );
  if (match === null) return undefined;
  const [, accessKeyId = '', region = '', service = '', names = '', signature = ''] = match;
  return { accessKeyId, region, service, signedHeaders: names.split(';'), signature };
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
