import { createHash } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { chmod, type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AgentError } from '../core/errors.ts';
import { createDigest, type Digest, type DigestEngine } from './digest.ts';
import { diskError, errnoOf, makeDirectory, readThrough, remove, syncDirectory, writeWhole } from './disk.ts';

/** 16 hex digits that name a file's parts, its previous version and its hook. */
export function fileId(property: string, target: string): string {
  return createHash('sha256').update(`${property}\0${target}`).digest('hex').slice(0, 16);
}

/** The part of one object lies beside its target, so that a rename can install it. */
export function partPath(property: string, target: string, sha256: string): string {
  const name = `.shadow-agent.${fileId(property, target)}.${sha256.slice(0, 16)}.part`;
  return join(dirname(target), name);
}

/** Where a previous file stands for the instant before it is renamed back; nobody else makes a name of this kind. */
export function stagedBackPath(property: string, target: string): string {
  return join(dirname(target), `.shadow-agent.${fileId(property, target)}.back.part`);
}

/** Removes the parts of one file but for the one to keep; other names in the directory are never touched. */
export async function cleanParts(property: string, target: string, keepSha256?: string): Promise<void> {
  const keep = keepSha256 === undefined ? '' : basename(partPath(property, target, keepSha256));
  const ours = new RegExp(`^\\.shadow-agent\\.${fileId(property, target)}\\.([0-9a-f]{16}|back)\\.part$`);
  const directory = dirname(target);
  const names = await readdir(directory).catch(() => []);
  for (const name of names) {
    if (ours.test(name) && name !== keep) await remove(join(directory, name)).catch(() => undefined);
  }
}

/** What of a part may be built on. */
export interface Trust {
  /** Owners besides the agent: an install that was cut short may have given the part the owner of the target. */
  uids?: readonly number[];
  /** Bytes; what lies beyond is cut off. */
  bytes?: number | undefined;
}

/** An install that was cut short may have given the part a mode that keeps its own owner out. */
async function openOrMake(path: string): Promise<FileHandle> {
  const flags = constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  try {
    return await open(path, constants.O_RDWR | flags, 0o600);
  } catch (error) {
    if (errnoOf(error) !== 'EACCES' || !(await makeWritable(path))) throw error;
    return await open(path, constants.O_RDWR | flags, 0o600);
  }
}

async function makeWritable(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isFile() !== true || found.uid !== process.geteuid?.()) return false;
  await chmod(path, 0o600);
  return true;
}

/** A file that grows towards an object, and the digest of what it holds. It survives restarts. */
export class Part {
  readonly path: string;
  readonly handle: FileHandle;
  readonly #engine: DigestEngine;
  #digest: Digest;
  #length = 0;
  /** Bytes that the digest has seen. */
  #hashed = 0;

  private constructor(path: string, handle: FileHandle, engine: DigestEngine) {
    this.path = path;
    this.handle = handle;
    this.#engine = engine;
    this.#digest = createDigest(engine);
  }

  /**
   * Opens or makes a part, and hashes what it already holds.
   *
   * @throws AgentError INSTALL when something else stands there: a link, a device, a file of a stranger, or one with a
   * second name
   */
  static async open(
    path: string,
    engine: DigestEngine,
    signal: AbortSignal,
    trust: Trust = {},
  ): Promise<Part> {
    const { uids = [], bytes = Number.POSITIVE_INFINITY } = trust;
    try {
      await makeDirectory(dirname(path));
      const part = new Part(path, await openOrMake(path), engine);
      try {
        const { size } = await part.#check([process.geteuid?.(), ...uids]);
        if (size > bytes) await part.handle.truncate(bytes);
        part.#length = await readThrough(part.handle, (chunk) => part.#digest.update(chunk), signal);
        part.#hashed = part.#length;
        return part;
      } catch (error) {
        await part.close();
        throw error;
      }
    } catch (error) {
      throw signal.aborted
        ? error
        : diskError(error, `Cannot open the part in ${dirname(path)}`, dirname(path));
    }
  }

  async #check(uids: Array<number | undefined>): Promise<Stats> {
    const stat = await this.handle.stat();
    if (stat.isFile() && stat.nlink === 1 && uids.includes(stat.uid)) return stat;
    throw new AgentError('INSTALL', `${this.path} is not a plain file of this agent alone`, {
      hint: 'find out who put it there, and remove it',
    });
  }

  /** Bytes in the part. */
  get length(): number {
    return this.#length;
  }

  /** SHA-256 of all that the part holds now. */
  hex(): string {
    return this.#digest.hex();
  }

  /** Adds a chunk, or nothing of it. @throws AgentError DISK_FULL or INSTALL; the same chunk may then be tried again */
  async append(chunk: Uint8Array): Promise<void> {
    const written = this.#write(chunk);
    // Hashed while the disk works; a second try finds it done.
    if (this.#hashed === this.#length) {
      this.#digest.update(chunk);
      this.#hashed += chunk.length;
    }
    await written;
    this.#length += chunk.length;
  }

  async #write(chunk: Uint8Array): Promise<void> {
    try {
      await writeWhole(this.handle, chunk, this.#length);
    } catch (error) {
      throw diskError(error, `Cannot write to ${dirname(this.path)}`, dirname(this.path));
    }
  }

  /** Makes all that was appended outlast a power cut. @throws as `seal` */
  async sync(): Promise<void> {
    await this.flush();
    try {
      await syncDirectory(dirname(this.path));
    } catch (error) {
      throw diskError(error, `Cannot write to ${dirname(this.path)}`, dirname(this.path));
    }
  }

  /** The same for its bytes, but not for its name. @throws as `seal` */
  async flush(): Promise<void> {
    await this.#persist(() => this.handle.datasync());
  }

  /** The same for its mode and owner, but not for its name. @throws AgentError INSTALL or DISK_FULL; the part is gone */
  async seal(): Promise<void> {
    await this.#persist(() => this.handle.sync());
  }

  /**
   * After a sync that failed Linux may take the pages for written and the next sync succeeds: what was read back from
   * memory until now need not be on the disk, and nothing would tell.
   */
  async #persist(sync: () => Promise<void>): Promise<void> {
    try {
      await sync();
    } catch (error) {
      await this.handle.truncate(0).catch(() => undefined);
      await remove(this.path).catch(() => undefined);
      throw diskError(error, `Cannot write ${this.path} to the disk`, dirname(this.path));
    }
  }

  /** Empties the part. @throws AgentError DISK_FULL or INSTALL */
  async restart(): Promise<void> {
    try {
      await this.handle.truncate(0);
    } catch (error) {
      throw diskError(error, `Cannot empty the part in ${dirname(this.path)}`, dirname(this.path));
    }
    this.#digest = createDigest(this.#engine);
    this.#length = 0;
    this.#hashed = 0;
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  /** Closes the part and takes it off the disk. */
  async discard(): Promise<void> {
    await this.close();
    await remove(this.path);
  }
}
