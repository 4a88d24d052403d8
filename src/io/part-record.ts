/** What is stored of a part: what a later attempt, or the next run, may build on. */
import * as v from 'valibot';
import type { Verdict } from '../core/verdict.ts';

export const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

const verdictSchema = v.object({
  etag: v.string(),
  times: v.number(),
  sha256: v.optional(sha256),
  size: v.optional(v.number()),
  leastSize: v.optional(v.number()),
}) satisfies v.GenericSchema<unknown, Verdict>;

export const partSchema = v.object({
  /** What the part is to become. */
  sha256,
  /** URL and version that the bytes came from. */
  source: v.string(),
  etag: v.optional(v.string()),
  /** Bytes of the whole object. */
  size: v.optional(v.number()),
  /** Bytes that are known to outlast a power cut, and the boot that wrote more. */
  syncedBytes: v.optional(v.number()),
  bootId: v.optional(v.string()),
  /** The part was begun anew because its first bytes did not hash to what is desired. */
  anew: v.optional(v.boolean()),
  wrong: v.optional(verdictSchema),
});

export type PartRecord = v.InferOutput<typeof partSchema>;

/** A part's record, with the members that are known. @throws Error for what is no record */
export function partRecord(facts: { [K in keyof PartRecord]?: unknown }): PartRecord {
  return v.parse(
    partSchema,
    Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined)),
  );
}

/**
 * What a stored record tells of the object of a source. Of another source of the same bytes these are kept, and are as
 * safe as before; its ETag says nothing.
 */
export function adopted(
  record: PartRecord | undefined,
  sha256: string,
  source: string,
): PartRecord | undefined {
  if (record?.sha256 !== sha256) return undefined;
  const { syncedBytes } = record;
  return record.source === source ? record : partRecord({ sha256, source, syncedBytes });
}

/** After a power cut a part may hold what was never written: only so many bytes are built on; all without a limit. */
export function trustedBytes(
  record: PartRecord | undefined,
  sha256: string,
  bootId: string | undefined,
): number | undefined {
  if (record?.sha256 !== sha256 || record.bootId === undefined || record.bootId === bootId) return undefined;
  return record.syncedBytes ?? 0;
}
