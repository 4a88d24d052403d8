import { rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { AgentError, toAgentError } from '../core/errors.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
import type { Pending } from '../core/pending.ts';
import type { Failure, Installed } from '../core/reconcile.ts';
import { isSequence } from '../core/signature.ts';
import { diskError, errnoOf, writeFileAtomic } from './disk.ts';
import type { Logger } from './log.ts';
import { partSchema, sha256 } from './part-record.ts';
import { storedAt } from './stored-file.ts';
import { readPlainFile } from './text-file.ts';

const stateName = 'state.json';

const jsonValue = v.custom<JsonValue>(() => true);
const jsonObject = v.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);

const stampSchema = v.object({
  dev: v.string(),
  ino: v.string(),
  size: v.string(),
  mtimeNs: v.string(),
  ctimeNs: v.string(),
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

const beforeSchema = v.object({
  sha256: v.exactOptional(sha256),
  value: v.exactOptional(jsonObject),
  unproven: v.exactOptional(v.literal(true)),
});

const stepSchema = v.object({
  step: v.picklist(['apply', 'back', 'reapply']),
  sha256: v.union([sha256, v.literal('')]),
  value: v.exactOptional(jsonObject),
  before: v.exactOptional(beforeSchema),
  keep: v.boolean(),
  runs: v.number(),
  failed: v.exactOptional(v.object({ message: v.string(), hint: v.exactOptional(v.string()) })),
  repair: v.exactOptional(v.literal(true)),
});

const pendingSchema = v.object({
  ...stepSchema.entries,
  over: v.exactOptional(stepSchema),
}) satisfies v.GenericSchema<unknown, Pending>;

const fileSchema = v.object({
  property: v.string(),
  path: v.string(),
  installed: v.optional(
    v.object({
      ...installedSchema.entries,
      stamp: stampSchema,
      /** It is no way back: its hook has not taken it, or somebody has changed it. */
      unproven: v.exactOptional(v.literal(true)),
    }),
  ),
  /** The last sequence number of a signature that was taken for this property. */
  signature: v.optional(sealSchema),
  previous: v.optional(installedSchema),
  /** What is to be ended first at the next start. */
  pending: v.optional(pendingSchema),
  /** Why that could not be ended. It is for who looks while no agent runs: the next start tries it at once. */
  blocked: v.optional(failureSchema),
  /** The desired hash that a rollback has refused. */
  held: v.optional(v.object({ sha256 })),
  /** What the shadow desired when it was last heard of; a start that gets no answer goes by it. */
  desired: v.optional(jsonObject),
  part: v.optional(partSchema),
  failure: v.optional(failureSchema),
});

const stateSchema = v.object({
  version: v.literal(1),
  /** The prefix of the shadow's topics that `desired` of the files is of. */
  shadow: v.optional(v.string()),
  files: v.array(fileSchema),
});

/** What tells one state of a file from another without reading it: stat figures, as decimal text. */
export type FileStamp = v.InferOutput<typeof stampSchema>;
export type StoredFailure = v.InferOutput<typeof failureSchema>;
export type StoredFile = v.InferOutput<typeof fileSchema>;
export type FileState = Omit<StoredFile, 'property'>;
/** Members of the stored state to set; undefined removes one. */
export type StateChange = { [K in keyof FileState]?: FileState[K] | undefined };
/** What is installed, and the stamp that spares hashing it again. */
export type StampedInstalled = Installed & { stamp: FileStamp };

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
  #shadow: string | undefined;
  #writing: Promise<void> = Promise.resolve();
  #queued: Promise<void> | undefined;
  #isStale = false;

  private constructor(path: string, { shadow, files }: Loaded, log: Logger) {
    this.#path = path;
    this.#shadow = shadow;
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

  /**
   * Forgets what another shadow desired, and what is desired of properties that nobody keeps: it is not heard of any
   * more when that is withdrawn. Never rejects.
   *
   * @param shadow the prefix of its topics
   */
  async keepTo(shadow: string, properties: readonly string[]): Promise<void> {
    const isOther = shadow !== this.#shadow;
    this.#shadow = shadow;
    const gone = [...this.#files.values()].filter(
      ({ property, desired }) => desired !== undefined && (isOther || !properties.includes(property)),
    );
    for (const { property, path } of gone) this.note(property, path, { desired: undefined });
    if (gone.length > 0) await this.#save().catch(() => undefined);
  }

  /** What is stored of one file. */
  file(property: string, path: string): FileState {
    return storedAt(this.#files.get(property), path);
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

  /** Has all that is stored of a file be of another way to it. Never rejects. */
  async respell(property: string, path: string): Promise<void> {
    const stored = this.#files.get(property);
    if (stored === undefined) return;
    this.#files.set(property, { ...stored, path });
    await this.#save().catch(() => undefined);
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
        const state = { version: 1, shadow: this.#shadow, files: [...this.#files.values()] };
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
  return (await read(stateDir)).files;
}

interface Loaded {
  shadow?: string | undefined;
  /** By property. */
  files: Map<string, StoredFile>;
}

async function read(stateDir: string): Promise<Loaded> {
  const path = join(stateDir, stateName);
  try {
    const text = await readPlainFile(path);
    const { shadow, files } = v.parse(stateSchema, JSON.parse(text));
    return { shadow, files: new Map(files.map((file) => [file.property, file])) };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return { files: new Map() };
    if (!/^E[A-Z0-9]+$/.test(errno)) throw error;
    throw new AgentError('INSTALL', `Cannot read ${path}: ${errno}`, {
      hint: `let the agent read it: chown --reference=${stateDir} ${path}, or mend the disk; to begin anew without it, move it away`,
      cause: error,
    });
  }
}

async function load(stateDir: string, log: Logger, isPrecious: boolean): Promise<Loaded> {
  try {
    return await read(stateDir);
  } catch (error) {
    const path = join(stateDir, stateName);
    if (isPrecious && error instanceof AgentError) throw error;
    await rename(path, `${path}.bad`).catch(() => undefined);
    log.warning('The state file is not readable and was set aside; starting anew from disk and shadow', {
      path: `${path}.bad`,
    });
    return { files: new Map() };
  }
}
