/**
 * One attempt to bring an object to disk, resumed where an earlier one ended.
 *
 * The part is hashed, the rest asked for with Range and If-Match, and every chunk goes hash → write. Only the
 * final digest is trusted; the size of a part proves nothing.
 */
import { dirname } from 'node:path';
import { type Artifact, sourceOf } from '../core/artifact.ts';
import { AgentError } from '../core/errors.ts';
import { isUseless, lengthFault, mismatch, sizeFault, wrongSize } from '../core/object-faults.ts';
import { type Finding, judge, unfit, type Verdict } from '../core/verdict.ts';
import type { DigestEngine } from './digest.ts';
import { DiskFull, onSameDisk } from './disk.ts';
import { Intake } from './intake.ts';
import { Part } from './part.ts';
import { adopted, type PartRecord, partRecord, trustedBytes } from './part-record.ts';
import { isDone } from './patience.ts';
import { type MakeRoom, type Room, type RoomClaim, RoomHeld } from './room.ts';
import type { GetObject, ObjectAnswer, ObjectRequest } from './s3.ts';
import { Stall } from './stall.ts';

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
  /** Shared by all downloads. */
  room: Room;
  maxBytes: number | undefined;
  /** With no byte for this long, the attempt ends. */
  stallSeconds: number;
  /** Called when room is short; true when something could be given up for it. */
  makeRoom: MakeRoom;
  /** Told of bytes that came. */
  onReceived?: (bytes: number) => void;
  /** Bytes on disk so far, and of the whole object where that is known. */
  onProgress: (bytes: number, size: number | undefined) => void;
  signal: AbortSignal;
}

/** How much of the part may be without a sync. */
const mostUnsyncedBytes = 32 * 1024 * 1024;

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
    bytes: trustedBytes(job.record, job.artifact.sha256, job.bootId),
  });
  const room = job.room.claim(dirname(job.path), job.makeRoom);
  const transfer = new Transfer(job, part, room);
  try {
    await transfer.run();
    return part;
  } catch (error) {
    // Room that the state file lacks elsewhere is not made by giving up the part.
    const isElsewhere = error instanceof DiskFull && !(await onSameDisk(error.directory, dirname(job.path)));
    const isKept = !isUseless(error, isElsewhere || error instanceof RoomHeld);
    const isInTime = await transfer.end(isKept);
    const closed = isKept ? part.close() : part.discard();
    if (isInTime) await closed;
    else closed.catch(() => undefined);
    throw error;
  } finally {
    room.release();
  }
}

class Transfer {
  readonly #job: DownloadJob;
  readonly #part: Part;
  readonly #room: RoomClaim;
  readonly #source: string;
  /** What is known of the object that the part's bytes came from. */
  #record: PartRecord | undefined;
  /** What was found wrong of the object, by this attempt or an earlier one. */
  #wrong: Verdict | undefined;
  /** A mismatch is no longer the part's fault: every byte of it came after one. */
  #anew: boolean;
  /** The sync that is under way, or that has failed with what it resolves to. */
  #syncing: Promise<unknown> | undefined;
  #hasEnded = false;
  /** Bytes that the disk has, and the state file says so. */
  #safeBytes = 0;

  constructor(job: DownloadJob, part: Part, room: RoomClaim) {
    this.#job = job;
    this.#part = part;
    this.#room = room;
    this.#source = sourceOf(job.artifact);
    this.#record = adopted(job.record, job.artifact.sha256, this.#source);
    this.#anew = this.#record?.anew === true;
    this.#wrong = this.#record?.wrong;
  }

  async run(): Promise<void> {
    const { sha256 } = this.#job.artifact;
    // An attempt that found it wrong was killed before it could remove it; what it found spares another.
    if (this.#part.length > 0 && this.#wrong?.sha256 === this.#part.hex()) await this.#part.restart();
    let resumed = this.#part.length > 0 && !this.#anew;
    let suspect: string | undefined;
    while (this.#part.hex() !== sha256) {
      const body = await this.#ask();
      if (this.#part.length === 0) resumed = false;
      await this.#fill(body);
      if (this.#part.hex() === sha256) break;
      if (!resumed || this.#wrong?.sha256 === this.#part.hex()) await this.#mismatch(suspect);
      suspect = this.#part.hex();
      // The part may have been wrong on disk: once more from the start, at once.
      await this.#restart();
      this.#anew = true;
      resumed = false;
    }
    const fault = sizeFault(this.#part.length, this.#rules);
    if (fault !== undefined) await this.#refuse(fault, { size: this.#part.length });
  }

  /** Ends a failed attempt, so that what is kept outlasts a power cut. @returns false where the disk is too slow for a stop */
  async end(isKept: boolean): Promise<boolean> {
    const work = async (): Promise<void> => {
      if ((await this.#syncing) !== undefined || this.#hasEnded) return;
      if (isKept && this.#part.length > (this.#record?.syncedBytes ?? 0)) await this.#sync();
    };
    const isInTime = await isDone(work(), this.#job.signal);
    this.#hasEnded = true;
    return isInTime;
  }

  get #rules() {
    return { maxBytes: this.#job.maxBytes, size: this.#job.artifact.size };
  }

  /** What can be refused before the first byte is. */
  async #admit(size: number | undefined): Promise<void> {
    const fault = size === undefined ? undefined : sizeFault(size, this.#rules);
    if (fault !== undefined) throw fault;
    await this.#room.take(size === undefined ? undefined : size - this.#part.length);
  }

  /** Asks for what is missing; where the answer does not continue the part, the part starts anew. */
  async #ask(): Promise<Body & { stall: Stall }> {
    const stall = new Stall(this.#job.stallSeconds * 1000, this.#job.signal);
    const { artifact, getObject } = this.#job;
    const offset = this.#part.length;
    const get = (more: Omit<ObjectRequest, 'artifact'>) =>
      getObject({ ...more, artifact, onAhead: () => stall.alive() }, stall.signal);
    // What is desired may tell already.
    if (offset <= (artifact.size ?? -1)) await this.#admit(artifact.size);
    if (offset > 0) {
      const answer = await get({ offset, ifMatch: this.#record?.etag });
      if (answer.kind === 'rest' && this.#continues(answer)) return { ...answer, stall };
      const { size: desired = offset } = artifact;
      // The very object of the part has no more than this.
      if (answer.kind === 'past-end' && this.#record?.etag !== undefined && offset < desired) {
        await this.#refuse(wrongSize(`${offset} bytes`, desired), { size: offset });
      }
      await this.#restart();
      if (answer.kind === 'full') return { ...answer, stall };
      if (answer.kind === 'rest') answer.body.cancel().catch(() => undefined);
    }
    const reason = unfit(this.#wrong, artifact, this.#rules);
    const answer = await get({ offset: 0, ifNoneMatch: reason && this.#wrong?.etag });
    if (answer.kind === 'full') return { ...answer, stall };
    if (answer.kind === 'unchanged' && reason !== undefined) throw reason;
    if (answer.kind === 'rest') answer.body.cancel().catch(() => undefined);
    throw new AgentError('S3', `S3 answered "${answer.kind}" to a request for the whole object`);
  }

  #continues(answer: Body): boolean {
    const { size = answer.size, etag } = this.#record ?? {};
    const isSame = etag === undefined || answer.etag === undefined || answer.etag === etag;
    return answer.first === this.#part.length && answer.size === size && isSame;
  }

  async #fill({ body, size, etag, stall }: Body & { stall: Stall }): Promise<void> {
    const part = this.#part;
    const intake = new Intake(body, stall);
    try {
      await this.#remember({
        etag,
        size,
        syncedBytes: Math.min(this.#record?.syncedBytes ?? 0, part.length),
      });
      this.#safeBytes = this.#record?.syncedBytes ?? 0;
      const fault = size === undefined ? undefined : sizeFault(size, this.#rules);
      if (fault !== undefined && size !== undefined) await this.#refuse(fault, { size });
      await this.#admit(size);
      for (;;) {
        const piece = await intake.take();
        if (piece === undefined) break;
        await this.#append(piece, size);
        this.#job.onProgress(part.length, size);
        this.#job.onReceived?.(piece.length);
      }
      const failed = await this.#syncing;
      if (failed !== undefined) throw failed;
    } finally {
      intake.cancel();
    }
    const { sha256, size: desired } = this.#job.artifact;
    // Where S3 does not tell the size, a clean end before the one that is desired may be a drop as well.
    const promised = size ?? (part.hex() === sha256 ? undefined : desired);
    if (promised !== undefined && part.length < promised) {
      throw new AgentError('NETWORK', `The connection to S3 ended after ${part.length} of ${promised} bytes`);
    }
  }

  async #append(chunk: Uint8Array, size: number | undefined): Promise<void> {
    const part = this.#part;
    const length = part.length + chunk.length;
    if (size !== undefined && length > size) {
      throw new AgentError('S3', `S3 sent more than the ${size} bytes that it promised`);
    }
    const tooLong = lengthFault(length, this.#rules);
    if (tooLong !== undefined) await this.#refuse(tooLong, { leastSize: length });
    await this.#keepSynced(length);
    await this.#room.write(chunk.length, () => part.append(chunk));
  }

  /** A power cut costs at most `mostUnsyncedBytes`. The disk gets half of that in time, so that it is seldom waited for. */
  async #keepSynced(length: number): Promise<void> {
    const unsynced = () => length - this.#safeBytes;
    if (unsynced() > mostUnsyncedBytes / 2) this.#syncing ??= this.#sync();
    while (unsynced() > mostUnsyncedBytes) {
      this.#syncing ??= this.#sync();
      const error = await this.#syncing;
      if (error !== undefined) throw error;
    }
  }

  /** @returns why it failed */
  async #sync(): Promise<unknown> {
    const syncedBytes = this.#part.length;
    try {
      await this.#part.sync();
      if (!this.#hasEnded) await this.#remember({ ...this.#record, syncedBytes });
      this.#safeBytes = syncedBytes;
      this.#syncing = undefined;
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** @param suspect what the part that was resumed before had come to: where that is the same, both tell of the object */
  async #mismatch(suspect: string | undefined): Promise<never> {
    const sha256 = this.#part.hex();
    // The next object under this name is another one.
    this.#anew = false;
    if (suspect === sha256) this.#find({ sha256 });
    return await this.#refuse(mismatch(this.#job.artifact, sha256), { sha256 });
  }

  async #refuse(error: AgentError, finding: Finding): Promise<never> {
    this.#find(finding);
    await this.#remember({ ...this.#record });
    throw error;
  }

  /** What is found of the object is kept, so that it is not fetched for ever to find the same. */
  #find(finding: Finding): void {
    this.#wrong = judge(this.#wrong, this.#record?.etag, finding);
  }

  async #restart(): Promise<void> {
    await this.#part.restart();
    this.#record = undefined;
  }

  async #remember(facts: { [K in keyof PartRecord]?: PartRecord[K] | undefined }): Promise<void> {
    const { artifact, bootId, saveRecord } = this.#job;
    const record = partRecord({
      ...facts,
      anew: this.#anew || undefined,
      wrong: this.#wrong,
      bootId,
      sha256: artifact.sha256,
      source: this.#source,
    });
    this.#record = record;
    await saveRecord(record);
  }
}
