/** What a new file takes over from the one that it replaces. */
import type { Stats } from 'node:fs';
import { type FileHandle, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AgentError } from '../core/errors.ts';
import { openTo } from '../core/permissions.ts';
import { shellWord } from '../core/shell.ts';
import { isGroupOf, type Owner, readAccounts } from './accounts.ts';
import { errnoOf } from './disk.ts';

export interface Inherited extends Owner {
  mode: number;
}

/**
 * Owner and mode of the present file, which the new one is to have where the configuration does not say another. Where
 * others may write to the directory, sticky or not, the file may have been put there to get at the next one: then it
 * counts only if it is root's, the agent's or the configured owner's, and gives nobody a right to write or to run as
 * its owner.
 *
 * @param agentUid the agent's user, who by default is the one who asks
 * @returns undefined where there is nothing to take over
 */
export async function inherit(
  target: string,
  old: Stats | undefined,
  owner: Owner | undefined,
  agentUid = process.geteuid?.() ?? 0,
): Promise<Inherited | undefined> {
  if (old?.isFile() !== true) return undefined;
  const { uid, gid } = old;
  const mode = old.mode & 0o7777;
  const uids = [0, agentUid, ...(owner === undefined ? [] : [owner.uid])];
  if (!(await isOpenToOthers(dirname(target), uids))) return { uid, gid, mode };
  return uids.includes(uid) ? { uid, gid, mode: mode & 0o1755 } : undefined;
}

async function isOpenToOthers(directory: string, uids: readonly number[]): Promise<boolean> {
  const found = await stat(directory);
  if (openTo(found, () => false) === undefined) return false;
  const accounts = await readAccounts();
  return openTo(found, (gid) => isGroupOf(uids, gid, accounts)) !== undefined;
}

/**
 * Gives an open file to somebody, where the kernel lets this process: as root, by CAP_CHOWN, or to a group of its own.
 * Its mode comes after: a change of owner takes set-id bits away.
 *
 * @returns whose it was before, if it stays so for want of the right; undefined where it is as asked for
 */
export async function give(handle: FileHandle, { uid, gid }: Owner): Promise<Owner | undefined> {
  const own = await handle.stat();
  if (own.uid === uid && own.gid === gid) return undefined;
  try {
    await handle.chown(uid, gid);
    return undefined;
  } catch (error) {
    // EINVAL: an owner that this user namespace has no name for, as within a unit with PrivateUsers.
    if (['EPERM', 'EINVAL'].includes(errnoOf(error))) return own;
    throw error;
  }
}

/**
 * What to say where the agent may not give a new file away: only root may, and only to a group of its own may anybody
 * else.
 *
 * @param own whose the file is before
 * @param isKept whether it is the owner of the present file, not that of the configuration
 */
export function notGiven(target: string, own: Owner, to: Owner, isKept: boolean): AgentError {
  const mine = `${own.uid}:${own.gid}`;
  const message = `Cannot give the file to ${to.uid}:${to.gid}, ${isKept ? 'which the present one belongs to' : 'as "owner" says'}: the agent runs as ${mine}`;
  const change = isKept ? `chown ${mine} ${shellWord(target)}` : `set "owner": "${mine}"`;
  // Root has not all rights in a unit that gives it none, or in a user namespace.
  const other = own.uid === 0 ? 'with CAP_CHOWN, and outside of a user namespace' : 'as root';
  return new AgentError('INSTALL', message, { hint: `${change}, or run the agent ${other}` });
}
