/** What owner and mode let a user do. Access control lists and capabilities are not seen. */

/** A user with all groups that it is in. */
export interface Member {
  uid: number;
  gids: readonly number[];
}

/** Of a file or directory, as stat tells it. */
export interface Owned {
  mode: number;
  uid: number;
  gid: number;
}

export const right = { read: 4, write: 2, enter: 1 } as const;

/** Whether a user has these rights; root has all. @param rights sum of members of `right` */
export function mayUse(entry: Owned, user: Member, rights: number): boolean {
  return user.uid === 0 || isLet(entry, user, rights);
}

/**
 * Whether owner and mode give a user these rights, root too, as where it has no capabilities. The first class that fits
 * decides, also where a later one would give more. Source: path_resolution(7), "Permissions".
 *
 * @param rights sum of members of `right`
 */
export function isLet({ mode, uid, gid }: Owned, user: Member, rights: number): boolean {
  const shift = uid === user.uid ? 6 : user.gids.includes(gid) ? 3 : 0;
  return ((mode >> shift) & rights) === rights;
}

/** Whether a user may give a file of its own away: to any of its groups, and to nobody else. Source: chown(2), EPERM. */
export function mayGive(to: { uid: number; gid: number }, { uid, gids }: Member): boolean {
  return uid === 0 || (to.uid === uid && gids.includes(to.gid));
}
