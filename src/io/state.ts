import { readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { AgentError, toAgentError } from '../core/errors.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
import type { Pending } from '../core/pending.ts';
import type { Failure, Installed } from '../core/reconcile.ts';
import { isSequence } from '../core/signature.ts';
import type { Verdict } from '../core/verdict.ts';
import { diskError, errnoOf, writeFileAtomic } from './disk.ts';
import type { Logger } from './log.ts';

const stateName = 'state.json';

const jsonValue = v.custom<JsonValue>(() => true);
const jsonObject = v.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);
const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

const stampSchema = v.object({
  dev: v.string(),
  ino: v.string(),
  size: v.string(),
  mtimeNs: v.string(),
  ctimeNs: v.string(),
});

const verdictSchema = v.object({
  etag: v.string(),
  times: v.number(),
  sha256: v.optional(sha256),
  size: v.optional(v.number()),
  leastSize: v.optional(v.number()),
}) satisfies v.GenericSchema<unknown, Verdict>;

const partSchema = v.object({
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

const failureSchema = v.object({
  value: jsonValue,
  code: v.picklist([
    'S3',
    'CREDENTIALS',
    'S3_DENIED',
    'S3_NOT_FOUND',
    'HASH_MISMATCH',
    'TOO_LARGE',
    'DISK_FULL',
    'INSTALL',
    'HOOK_FAILED',
  ]),
  message: v.string(),
  hint: v.optional(v.string()),
  attempt: v.number(),
  /** Wall-clock ms; missing where it is not tried again. */
  retryAtMs: v.exactOptional(v.number()),
});

const sealSchema = v.object({ sequence: v.pipe(v.number(), v.check(isSequence)), sha256 });

const installedSchema = v.object({ sha256, value: v.exactOptional(jsonObject) });

const pendingSchema = v.object({
  step: v.picklist(['apply', 'back', 'reapply']),
  sha256: v.union([sha256, v.literal('')]),
  value: v.exactOptional(jsonObject),
  before: v.exactOptional(v.object({ sha256: v.exactOptional(sha256), value: v.exactOptional(jsonObject) })),
  keep: v.boolean(),
  runs: v.number(),
  failed: v.exactOptional(v.object({ message: v.string(), hint: v.exactOptional(v.string()) })),
  repair: v.exactOptional(v.literal(true)),
}) satisfies v.GenericSchema<unknown, Pending>;

const fileSchema = v.object({
  property: v.string(),
  path: v.string(),
  installed: v.optional(v.object({ ...installedSchema.entries, stamp: stampSchema })),
  /** The last sequence number of a signature that was taken for this property. */
  signature: v.optional(sealSchema),
  previous: v.optional(installedSchema),
  /** What is to be ended first at the next start. */
  pending: v.optional(pendingSchema),
  /** The desired hash that a rollback has refused. */
  held: v.optional(v.object({ sha256 })),
  /** What the shadow desired when it was last heard of; a start that gets no answer goes by it. */
  desired: v.optional(jsonObject),
  part: v.optional(partSchema),
  failure: v.optional(failureSchema),
});

const stateSchema = v.object({ version: v.literal(1), files: v.array(fileSchema) });

/** What tells one state of a file from another without reading it: stat figures, as decimal text. */
export type FileStamp = v.InferOutput<typeof stampSchema>;
export type PartRecord = v.InferOutput<typeof partSchema>;
export type StoredFailure = v.InferOutput<typeof failureSchema>;
export type StoredFile = v.InferOutput<typeof fileSchema>;
export type FileState = Omit<StoredFile, 'property'>;
/** Members of the stored state to set; undefined removes one. */
export type StateChange = { [K in keyof FileState]?: FileState[K] | undefined };
/** What is installed, and the stamp that spares hashing it again. */
export type StampedInstalled = Installed & { stamp: FileStamp };

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

/**
 * A failure as it is stored: one that waits long, so that a restart does not cut its wait short, and what a hook has
 * refused. One over a limit of the configuration is not: it may be another now, and to ask again costs a 304.
 */
export function storable(failure: Failure, retryAtWallMs: number | undefined): StoredFailure | undefined {
  const { value, code, message, hint, attempt, retry } = failure;
  if ((retry !== 'slow' && code !== 'HOOK_FAILED') || code === 'TOO_LARGE') return undefined;
  const retryAt = retryAtWallMs === undefined ? {} : { retryAtMs: retryAtWallMs };
  const stored = v.safeParse(failureSchema, { value, code, message, hint, attempt, ...retryAt });
  return stored.success ? stored.output : undefined;
}

/**
 * `stateDir/state.json`: what the disk itself cannot tell. Written whole, atomically and synced, one write at a time;
 * a write that comes while another is under way is joined with those behind it.
 */
export class State {
  readonly #path: string;
  readonly #files: Map<string, StoredFile>;
  readonly #log: Logger;
  #writing: Promise<void> = Promise.resolve();
  #queued: Promise<void> | undefined;
  #isStale = false;

  private constructor(path: string, files: Map<string, StoredFile>, log: Logger) {
    this.#path = path;
    this.#files = files;
    this.#log = log;
  }

  /**
   * Opens the state of a directory that this agent holds. Rubbish is set aside as `state.json.bad`.
   *
   * @param isPrecious nor is one set aside that cannot be read: it may be sound
   * @throws AgentError INSTALL where there is one
   */
  static async open(stateDir: string, log: Logger, isPrecious = false): Promise<State> {
    return new State(join(stateDir, stateName), await load(stateDir, log, isPrecious), log);
  }

  /** What is stored of one file; where it was stored for another path, no more than what is the property's own. */
  file(property: string, path: string): FileState {
    const stored = this.#files.get(property);
    if (stored === undefined) return { path };
    const { property: _, ...file } = stored;
    if (stored.path === path) return file;
    const { signature, held, desired, failure } = stored;
    return {
      path,
      ...(signature === undefined ? {} : { signature }),
      ...(held === undefined ? {} : { held }),
      ...(desired === undefined ? {} : { desired }),
      ...(failure?.code === 'HOOK_FAILED' ? { failure } : {}),
    };
  }

  /** Where it lies. */
  get directory(): string {
    return dirname(this.#path);
  }

  /** Where the file was, if that is elsewhere than it is now. */
  formerPath(property: string, path: string): string | undefined {
    const stored = this.#files.get(property)?.path;
    return stored === path ? undefined : stored;
  }

  /** Whether a write has failed and none has succeeded since: the disk then has what was true before. */
  get isStale(): boolean {
    return this.#isStale;
  }

  /** Changes what is stored of one file. Resolves when it is safe on disk. @throws AgentError INSTALL or DISK_FULL */
  update(property: string, path: string, change: StateChange): Promise<void> {
    this.note(property, path, change);
    return this.#save();
  }

  /** Changes what is stored of one file; it is written with the next update of any. */
  note(property: string, path: string, change: StateChange): void {
    const merged = { ...this.file(property, path), ...change, property, path };
    const kept = Object.entries(merged).filter(([, value]) => value !== undefined);
    this.#files.set(property, v.parse(fileSchema, Object.fromEntries(kept)));
  }

  #save(): Promise<void> {
    this.#queued ??= this.#writing
      .catch(() => undefined)
      .then(() => {
        this.#queued = undefined;
        const state = { version: 1, files: [...this.#files.values()] };
        this.#writing = this.#write(`${JSON.stringify(state, null, 1)}\n`);
        return this.#writing;
      });
    return this.#queued;
  }

  /** Of writes that fail in a row the first one is logged, and the one that ends them. */
  async #write(text: string): Promise<void> {
    const wasStale = this.#isStale;
    try {
      await writeFileAtomic(this.#path, text, 0o600);
      this.#isStale = false;
      if (wasStale) this.#log.info('The state file is written again');
    } catch (error) {
      this.#isStale = true;
      const what = 'Cannot write the state file';
      const failure = toAgentError(diskError(error, what, this.directory), 'INSTALL', what);
      const { message, code, hint } = failure;
      if (!wasStale) this.#log.error(message, { path: this.#path, code, hint });
      throw failure;
    }
  }
}

/**
 * What is stored in a state directory, for one who only looks; by property, empty where nothing was stored yet.
 *
 * @throws AgentError INSTALL where a state file cannot be read, Error where it is read, but rubbish
 */
export async function readState(stateDir: string): Promise<Map<string, StoredFile>> {
  const path = join(stateDir, stateName);
  try {
    const text = await readFile(path, 'utf8');
    const { files } = v.parse(stateSchema, JSON.parse(text));
    return new Map(files.map((file) => [file.property, file]));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return new Map();
    if (!/^E[A-Z0-9]+$/.test(errno) || errno === 'EISDIR') throw error;
    throw new AgentError('INSTALL', `Cannot read ${path}: ${errno}`, {
      hint: `let the agent read it: chown --reference=${stateDir} ${path}, or mend the disk; to begin anew without it, move it away`,
      cause: error,
    });
  }
}

async function load(stateDir: string, log: Logger, isPrecious: boolean): Promise<Map<string, StoredFile>> {
  try {
    return await readState(stateDir);
  } catch (error) {
    const path = join(stateDir, stateName);
    if (isPrecious && error instanceof AgentError) throw error;
    await rename(path, `${path}.bad`).catch(() => undefined);
    log.warning('The state file is not readable and was set aside; starting anew from disk and shadow', {
      path: `${path}.bad`,
    });
    return new Map();
  }
}
