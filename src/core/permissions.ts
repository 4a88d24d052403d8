/** Whether others on this device could read the key, or put something in the place of what the agent trusts. */
import { right } from './access.ts';
import type { Problem } from './errors.ts';
import { shellWord } from './shell.ts';
import { isHome } from './whose.ts';

/** A file or directory, and who may do what with it. */
export interface Entry {
  path: string;
  /** All bits of st_mode that chmod can set. */
  mode: number;
  gid: number;
  /** Whose it is: who owns something may write to it, whatever its mode says now. */
  uid: number;
}

/** Who may own what the agent trusts. */
export interface Trust {
  /** Root and the user of the agent; of a target also whom it is to belong to. */
  uids: readonly number[];
  /** The user of the agent. */
  agent: number;
  nameOf(uid: number): string;
  /** Stands for every user that the user namespace of the agent does not know, where there is one. */
  outsider?: number;
  /** Who is more likely the user of the agent than this one, and what to do then; never root, whom no mode keeps out. */
  likely?: { uid: number; advice: string };
  /** Whether a group lets in nobody else than these users. */
  isOwnGroup(gid: number): boolean;
  groupNameOf(gid: number): string;
}

const sticky = 0o1000;

/**
 * Who besides its owner has rights to something by its mode; undefined where nobody has whom the agent does not trust.
 *
 * @param rights sum of members of `right`; one of them is enough
 */
export function openTo(
  { mode, gid }: Pick<Entry, 'mode' | 'gid'>,
  isOwnGroup: Trust['isOwnGroup'],
  rights: number = right.write,
): { everyone: boolean; group: boolean } | undefined {
  const everyone = (mode & rights) !== 0;
  const group = (mode & (rights << 3)) !== 0 && !isOwnGroup(gid);
  return everyone || group ? { everyone, group } : undefined;
}

/** The key of the device is for the user of the agent alone. */
export function keyProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  return secretProblem(at, entry, trust, entry.path);
}

/** So is a configuration that holds the password of a proxy. */
export function passwordProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  return secretProblem(at, entry, trust, `${entry.path}, which holds the password of a proxy,`);
}

function secretProblem(at: string, entry: Entry, trust: Trust, what: string): Problem[] {
  const { path, mode } = entry;
  const open = openTo(entry, trust.isOwnGroup, right.read + right.write + right.enter);
  const message = open && `${what} is open to ${whoOf(open, entry, trust)} (${octal(mode)})`;
  const hint = keeping(entry, trust, `chmod 600 ${shellWord(path)}`);
  return [...ownerProblem(at, entry, trust), ...(message === undefined ? [] : [problem(at, message, hint)])];
}

/** What the agent believes must not be anybody's to write. */
export function trustedFileProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  return [...ownerProblem(at, entry, trust), ...openFileProblem(at, entry, trust)];
}

/**
 * The target as it is now: whoever owns it, or may write to it, could change what was verified.
 *
 * @param mode what the configuration says; who may write by that does so by the operator's wish
 */
export function targetProblem(at: string, entry: Entry, trust: Trust, mode = 0): Problem[] {
  const { path, uid } = entry;
  const name = trust.nameOf(uid);
  const hint = `where ${name} may decide what the file holds, set its "owner" to "${name}"; else ${chownToAgent(path, trust)}`;
  const unwanted = { ...entry, mode: entry.mode & ~(mode & 0o022) };
  const open = openFileProblem(at, unwanted, trust, octal(entry.mode)).map(({ hint, ...one }) => ({
    ...one,
    hint: `${hint}, or set its "mode" to "${bits(entry.mode & 0o777)}" where they may`,
  }));
  return [...foreign(at, entry, trust, 'who can write to it', hint), ...open];
}

/** The agent's own directory; its sticky bit would keep nobody from putting files there. */
export function ownDirectoryProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  const open = openFileProblem(at, entry, trust).map((one) => ({
    ...one,
    hint: keeping(entry, trust, one.hint),
  }));
  return [...ownerProblem(at, entry, trust), ...open];
}

/**
 * Whoever may write to a directory may rename what is in it, but for the sticky bit; its owner may in any case. Source:
 * unlink(2), EPERM.
 */
export function directoryProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  return replaceable(at, entry, trust, 'root');
}

/** The same above a target, where the agent has to write, and what is written may be another user's. */
export function targetDirectoryProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  const { agent, nameOf } = trust;
  const file = `; the file itself may be ${nameOf(entry.uid)}'s, by its "owner"`;
  return replaceable(at, entry, trust, nameOf(agent), file);
}

function replaceable(at: string, entry: Entry, trust: Trust, keeper: string, remark = ''): Problem[] {
  const { path, mode, uid } = entry;
  const open = openTo(entry, trust.isOwnGroup);
  const other = `run the agent as ${trust.nameOf(uid)}`;
  // A home that is another's shuts its user out.
  const ways = isHome(path) ? `or ${other}` : `${other}, or chown ${shellWord(keeper)} ${shellWord(path)}`;
  const hint = `keep it in a directory of ${keeper}'s, ${ways}${remark}`;
  return [
    ...foreign(at, entry, trust, 'who can replace what is in it', hint),
    ...(open === undefined || (mode & sticky) !== 0
      ? []
      : [
          problem(
            at,
            `${whoOf(open, entry, trust)} can replace what is in ${path} (${octal(mode)}, no sticky bit)`,
            closing(open, path),
          ),
        ]),
  ];
}

/** In a sticky directory the owner of a link may still lead it elsewhere; the mode of a link says nothing. */
export function linkProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  const hint = `chown -h root ${shellWord(entry.path)}`;
  return foreign(at, entry, trust, 'who can lead this link elsewhere', hint);
}

/** What belongs to somebody whom the agent does not trust. @param who what such a user may do, as a clause */
function foreign(at: string, { path, uid }: Entry, trust: Trust, who: string, hint: string): Problem[] {
  if (trust.uids.includes(uid)) return [];
  if (uid !== trust.outsider)
    return [problem(at, `${path} belongs to user ${trust.nameOf(uid)}, ${who}`, hint)];
  return [
    problem(
      at,
      `${path} belongs to a user whom this user namespace does not know`,
      `ask outside of it (of the unit with PrivateUsers, of the container): "ls -ld ${shellWord(path)}" shows whose it is, "shadow-agent doctor" what to do`,
    ),
  ];
}

function openFileProblem(at: string, entry: Entry, trust: Trust, shown = octal(entry.mode)): Problem[] {
  const { path } = entry;
  const open = openTo(entry, trust.isOwnGroup);
  if (open === undefined) return [];
  return [
    problem(at, `${path} can be written by ${whoOf(open, entry, trust)} (${shown})`, closing(open, path)),
  ];
}

type Open = NonNullable<ReturnType<typeof openTo>>;

function whoOf({ everyone }: Open, { gid }: Entry, { groupNameOf }: Trust): string {
  return everyone ? 'everyone' : `group ${groupNameOf(gid)}`;
}

function closing({ everyone, group }: Open, path: string): string {
  return `chmod ${group ? 'g' : ''}${everyone ? 'o' : ''}-w ${shellWord(path)}`;
}

function ownerProblem(at: string, entry: Entry, trust: Trust): Problem[] {
  const { path, uid } = entry;
  const { agent, nameOf, likely } = trust;
  const who = `who is neither root nor the user of the agent (${nameOf(agent)})`;
  const chown = chownToAgent(path, trust);
  // To give it away would lock the agent out that it belongs to.
  return foreign(at, entry, trust, who, likely?.uid === uid ? unlessLikely(trust, chown) : chown);
}

/** A command that closes to others what is the agent's, and keeps it open to the agent, whom one of these may be. */
function keeping({ path, uid }: Entry, trust: Trust, close: string): string {
  // Whose it is keeps it; that the likely agent does not own it is told by itself.
  if (uid === trust.likely?.uid) return close;
  return unlessLikely(trust, uid === trust.agent ? close : `${chownToAgent(path, trust)} && ${close}`);
}

function unlessLikely({ agent, nameOf, likely }: Trust, command: string): string {
  return likely === undefined
    ? command
    : `${likely.advice}; only where ${nameOf(agent)} is to run it, ${command}`;
}

function chownToAgent(path: string, { agent, nameOf }: Trust): string {
  return `chown ${shellWord(nameOf(agent))} ${shellWord(path)}`;
}

function problem(path: string, message: string, command: string): Problem {
  return { path, message, hint: command };
}

function octal(mode: number): string {
  return `mode ${bits(mode & 0o7777)}`;
}

function bits(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}
