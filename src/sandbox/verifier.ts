import { timingSafeEqual } from 'node:crypto';
import { Sha256 } from '@aws-crypto/sha256-js';
import { createScope, SignatureV4 } from '@smithy/signature-v4';
import type { Session } from './sessions.ts';

/** What is signed, as it came over the wire. */
export interface SignedRequest {
  method: string;
  /** For S3 decoded and re-encoded once; for other services as it came. */
  path: string;
  query: Record<string, string | string[]>;
  /** The signed headers only, lower case. */
  headers: Record<string, string>;
  payloadHash: string;
  /** `YYYYMMDDTHHMMSSZ`. */
  timestamp: string;
}

export interface ExpectedSignature {
  signature: string;
  canonicalRequest: string;
  stringToSign: string;
}

/** Signs the way AWS's clients do, with AWS's own signer, so that it can be compared with what a client sent. */
export class Verifier extends SignatureV4 {
  readonly #region: string;
  readonly #service: string;

  constructor(session: Session, region: string, service: string) {
    super({
      credentials: { accessKeyId: session.accessKeyId, secretAccessKey: session.secretAccessKey },
      region,
      service,
      sha256: Sha256,
      // S3 alone encodes the path once and leaves `//` and dot segments as they are.
      uriEscapePath: service !== 's3',
    });
    this.#region = region;
    this.#service = service;
  }

  /** The signature that a request should carry. */
  async expect(request: SignedRequest): Promise<ExpectedSignature> {
    const { method, path, query, headers, payloadHash, timestamp } = request;
    const canonicalRequest = this.createCanonicalRequest(
      { method, protocol: 'https:', hostname: '', path, query, headers },
      canonicalHeaders(headers),
      payloadHash,
    );
    const stringToSign = await this.createStringToSign(
      timestamp,
      this.scope(timestamp),
      canonicalRequest,
      'AWS4-HMAC-SHA256',
    );
    return { signature: await this.signText(stringToSign, timestamp), canonicalRequest, stringToSign };
  }

  /** Signs a string for the day of a timestamp. */
  signText(text: string, timestamp: string): Promise<string> {
    return this.sign(text, { signingDate: new Date(parseTimestamp(timestamp)) });
  }

  scope(timestamp: string): string {
    return createScope(timestamp.slice(0, 8), this.#region, this.#service);
  }
}

/** Trimmed, runs of blanks folded. The signer's own helper leaves out headers that clients may sign all the same. */
function canonicalHeaders(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, value.trim().replace(/\s+/g, ' ')]),
  );
}

/** Milliseconds of `YYYYMMDDTHHMMSSZ`; NaN when it is none. */
export function parseTimestamp(timestamp: string): number {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(timestamp);
  if (match === null) return Number.NaN;
  const [, year, month, day, hour, minute, second] = match;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

/** Compares two signatures or tokens in constant time. */
export function sameSecret(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.length === right.length && timingSafeEqual(left, right);
}
