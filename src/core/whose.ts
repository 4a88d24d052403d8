/** Whose a directory is, by its path alone. Source: hier(7). */

// Where the directories of others lie side by side.
const level = /^\/([^/]*|(home|var)\/[^/]+)$/;
// Below these lies what the system goes by, or an account.
const trusted =
  /^\/((boot|dev|etc|lib(32|64|exec|x32)?|proc|root|run|s?bin|sys|usr|var\/spool)\/|home\/[^/]+\/\.)/;

// What the system needs as it is, or an account as a whole.
const whole = [
  /^\/(bin|boot|dev|etc|home|lib(32|64|exec|x32)?|lost\+found|media|mnt|opt|root|run|s?bin|snap|srv|tmp|usr|var)?$/,
  /^\/(home\/[^/]+|boot\/(efi|firmware)|dev\/(shm|pts)|run\/user(\/[^/]+)?)$/,
  /^\/(usr|usr\/local)\/(bin|etc|games|include|lib[^/]*|local|man|sbin|share|src)$/,
  /^\/var\/(backups|cache|crash|lib|local|lock|log|mail|opt|run|spool|tmp|www)$/,
  /^\/(proc|sys|run\/(dbus|lock|log|mount|sudo|systemd|udev))(\/|$)/,
  /^\/var\/lib\/(apt|containerd|dbus|docker|dpkg|pam|private|rpm|sudo|systemd)(\/|$)/,
];
// What is closed to other users as a rule.
const closed = /^\/(root(\/.*)?|home\/[^/]+(\/\..*)?|etc\/(.*\/)?private)$/;

/** Whether a directory is all that an account has. */
export function isHome(directory: string): boolean {
  return /^\/home\/[^/]+$/.test(directory);
}

/** Whether a directory is surely the system's, or a whole account's: to close it would stop others. */
export function isWhole(directory: string): boolean {
  return whole.some((pattern) => pattern.test(directory));
}

/** Whether a directory keeps other users out, and is not to be opened for one of them. */
export function isClosed(directory: string, configPath: string): boolean {
  return closed.test(directory) && (isOfOthers(directory, configPath) || isBelow(directory, ['/root']));
}

/**
 * Whether a directory is the system's or an account's, so that its owner owns these too. Where the configuration lies was
 * made for the agent, unless that is such a level.
 */
export function isOfOthers(directory: string, configPath: string): boolean {
  const own = directoryOf(configPath);
  const isOwn = !level.test(own) && isBelow(directory, [own]);
  return level.test(directory) || (trusted.test(directory) && !isOwn);
}

/** The directory of a file; both absolute. */
export function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/** Whether a path is one of these directories, or lies in one. */
export function isBelow(path: string, roots: readonly string[]): boolean {
  return roots.some((root) => path === root || path.startsWith(`${root}/`));
}
