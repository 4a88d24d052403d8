/** Whether others on this device could read the key, or put something in the place of what the agent trusts. */
import type { Problem } from './errors.ts';
import { shellWord } from './shell.ts';

/** A file or directory, and who may do what with it. */
export interface Entry {
  path: string;
  /** All bits of st_mode that chmod can set. */
  mode: number;
  /** Whose it is: who owns something may write to it, whatever its mode says now. */
  uid: number;
}

/** Who may own what the agent trusts. */
export interface Trust {
  /** Root, the user of the agent, and whom a file is to belong to. */
  uids: readonly number[];
  /** Name of the user of the agent. */
  agent: string;
  nameOf(uid: number): string;
}

const sticky = 0o1000;

/** The key of the device is for the user of the agent alone. */
export function keyProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  const { path, mode } = entry;
  const open = problem(
    at,
    `${path} can be read by others than its owner (${octal(mode)})`,
    `chmod 600 ${shellWord(path)}`,
  );
  return [...ownerProblem(at, entry, trust), ...((mode & 0o077) === 0 ? [] : [open])];
}

/** What the agent believes must not be anybody's to write. */
export function trustedFileProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  const { path, mode } = entry;
  const open = problem(
    at,
    `${path} can be written by everyone (${octal(mode)})`,
    `chmod o-w ${shellWord(path)}`,
  );
  return [...ownerProblem(at, entry, trust), ...((mode & 0o002) === 0 ? [] : [open])];
}

/** The agent's own directory; its sticky bit would keep nobody from putting files there. */
export function ownDirectoryProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  const { path, mode } = entry;
  const open = problem(
    at,
    `${path} can be written by others than its owner (${octal(mode)})`,
    `chmod go-w ${shellWord(path)}`,
  );
  return [...ownerProblem(at, entry, trust), ...((mode & 0o022) === 0 ? [] : [open])];
}

/**
 * In a directory that everyone may write to, everyone may rename what is in it, but for the sticky bit; its owner may
 * in any case. Source: unlink(2), EPERM.
 */
export function directoryProblem(at: string, { path, mode, uid }: Entry, trust: Trust): Problem[] {
  const open = problem(
    at,
    `everyone can replace what is in ${path} (${octal(mode)}, no sticky bit)`,
    `chmod o-w ${shellWord(path)}`,
  );
  const name = trust.nameOf(uid);
  const chown = `chown root ${shellWord(path)}`;
  const foreign = problem(
    at,
    `${path} belongs to user ${name}, who can replace what is in it`,
    at.startsWith('files[')
      ? `where ${name} may decide what the file holds, set its "owner" to "${name}"; else ${chown}`
      : `keep it in a directory of root's, run the agent as ${name}, or ${chown}`,
  );
  return [
    ...(trust.uids.includes(uid) ? [] : [foreign]),
    ...((mode & 0o002) === 0 || (mode & sticky) !== 0 ? [] : [open]),
  ];
}

/** In a sticky directory the owner of a link may still lead it elsewhere; the mode of a link says nothing. */
export function linkProblem(at: string, { path, uid }: Entry, trust: Trust): Problem[] {
  if (trust.uids.includes(uid)) return [];
  const message = `the link ${path} belongs to user ${trust.nameOf(uid)}, who can lead it elsewhere`;
  return [problem(at, message, `chown -h root ${shellWord(path)}`)];
}

function ownerProblem(at: string, { path, uid }: Entry, { uids, agent, nameOf }: Trust): Problem[] {
  if (uids.includes(uid)) return [];
  const message = `${path} belongs to user ${nameOf(uid)}, who is neither root nor the user of the agent (${agent})`;
  return [problem(at, message, `chown ${shellWord(agent)} ${shellWord(path)}`)];
}

function problem(path: string, message: string, command: string): Problem {
  return { path, message, hint: command };
}

function octal(mode: number): string {
  return `mode ${(mode & 0o7777).toString(8).padStart(4, '0')}`;
}
