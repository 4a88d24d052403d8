/**
 * What was found wrong of the object of an ETag. One fetch may itself have been wrong: a bad answer, a bit that
 * flipped in memory. Only what two fetches agree on is believed, and spares every further one of the same ETag.
 */
import type { Artifact } from './artifact.ts';
import type { AgentError } from './errors.ts';
import { lengthFault, mismatch, type SizeRules, sizeFault } from './object-faults.ts';

/** What its bytes hash to, how many there are, or how many there are at least. */
export type Finding = { sha256: string } | { size: number } | { leastSize: number };

export interface Verdict {
  etag: string;
  /** Fetches in a row that found it. */
  times: number;
  sha256?: string | undefined;
  size?: number | undefined;
  leastSize?: number | undefined;
}

const timesBelieved = 2;

/** The verdict after one more finding; none of an object without an ETag, which cannot be told from the next one. */
export function judge(
  before: Verdict | undefined,
  etag: string | undefined,
  finding: Finding,
): Verdict | undefined {
  if (etag === undefined) return undefined;
  const verdict: Verdict = { ...finding, etag, times: 1 };
  const isSame = before?.etag === etag && before.sha256 === verdict.sha256 && before.size === verdict.size;
  return isSame ? { ...verdict, times: before.times + 1 } : verdict;
}

/** Why the object of this verdict need not be fetched again; undefined where it is to be, for all that is known. */
export function unfit(
  verdict: Verdict | undefined,
  artifact: Artifact,
  rules: SizeRules,
): AgentError | undefined {
  if (verdict === undefined || verdict.times < timesBelieved) return undefined;
  const { sha256, size, leastSize = 0 } = verdict;
  if (sha256 !== undefined) return mismatch(artifact, sha256);
  return size === undefined ? lengthFault(leastSize, rules) : sizeFault(size, rules);
}
