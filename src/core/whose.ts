/** Whose a directory is, by its path alone. Source: hier(7). */

// Where the directories of others lie side by side.
const level = /^\/([^/]*|(home|var)\/[^/]+)$/;
// Below these lies what the system goes by, or an account.
const trusted = /^\/((boot|dev|etc|lib[^/]*|proc|root|run|s?bin|sys|usr|var\/spool)\/|home\/[^/]+\/\.)/;

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
