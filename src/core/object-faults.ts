import type { Artifact } from './artifact.ts';
import { AgentError } from './errors.ts';

/** The object is another one than is desired. */
export function mismatch(artifact: Artifact, actual: string): AgentError {
  return new AgentError('HASH_MISMATCH', `The object hashes to ${actual}, desired is ${artifact.sha256}`, {
    hint: 'the object was overwritten or "hash" is wrong: upload it again (under another key if its ETag stays the same), or correct the desired state',
  });
}

/** It cannot be the one that is desired: their sizes differ. */
export function wrongSize(found: string, desired: number): AgentError {
  return new AgentError('HASH_MISMATCH', `The object has ${found}, desired says ${desired}`, {
    hint: 'upload the right object, or correct "size" in the desired state',
  });
}

/** It is over `maxBytes`. */
function tooLarge(bytes: number, maxBytes: number): AgentError {
  return new AgentError('TOO_LARGE', `The object has ${bytes} bytes or more, the limit is ${maxBytes}`, {
    hint: 'raise "maxBytes" of this file in agent.json, if the device may take files of this size',
  });
}

/** What an object may have at most, in bytes, and what it is said to have. */
export interface SizeRules {
  maxBytes: number | undefined;
  size: number | undefined;
}

/** Why an object of this length will not do; it may be longer. */
export function lengthFault(
  bytes: number,
  { maxBytes = bytes, size = bytes }: SizeRules,
): AgentError | undefined {
  if (bytes > maxBytes) return tooLarge(bytes, maxBytes);
  return bytes > size ? wrongSize(`${bytes} bytes or more`, size) : undefined;
}

/** Why an object of exactly this size will not do. */
export function sizeFault(bytes: number, rules: SizeRules): AgentError | undefined {
  const { size = bytes } = rules;
  return bytes === size ? lengthFault(bytes, rules) : wrongSize(`${bytes} bytes`, size);
}

/**
 * Nothing is kept of such a download.
 *
 * @param isOfUse where a disk is full: the part is to wait, as to give it up makes no room that is missing
 */
export function isUseless(error: unknown, isOfUse: boolean): boolean {
  if (!(error instanceof AgentError)) return false;
  if (error.code === 'DISK_FULL') return !isOfUse;
  return error.code === 'HASH_MISMATCH' || error.code === 'TOO_LARGE';
}

/** What was answered is not the range that was asked for, by the kind of the answer. */
export function rangeFault(kind: string): AgentError {
  const reasons: Record<string, string> = {
    changed: 'The object was replaced while it was fetched',
    other: 'S3 answered with another range than was asked for',
  };
  return new AgentError('S3', reasons[kind] ?? `S3 answered "${kind}" to a range`, { retry: 'soon' });
}

/** Where a range starts, and of what object it is. */
export interface RangeFacts {
  first: number;
  size: number | undefined;
  etag: string | undefined;
}

/** Why a range that came is not the one that was asked for. */
export function otherRange(came: RangeFacts, wanted: RangeFacts): AgentError | undefined {
  if (came.etag !== wanted.etag) return rangeFault('changed');
  return came.first === wanted.first && came.size === wanted.size ? undefined : rangeFault('other');
}
