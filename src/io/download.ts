/**
 * One attempt to bring an object to disk, resumed where an earlier one ended.
 *
 * The part is hashed, the rest asked for with Range and If-Match, and every chunk goes limit → hash → write. Only the
 * final digest is trusted; the size of a part proves nothing.
 */
import { dirname } from 'node:path';
import type { Artifact } from '../core/artifact.ts';
import { AgentError } from '../core/errors.ts';
import type { DigestEngine } from './digest.ts';
import { roomIn } from './disk.ts';
import { networkError } from './http.ts';
import { Part } from './part.ts';
import type { GetObject, ObjectAnswer } from './s3.ts';
import { type PartRecord, partRecord } from './state.ts';
import type { Throttle } from './throttle.ts';

export interface DownloadJob {
  artifact: Artifact;
  /** Where the part lies. */
  path: string;
  /** Owners that the part may have besides the agent. */
  uids?: readonly number[];
  getObject: GetObject;
  /** What an earlier attempt left in the state file. */
  record: PartRecord | undefined;
  /** Stores the record before the bytes that it describes are written. */
  saveRecord: (record: PartRecord) => Promise<void>;
  digest: DigestEngine;
  /** Which boot of the device this is; undefined where that cannot be told. */
  bootId?: string | undefined;
  /** Held by all downloads together. */
  throttle?: Throttle;
  maxBytes: number | undefined;
  /** With no byte for this long, the attempt ends. */
  stallSeconds: number;
  /** Called when room is short; true when something could be given up for it. */
  makeRoom: () => Promise<boolean>;
  /** Bytes on disk so far, and of the whole object where that is known. */
  onProgress: (bytes: number, size: number | undefined) => void;
  signal: AbortSignal;
}

/** How much may come between two syncs of the part. */
const syncEveryBytes = 32 * 1024 * 1024;

type Body = Extract<ObjectAnswer, { kind: 'full' | 'rest' }>;

/**
 * Brings the object to disk, whole and verified. The part that is given back is open; the caller installs or closes it.
 *
 * @throws AgentError HASH_MISMATCH, TOO_LARGE, DISK_FULL, INSTALL, TIMEOUT, NETWORK, or what `getObject` throws; the
 * signal's reason when it is aborted. What was fetched stays for the next attempt, unless it cannot be of use.
 */
export async function download(job: DownloadJob): Promise<Part> {
  const part = await Part.open(job.path, job.digest, job.signal, {
    uids: job.uids ?? [],
    bytes: trustedBytes(job),
  });
  try {
    await new Transfer(job, part).run();
    return part;
  } catch (error) {
    const useless =
      error instanceof AgentError && ['HASH_MISMATCH', 'TOO_LARGE', 'DISK_FULL'].includes(error.code);
    await (useless ? part.discard() : part.close());
    throw error;
  }
}

/** After a power cut the part may hold what was never written: only what was synced is built on. */
function trustedBytes({ record, artifact, bootId }: DownloadJob): number | undefined {
  const isOurs = record?.sha256 === artifact.sha256;
  if (!isOurs || record.bootId === undefined || record.bootId === bootId) return undefined;
  return record.syncedBytes ?? 0;
}

class Transfer {
  readonly #job: DownloadJob;
  readonly #part: Part;
  readonly #source: string;
  /** What is known of the object that the part's bytes came from. */
  #record: PartRecord | undefined;
  /** A mismatch is no longer the part's fault: every byte of it came after one. */
  #anew: boolean;

  constructor(job: DownloadJob, part: Part) {
    this.#job = job;
    this.#part = part;
    const { url, versionId, sha256 } = job.artifact;
    this.#source = versionId === undefined ? url : `${url}?versionId=${versionId}`;
    const { record } = job;
    const isOurs = record?.sha256 === sha256;
    this.#anew = isOurs && record.source === this.#source && record.anew === true;
    // Another source of the same bytes: these are kept, and are as safe as before; its ETag says nothing.
    const { syncedBytes } = record ?? {};
    if (isOurs && record.source === this.#source) this.#record = record;
    else if (isOurs) this.#record = partRecord({ sha256, source: this.#source, syncedBytes });
  }

  async run(): Promise<void> {
    const { sha256, size } = this.#job.artifact;
    let resumed = this.#part.length > 0 && !this.#anew;
    while (this.#part.hex() !== sha256) {
      const body = await this.#ask();
      if (this.#part.length === 0) resumed = false;
      await this.#fill(body);
      if (this.#part.hex() === sha256) break;
      if (!resumed) await this.#mismatch();
      // The part was wrong on disk: once more from the start, at once.
      await this.#restart();
      this.#anew = true;
      resumed = false;
    }
    if (size !== undefined && size !== this.#part.length) {
      throw new AgentError(
        'HASH_MISMATCH',
        `The object has ${this.#part.length} bytes, desired says ${size}`,
        {
          hint: 'correct "size" in the desired state, or leave it out',
        },
      );
    }
  }

  /** Asks for what is missing; where the answer does not continue the part, the part starts anew. */
  async #ask(): Promise<Body & { stall: Stall }> {
    const stall = new Stall(this.#job.stallSeconds * 1000, this.#job.signal);
    const { artifact, getObject } = this.#job;
    const offset = this.#part.length;
    if (offset > 0) {
      const answer = await getObject({ artifact, offset, ifMatch: this.#record?.etag }, stall.signal);
      if (answer.kind === 'rest' && this.#continues(answer)) return { ...answer, stall };
      await this.#restart();
      if (answer.kind === 'full') return { ...answer, stall };
      if (answer.kind === 'rest') answer.body.cancel().catch(() => undefined);
    }
    const wrong = this.#record?.wrongSha256 === undefined ? undefined : this.#record.etag;
    const answer = await getObject({ artifact, offset: 0, ifNoneMatch: wrong }, stall.signal);
    if (answer.kind === 'full') return { ...answer, stall };
    if (answer.kind === 'unchanged') throw mismatch(artifact, this.#record?.wrongSha256 ?? '?');
    if (answer.kind === 'rest') answer.body.cancel().catch(() => undefined);
    throw new AgentError('S3', `S3 answered "${answer.kind}" to a request for the whole object`);
  }

  #continues(answer: Body): boolean {
    const known = this.#record?.size;
    return answer.first === this.#part.length && (known === undefined || answer.size === known);
  }

  async #fill({ body, size, etag, stall }: Body & { stall: Stall }): Promise<void> {
    const part = this.#part;
    const reader = body.getReader();
    try {
      await this.#admit(size);
      await this.#remember({
        etag,
        size,
        syncedBytes: Math.min(this.#record?.syncedBytes ?? 0, part.length),
      });
      for (;;) {
        const { done, value } = await stall.guard(reader.read());
        if (done) break;
        this.#limit(part.length + value.length, size);
        await this.#append(value);
        if (part.length - (this.#record?.syncedBytes ?? 0) >= syncEveryBytes) await this.#sync();
        this.#job.onProgress(part.length, size);
        await this.#job.throttle?.pass(value.length, this.#job.signal);
      }
    } finally {
      reader.cancel().catch(() => undefined);
    }
    if (size !== undefined && part.length < size) {
      throw new AgentError('NETWORK', `The connection to S3 ended after ${part.length} of ${size} bytes`);
    }
  }

  /** A power cut costs at most what came since the last sync. */
  async #sync(): Promise<void> {
    await this.#part.sync();
    await this.#remember({ ...this.#record, syncedBytes: this.#part.length });
  }

  /** Room may run out in mid-file: where the size was not told, or others write too. */
  async #append(chunk: Uint8Array): Promise<void> {
    for (;;) {
      try {
        return await this.#part.append(chunk);
      } catch (error) {
        const isFull = error instanceof AgentError && error.code === 'DISK_FULL';
        if (!isFull || !(await this.#job.makeRoom())) throw error;
      }
    }
  }

  /** What can be refused before the first byte is. */
  async #admit(size: number | undefined): Promise<void> {
    if (size === undefined) return;
    const { artifact, maxBytes, path } = this.#job;
    if (artifact.size !== undefined && artifact.size !== size) {
      throw new AgentError('HASH_MISMATCH', `The object has ${size} bytes, desired says ${artifact.size}`, {
        hint: 'upload the right object, or correct "size" in the desired state',
      });
    }
    if (maxBytes !== undefined && size > maxBytes) throw tooLarge(size, maxBytes);
    const missing = size - this.#part.length;
    while ((await roomIn(dirname(path))) < missing) {
      if (await this.#job.makeRoom()) continue;
      throw new AgentError(
        'DISK_FULL',
        `No room for ${missing} bytes in ${dirname(path)}, where 16 MiB or 5 % stay in reserve`,
        {
          hint: 'free some room on the file system of the target',
        },
      );
    }
  }

  #limit(length: number, size: number | undefined): void {
    const { maxBytes } = this.#job;
    if (maxBytes !== undefined && length > maxBytes) throw tooLarge(length, maxBytes);
    if (size !== undefined && length > size) {
      throw new AgentError('S3', `S3 sent more than the ${size} bytes that it promised`);
    }
  }

  async #mismatch(): Promise<never> {
    const actual = this.#part.hex();
    // The next object under this name is another one.
    this.#anew = false;
    await this.#remember({ ...this.#record, wrongSha256: actual });
    throw mismatch(this.#job.artifact, actual);
  }

  async #restart(): Promise<void> {
    await this.#part.restart();
    this.#record = undefined;
  }

  async #remember(
    facts: Partial<Record<keyof PartRecord, string | number | boolean | undefined>>,
  ): Promise<void> {
    const { artifact, bootId, saveRecord } = this.#job;
    const record = partRecord({
      ...facts,
      anew: this.#anew || undefined,
      bootId,
      sha256: artifact.sha256,
      source: this.#source,
    });
    this.#record = record;
    await saveRecord(record);
  }
}

function mismatch(artifact: Artifact, actual: string): AgentError {
  return new AgentError('HASH_MISMATCH', `The object hashes to ${actual}, desired is ${artifact.sha256}`, {
    hint: 'the object was overwritten or "hash" is wrong: upload it again, or correct the desired state',
  });
}

function tooLarge(bytes: number, maxBytes: number): AgentError {
  return new AgentError('TOO_LARGE', `The object has ${bytes} bytes or more, the limit is ${maxBytes}`, {
    hint: 'raise "maxBytes" of this file in agent.json, if the device may take files of this size',
  });
}

/** Ends an attempt whose connection has gone quiet: progress is required, not speed. */
class Stall {
  readonly #silent = new AbortController();
  readonly #timeoutMs: number;
  readonly #outer: AbortSignal;
  readonly signal: AbortSignal;

  constructor(timeoutMs: number, outer: AbortSignal) {
    this.#timeoutMs = timeoutMs;
    this.#outer = outer;
    this.signal = AbortSignal.any([outer, this.#silent.signal]);
  }

  /** Waits for one read. @throws AgentError TIMEOUT when it takes too long, NETWORK when it fails */
  async guard<T>(read: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#silent.abort(), this.#timeoutMs);
    try {
      return await read;
    } catch (error) {
      if (this.#outer.aborted) throw this.#outer.reason;
      if (this.#silent.signal.aborted) {
        throw new AgentError('TIMEOUT', `No byte from S3 for ${this.#timeoutMs / 1000} s`, { cause: error });
      }
      throw networkError(error, 'The connection to S3 was lost', this.#outer);
    } finally {
      clearTimeout(timer);
    }
  }
}
