/** Whether the agent may read and write what it has to: by trying, or by owners and modes where root asks for another. */
import { access, constants, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { AgentUser } from '../config/permissions.ts';
import { type Member, mayUse, right } from '../core/access.ts';
import { AgentError } from '../core/errors.ts';
import { shellWord } from '../core/shell.ts';
import { groupsOf, nameOfUser } from '../io/accounts.ts';
import { diskError } from '../io/disk.ts';

/**
 * What keeps the agent from making and renaming files in a directory; undefined where nothing does.
 *
 * @param other the agent's user, where that is not the one who asks
 */
export async function writeRefusal(directory: string, other?: AgentUser): Promise<AgentError | undefined> {
  if (other !== undefined) return judge(directory, other, right.write + right.enter, 'write to');
  return tried(directory, constants.W_OK | constants.X_OK, `${directory} is not writable for this user`);
}

/** What keeps the agent from running a program; undefined where nothing does. */
export async function runRefusal(path: string, other?: AgentUser): Promise<AgentError | undefined> {
  const refusal = await tried(path, constants.X_OK, `${path} may not be run`);
  if (refusal !== undefined) {
    const hint = `chmod +x ${shellWord(path)}; where it has that, its file system is mounted noexec, or a directory above is closed`;
    return new AgentError('INSTALL', refusal.message, { hint });
  }
  return other === undefined ? undefined : judge(path, other, right.enter, 'run');
}

async function tried(path: string, mode: number, what: string): Promise<AgentError | undefined> {
  try {
    await access(path, mode);
    return undefined;
  } catch (error) {
    const failure = diskError(error, what, path);
    return failure instanceof AgentError ? failure : new AgentError('INSTALL', String(error));
  }
}

/** What keeps the agent's user from reading a file that this one has read; undefined where nothing does. */
export function readRefusal(path: string, other: AgentUser): Promise<AgentError | undefined> {
  return judge(path, other, right.read, 'read');
}

async function judge(
  path: string,
  { uid, accounts }: AgentUser,
  rights: number,
  verb: string,
): Promise<AgentError | undefined> {
  const known = nameOfUser(uid, accounts);
  const name = known ?? `user ${uid}`;
  const real = await realpath(path).catch(() => path);
  const closed = await closedAt(real, { uid, gids: groupsOf(uid, accounts) }, rights);
  if (closed === undefined) return undefined;
  const way = closed === real ? '' : `: it may not enter ${closed}`;
  const look = `let it in: "ls -ld ${shellWord(closed)}" shows whom owner and mode let in now`;
  const ask = `sudo -u ${known ?? `'#${uid}'`} shadow-agent doctor`;
  return new AgentError('INSTALL', `${name}, the user of the agent, may not ${verb} ${path}${way}`, {
    hint: `${look}; where an ACL does, which is not seen here, ask as that user ("${ask} …")`,
  });
}

/** The first one on the way to a path that keeps a user out. */
async function closedAt(path: string, user: Member, rights: number): Promise<string | undefined> {
  const above = dirname(path);
  const closed = above === path ? undefined : await closedAt(above, user, right.enter);
  if (closed !== undefined) return closed;
  const entry = await stat(path).catch(() => undefined);
  return entry === undefined || mayUse(entry, user, rights) ? undefined : path;
}
