import { readTextFile } from './text-file.ts';

export interface Owner {
  uid: number;
  gid: number;
}

/** The texts of `/etc/passwd` and `/etc/group`. */
export interface Accounts {
  passwd: string;
  group: string;
}

/** Reads the system's accounts; a file that is not there has none. */
export async function readAccounts(): Promise<Accounts> {
  const [passwd, group] = await Promise.all([readTextFile('/etc/passwd'), readTextFile('/etc/group')]);
  return { passwd: passwd.ok ? passwd.text : '', group: group.ok ? group.text : '' };
}

/** The number that stands for every user that this process's user namespace does not know; undefined as in `outsiderOf`. */
export async function readOutsider(): Promise<number | undefined> {
  const [map, overflow] = await Promise.all([
    readTextFile('/proc/self/uid_map'),
    readTextFile('/proc/sys/kernel/overflowuid'),
  ]);
  return map.ok && overflow.ok ? outsiderOf(map.text, overflow.text) : undefined;
}

/**
 * The overflow id, where it is no user's own: the namespace may know one of that number, and then it is that one.
 * Source: user_namespaces(7), "Unmapped user and group IDs".
 *
 * @param map as in `/proc/PID/uid_map`: ranges of the first id inside, the first one outside, and how many
 * @param overflow as in `/proc/sys/kernel/overflowuid`
 */
export function outsiderOf(map: string, overflow: string): number | undefined {
  const id = idOf(overflow.trim());
  if (id === undefined) return undefined;
  const ranges = map.split('\n').map((line) => line.trim().split(/ +/).map(Number));
  return ranges.some(([first = 0, , count = 0]) => id >= first && id < first + count) ? undefined : id;
}

/** Resolves `user` or `user:group`, names or numbers; a user alone brings the group of its account. */
export function resolveOwner(
  owner: string,
  accounts: Accounts,
): { ok: true; owner: Owner } | { ok: false; message: string; hint: string } {
  const [user = '', group] = owner.split(':');
  const account = lines(accounts.passwd).find(([name, , uid]) => name === user || uid === user);
  const uid = idOf(user) ?? idOf(account?.[2]);
  if (uid === undefined) {
    return {
      ok: false,
      message: `names no user of /etc/passwd: ${user}`,
      hint: 'add the user, or write its number',
    };
  }
  const gid = group === undefined ? idOf(account?.[3]) : groupId(group, accounts);
  if (gid !== undefined) return { ok: true, owner: { uid, gid } };
  return group === undefined
    ? {
        ok: false,
        message: `user ${user} has no group in /etc/passwd`,
        hint: `write user:group, e.g. ${user}:${user}`,
      }
    : {
        ok: false,
        message: `names no group of /etc/group: ${group}`,
        hint: 'add the group, or write its number',
      };
}

/** The name of a user; undefined where `/etc/passwd` has none for that number. */
export function nameOfUser(uid: number, { passwd }: Accounts): string | undefined {
  return lines(passwd).find(([, , id]) => id === String(uid))?.[0];
}

/** The name of a group; undefined where `/etc/group` has none for that number. */
export function nameOfGroup(gid: number, { group }: Accounts): string | undefined {
  return lines(group).find(([, , id]) => id === String(gid))?.[0];
}

/** Whether nobody but these users is in a group that the files know; root's own is as good as root. */
export function isGroupOf(uids: readonly number[], gid: number, accounts: Accounts): boolean {
  return gid === 0 || (membersOf(gid, accounts)?.every((uid) => uids.includes(uid)) ?? false);
}

/** The one user beside root that a group is for; undefined where it is root's own, or another one is in it. */
export function onlyUserOf(gid: number, accounts: Accounts): number | undefined {
  const [uid, ...others] = new Set(membersOf(gid, accounts)?.filter((one) => one !== 0));
  return gid === 0 || uid === -1 || others.length > 0 ? undefined : uid;
}

/** Users of a group, -1 for one without an account; undefined where the files do not know the group. */
function membersOf(gid: number, { passwd, group }: Accounts): number[] | undefined {
  const accounts = lines(passwd).map(([name, , uid, own]) => ({ name, uid: idOf(uid), gid: idOf(own) }));
  const listed = lines(group)
    .filter(([, , id]) => idOf(id) === gid)
    .flatMap(([, , , members = '']) => members.split(',').filter((name) => name !== ''));
  const first = accounts.filter((account) => account.gid === gid);
  // Of a group without a name, and without an account, others may know more.
  const isKnown = first.length > 0 || nameOfGroup(gid, { passwd, group }) !== undefined;
  const others = listed.map((name) => accounts.find((account) => account.name === name));
  return isKnown ? [...first, ...others].map((account) => account?.uid ?? -1) : undefined;
}

/** What somebody is to do who asks, or starts an agent, as another user than its own; undefined where that is unknown. */
export function runAsLikely({
  likelyUid,
  accounts,
}: {
  likelyUid?: number;
  accounts: Accounts;
}): string | undefined {
  if (likelyUid === undefined) return undefined;
  const name = nameOfUser(likelyUid, accounts) ?? `'#${likelyUid}'`;
  return `run this as the user that the state directory or the key is for: sudo -u ${name} shadow-agent …`;
}

/** Every group of a user: that of its account, and those that list it. */
export function groupsOf(uid: number, accounts: Accounts): number[] {
  const account = lines(accounts.passwd).find(([, , id]) => id === String(uid));
  const name = account?.[0];
  const listed = lines(accounts.group).filter(([, , , members = '']) =>
    members.split(',').some((one) => one === name),
  );
  return [account?.[3], ...listed.map(([, , gid]) => gid)].flatMap((gid) => idOf(gid) ?? []);
}

function groupId(group: string, accounts: Accounts): number | undefined {
  return idOf(group) ?? idOf(lines(accounts.group).find(([name]) => name === group)?.[2]);
}

function lines(text: string): string[][] {
  return text.split('\n').map((line) => line.split(':'));
}

/** 2^32 - 1 means "leave as it is" to chown, so that it is no id. */
function idOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id < 2 ** 32 - 1 ? id : undefined;
}
