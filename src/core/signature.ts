/**
 * Signed files: which bytes are signed, how a signature travels with an object, and which sequence numbers are taken.
 *
 * The signed message is `shadow-agent file signature v1`, the SHA-256 in hex, the sequence number in decimal and the
 * property, each on a line of its own, with no line end behind the last. The first three have a fixed grammar and the
 * property holds no control characters, so no two files share a message; the first line keeps it apart from whatever
 * else a key may have signed.
 */

/** Names of the object's metadata, as `aws s3 cp --metadata` takes them. */
export const signatureMetadata = 'shadow-agent-signature';
export const sequenceMetadata = 'shadow-agent-sequence';

/** What a signature vouches for. */
export interface Signed {
  /** 64 lower-case hex digits. */
  sha256: string;
  property: string;
  sequence: number;
}

/** The texts of the two metadata of an object; null where there is none. */
export interface SignatureTexts {
  signature: string | null;
  sequence: string | null;
}

/** A signature and the sequence number that it covers. */
export interface Seal {
  /** 64 bytes, Ed25519. */
  signature: Uint8Array<ArrayBuffer>;
  sequence: number;
}

/** The last sequence number that was taken, and the file that it came with. */
export interface LastSeal {
  sequence: number;
  sha256: string;
}

/** A value, or what is wrong in a sentence for the person on call. */
export type Checked<T> = { value: T } | { problem: string };

const version = 'shadow-agent file signature v1';
// Base64 of 64 and of 32 bytes, in the one form whose unused last bits are zero.
const signatureText = /^[A-Za-z0-9+/]{85}[AQgw]==$/;
const publicKeyText = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const sequenceText = /^[1-9]\d{0,15}$/;

/** The bytes that are signed. */
export function signedMessage({ sha256, property, sequence }: Signed): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${version}\n${sha256}\n${sequence}\n${property}`);
}

/** Tells whether a number can be a sequence number: whole, from 1 to 2^53 - 1. */
export function isSequence(sequence: number): boolean {
  return Number.isSafeInteger(sequence) && sequence >= 1;
}

/** The 32 bytes of an Ed25519 public key, written in base64; undefined for any other text. */
export function parsePublicKey(text: string): Uint8Array<ArrayBuffer> | undefined {
  return publicKeyText.test(text) ? fromBase64(text) : undefined;
}

/** Reads the signature of an object. What is not exactly in the form that `shadow-agent sign` writes is refused. */
export function parseSeal({ signature, sequence }: SignatureTexts): Checked<Seal> {
  if (signature === null && sequence === null) return { problem: 'The object is not signed' };
  if (signature === null) return { problem: `The object has no metadata ${signatureMetadata}` };
  if (sequence === null) return { problem: `The object has no metadata ${sequenceMetadata}` };
  if (!signatureText.test(signature)) {
    return { problem: `The metadata ${signatureMetadata} is not the base64 of 64 bytes` };
  }
  const number = Number(sequence);
  if (!sequenceText.test(sequence) || !isSequence(number)) {
    return { problem: `The metadata ${sequenceMetadata} is no whole number from 1 on` };
  }
  return { value: { signature: fromBase64(signature), sequence: number } };
}

/**
 * What is wrong with a sequence number whose signature is sound; undefined where it may be installed. An older one
 * would bring back a file that was signed once, the same one only the same file.
 */
export function replayProblem(
  { sequence, sha256 }: LastSeal,
  last: LastSeal | undefined,
): string | undefined {
  if (last === undefined || sequence > last.sequence) return undefined;
  if (sequence < last.sequence) {
    return `The signature is replayed: its sequence ${sequence} is lower than ${last.sequence}, which was taken before`;
  }
  return sha256 === last.sha256
    ? undefined
    : `The signature is replayed: its sequence ${sequence} was taken with another file before`;
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
