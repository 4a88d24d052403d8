/** One attempt at a file: from what is desired to what is installed. It tries once, and throws a coded error. */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileConfig } from './config.ts';
import type { Artifact } from './core/artifact.ts';
import type { JsonObject } from './core/json.ts';
import type { Installed } from './core/reconcile.ts';
import type { DigestEngine } from './io/digest.ts';
import { readBootId, remove } from './io/disk.ts';
import { download } from './io/download.ts';
import { install } from './io/install.ts';
import { cleanParts, fileId, type Part, partPath } from './io/part.ts';
import type { Room } from './io/room.ts';
import type { GetObject } from './io/s3.ts';
import { SignedObject } from './io/signature.ts';
import type { StampedInstalled } from './io/state.ts';
import type { Target } from './io/target.ts';
import type { Throttle } from './io/throttle.ts';

export interface UpdateJob {
  file: FileConfig;
  artifact: Artifact;
  /** The desired value that asks for the artifact. */
  value: JsonObject;
  /** What the target holds now. */
  installed: Installed | undefined;
  stateDir: string;
  stallSeconds: number;
  digest: DigestEngine;
  getObject: GetObject;
  throttle: Throttle;
  room: Room;
  target: Target;
  onProgress: (bytes: number, size: number | undefined) => void;
  /** Called before the rename: aborts the signal where the desired value has been withdrawn meanwhile. */
  confirm: () => Promise<void>;
  signal: AbortSignal;
}

/**
 * Downloads, verifies and installs.
 *
 * @returns what is installed now
 * @throws AgentError of io/download.ts or io/install.ts; the signal's reason when it is aborted. The target is then
 * what it was.
 */
export async function update(job: UpdateJob): Promise<StampedInstalled> {
  const { file, artifact, value, signal, target } = job;
  const { property, path } = file;
  signal.throwIfAborted();
  await cleanParts(property, path, artifact.sha256);
  const signed = signedObject(job);
  const part = await download({
    artifact,
    path: partPath(property, path, artifact.sha256),
    uids: await ownersOf(file),
    getObject: signed?.get ?? job.getObject,
    record: target.stored.part,
    saveRecord: (record) => target.store({ part: record }),
    digest: job.digest,
    maxBytes: file.maxBytes,
    stallSeconds: job.stallSeconds,
    throttle: job.throttle,
    room: job.room,
    bootId: await readBootId(),
    makeRoom: () => dropPrevious(job),
    onProgress: job.onProgress,
    signal,
  });
  await orClose(part, async () => {
    const seal = await signed?.seal({ artifact }, part.length, signal);
    await job.confirm();
    signal.throwIfAborted();
    // From here on no older signature is taken, also if this install is cut short.
    if (seal !== undefined) await target.announce({ signature: seal });
  });
  const previousPath = await announcePrevious(job);
  const { stamp, kept } = await install({
    part,
    target: path,
    mode: file.mode,
    owner: file.owner,
    previousPath,
  });
  const installed = { sha256: artifact.sha256, value, stamp };
  const previous = previousPath !== undefined && !kept ? { previous: undefined } : {};
  await target.store({ installed, part: undefined, failure: undefined, ...previous });
  return installed;
}

/** Whom an install would give the file to. */
async function ownersOf({ path, owner }: FileConfig): Promise<number[]> {
  const old = await lstat(path).catch(() => undefined);
  return [owner?.uid, old?.uid].filter((uid) => uid !== undefined);
}

function signedObject({ file, getObject, target }: UpdateJob): SignedObject | undefined {
  if (file.verify === undefined) return undefined;
  const { publicKeys } = file.verify;
  return new SignedObject({
    getObject,
    property: file.property,
    publicKeys,
    last: target.stored.signature,
  });
}

async function orClose(part: Part, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    await part.close();
    throw error;
  }
}

function previousPathOf({ stateDir, file }: UpdateJob): string {
  return join(stateDir, 'previous', fileId(file.property, file.path));
}

/**
 * Says in the state file which file is about to be kept. A file that was changed on the device is not kept: the way
 * back must lead to something that was desired once.
 */
async function announcePrevious(job: UpdateJob): Promise<string | undefined> {
  const { file, installed, target } = job;
  const known = target.stored.installed;
  if (!file.keepPrevious || installed === undefined) return undefined;
  if (known !== undefined && known.sha256 !== installed.sha256) return undefined;
  const { sha256, value } = installed;
  await target.store({ previous: { sha256, ...(value === undefined ? {} : { value }) } });
  return previousPathOf(job);
}

/** The previous file is the first thing to go when room is short. */
async function dropPrevious(job: UpdateJob): Promise<boolean> {
  if (job.target.stored.previous === undefined) return false;
  await job.target.store({ previous: undefined });
  await remove(previousPathOf(job));
  await remove(`${previousPathOf(job)}.new`);
  return true;
}
