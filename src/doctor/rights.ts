/** Whether the agent may read and write what it has to: by trying, or by owners and modes where root asks for another. */
import { access, constants, open, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { AgentUser } from '../config/permissions.ts';
import { type Member, mayGive, mayUse, right } from '../core/access.ts';
import { AgentError } from '../core/errors.ts';
import { shellWord } from '../core/shell.ts';
import { groupsOf, nameOfUser, type Owner, runAsLikely } from '../io/accounts.ts';
import { diskError } from '../io/disk.ts';
import { notGiven } from '../io/inherit.ts';
import { readTextFile } from '../io/text-file.ts';
import type { Findings } from './probe.ts';

/**
 * What keeps the agent from making and renaming files in a directory; undefined where nothing does.
 *
 * @param other the agent's user, where that is not the one who asks
 */
export async function writeRefusal(directory: string, other?: AgentUser): Promise<AgentError | undefined> {
  if (other !== undefined) return judge(directory, other, right.write + right.enter, 'write to');
  return tried(directory, constants.W_OK | constants.X_OK, `${directory} is not writable for this user`);
}

/** The same, of the agent that the findings are about. */
export async function refusalIn(directory: string, found: Findings): Promise<AgentError | undefined> {
  const refusal = await writeRefusal(directory, found.otherUser);
  return refusal && asLikely(refusal, found);
}

/** Who asks as another user than the agent's is to ask as that one, and nothing else is to be changed. */
export function asLikely(refusal: AgentError, { loaded: { user } }: Findings): AgentError {
  const hint = user && runAsLikely(user);
  return hint === undefined ? refusal : new AgentError(refusal.code, refusal.message, { hint });
}

/** A new file, and whom it is to belong to. */
interface Gift {
  path: string;
  /** Where it is made. */
  directory: string;
  to: Owner;
  /** Whether that is the owner of the present file, not that of the configuration. */
  isKept: boolean;
}

/** What keeps the agent from giving a new file away; undefined where nothing does. */
export async function giveRefusal(
  { path, directory, to, isKept }: Gift,
  other?: AgentUser,
): Promise<AgentError | undefined> {
  if (other === undefined && (await hasRightToGive())) return undefined;
  const { uid, gids } = other === undefined ? asker() : memberOf(other);
  const { mode, gid } = await stat(directory);
  const own = { uid, gid: (mode & setGroupId) === 0 ? (gids[0] ?? uid) : gid };
  // Of an account that the system's files do not know, the groups are not known either.
  const groups = gids.length === 0 ? [to.gid] : [...gids, own.gid];
  return mayGive(to, { uid, gids: groups }) ? undefined : notGiven(path, own, to, isKept);
}

const setGroupId = 0o2000;

// CAP_CHOWN and CAP_FOWNER: a unit may give both to a user. Source: linux/capability.h.
const capabilities = 0b1001n;

async function hasRightToGive(): Promise<boolean> {
  const status = await readTextFile('/proc/self/status');
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status.ok ? status.text : '')?.[1];
  return effective !== undefined && (BigInt(`0x${effective}`) & capabilities) === capabilities;
}

/** The user who asks, its own group first. */
function asker(): Member {
  const { geteuid, getegid, getgroups } = process;
  return { uid: geteuid?.() ?? 0, gids: [...(getegid ? [getegid()] : []), ...(getgroups?.() ?? [])] };
}

function memberOf({ uid, accounts }: AgentUser): Member {
  return { uid, gids: groupsOf(uid, accounts) };
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
  return refused(what, path, () => access(path, mode));
}

async function refused(
  what: string,
  path: string,
  act: () => Promise<void>,
): Promise<AgentError | undefined> {
  try {
    await act();
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

/** What keeps the agent from reading a file that need not be readable for this user; undefined where nothing does. */
export async function openRefusal(path: string, other?: AgentUser): Promise<AgentError | undefined> {
  if (other !== undefined) return readRefusal(path, other);
  // Access(2) would not see what a capability gives.
  return refused(`Cannot read ${path}`, path, async () =>
    (await open(path, constants.O_RDONLY | constants.O_NONBLOCK)).close(),
  );
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
  const closed = await closedAt(real, memberOf({ uid, accounts }), rights);
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
