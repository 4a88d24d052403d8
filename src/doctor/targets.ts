/** The probe of each target: whether an install could put a file there, as far as can be told without one. */
import { lstat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { FileConfig } from '../config.ts';
import type { Wanted } from '../core/artifact.ts';
import type { Finding } from '../core/doctor.ts';
import { AgentError } from '../core/errors.ts';
import { bytesText } from '../core/words.ts';
import { freeIn, roomIn } from '../io/disk.ts';
import { inherit } from '../io/inherit.ts';
import { type Inspected, inspect } from '../io/install.ts';
import { isSamePath } from '../io/spelling.ts';
import { readState } from '../io/state.ts';
import { nearestDirectory, noInode } from './places.ts';
import { type Findings, fail, ok, warn } from './probe.ts';
import { asLikely, giveRefusal, openRefusal, refusalIn } from './rights.ts';

export async function probeTargets(found: Findings, signal: AbortSignal): Promise<Finding[]> {
  return Promise.all(found.files.map((file) => probeTarget(found, file, signal)));
}

/** Whether a file could be put there: a part beside it, an owner for it, and a rename. */
async function probeTarget(found: Findings, file: FileConfig, signal: AbortSignal): Promise<Finding> {
  const { property, path, owner } = file;
  const failed = (reason: AgentError) => fail({ ...reason, message: `${property}: ${reason.message}` });
  const directory = await nearestDirectory(dirname(path));
  if (directory instanceof AgentError) return failed(directory);
  const { files } = await freeIn(directory);
  const refusal = (await refusalIn(directory, found)) ?? noInode(directory, files);
  if (refusal !== undefined) return failed(refusal);
  const old = await lstat(path).catch(() => undefined);
  const to = owner ?? (await inherit(path, old, owner, found.otherUser?.uid));
  const isKept = owner === undefined;
  const ungiven = to && (await giveRefusal({ path, directory, to, isKept }, found.otherUser));
  if (ungiven !== undefined && !isKept) {
    return warn(
      `${property}: ${ungiven.message}`,
      `the unit that "shadow-agent unit" prints has the right to (CAP_CHOWN); else ${ungiven.hint}`,
    );
  }
  const unfit = ungiven ?? (old?.isFile() ? await unreadBy(found, file) : undefined);
  if (unfit !== undefined) return failed(asLikely(unfit, found));
  const room = await probeRoom(found, file, directory, signal);
  if (room.verdict !== 'ok' || files !== 1) return room;
  return warn(
    `${property}: the file system of ${directory} takes one more file only`,
    `remove files from it ("df -i ${directory}"): where the state is on it too, an update takes two`,
  );
}

/** Why the present file could not be compared with what is desired; what the agent has installed it need not read. */
async function unreadBy(found: Findings, file: FileConfig): Promise<AgentError | undefined> {
  const isKnown = (await installedAt(found, file)) !== undefined;
  return isKnown ? undefined : openRefusal(file.path, found.otherUser);
}

async function installedAt(
  { config }: Findings,
  { property, path }: FileConfig,
): Promise<Inspected | undefined> {
  const stored = (await readState(config.stateDir).catch(() => undefined))?.get(property);
  return stored !== undefined && (await isSamePath(stored.path, path)) ? stored.installed : undefined;
}

/** Room for what is to come; of what is installed nothing is. */
async function probeRoom(
  found: Findings,
  file: FileConfig,
  directory: string,
  signal: AbortSignal,
): Promise<Finding> {
  const { property, path } = file;
  const room = await roomIn(directory);
  const isThere = directory === dirname(path);
  const place = isThere ? directory : `${dirname(path)} is not there, and is made in ${directory}, which`;
  const wanted = found.desired.get(property);
  const size = wanted?.kind === 'artifact' ? (found.sizes.get(property) ?? 0) : 0;
  const isInstalled =
    room <= size && wanted?.kind === 'artifact' && (await holds(found, file, wanted, signal));
  const object = isInstalled
    ? '; the object is installed'
    : size === 0
      ? ''
      : `; the object takes ${bytesText(size)}`;
  const text = bytesText(Math.max(room, 0));
  if (room > (isInstalled ? 0 : size))
    return ok(`${property}: ${place} is writable, and has room for ${text}${object}`);
  const message = `${property}: room for ${text} in ${directory}, where 16 MiB or 5 % stay in reserve${object}`;
  const hint = 'free some room on this file system';
  return isInstalled ? warn(message, `${hint} before the next update`) : fail({ message, hint });
}

/** Whether the target is what is desired. One that cannot be read may not be. */
async function holds(
  found: Findings,
  file: FileConfig,
  { artifact }: Wanted,
  signal: AbortSignal,
): Promise<boolean> {
  const known = await installedAt(found, file);
  const there = await inspect(file.path, known, found.config.digest, signal).catch(() => undefined);
  return there?.sha256 === artifact.sha256;
}
