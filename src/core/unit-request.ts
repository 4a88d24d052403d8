/** What a unit is made of, and what both its lines and those that install it go by. */
import { directoryOf } from './whose.ts';

/** What of a file matters to its unit. */
export interface UnitFile {
  /** Absolute. */
  path: string;
  mode?: number;
  owner?: { uid: number; gid: number };
  onInstall?: { command: readonly string[] } | undefined;
}

/** A directory on the way to what the service uses, by its true path. */
export interface Passed {
  path: string;
  /** Whether owner and mode keep the user of the service out. */
  isClosed: boolean;
  /** Whether it is another's than root's. */
  isOthers?: boolean;
}

export interface UnitRequest {
  /** How the program is started, without arguments of its own: absolute path first. */
  command: readonly string[];
  /** The same of what makes the unit, which root is to run again. */
  maker: readonly string[];
  configPath: string;
  thingName: string;
  stateDir: string;
  /** Whether that is there, and holds what is neither the agent's nor its user's. */
  isStateForeign?: boolean;
  metricsFile?: string | undefined;
  key: string;
  /** Certificate and roots. */
  certificates: readonly string[];
  /** The same three by their true paths, and the directories of these and of what leads to them. */
  real: { config: string; key: string; certificates: readonly string[] };
  readFrom: readonly string[];
  /** By true paths but for the last name, as is the file of metrics. */
  files: readonly UnitFile[];
  passed: readonly Passed[];
  /** Whether the configuration holds a password, and others are in the group of the user. */
  isSecretShared?: boolean;
  /** The variable that names a proxy where the unit is made; the service does not have it. */
  proxyVariable?: string | undefined;
  /** Name of the user, and its numbers where the user is there already. */
  user: { name: string; uid?: number; gid?: number };
}

/** A file for another user: given to it, then still to be read, given a mode, and kept by a second name. */
export function capabilitiesOf({ files, user }: UnitRequest): string[] {
  const gives = files.some(
    ({ owner }) => owner !== undefined && (owner.uid !== user.uid || owner.gid !== user.gid),
  );
  return gives ? ['CAP_CHOWN', 'CAP_FOWNER', 'CAP_DAC_READ_SEARCH'] : [];
}

/**
 * The directive by which systemd makes a state directory; undefined where none does: it is neither below /var/lib nor
 * /run, or has a colon, behind which a link would be named.
 */
export function managedState(
  stateDir: string,
): { directive: 'StateDirectory' | 'RuntimeDirectory'; name: string } | undefined {
  const [, root, name] = /^\/(var\/lib|run(?!\/user\/))\/([^:]+)$/.exec(stateDir) ?? [];
  if (name === undefined) return undefined;
  return { directive: root === 'run' ? 'RuntimeDirectory' : 'StateDirectory', name };
}

/** What the service runs, as far as that is named by its path. */
export function programsOf({ command, files }: Pick<UnitRequest, 'command' | 'files'>): string[] {
  const hooks = files.flatMap(({ onInstall }) => onInstall?.command[0] ?? []);
  return [...command, ...hooks].filter((path) => path.startsWith('/'));
}

/** The directories that the agent may write to but for its state. */
export function writtenBy({ files, metricsFile }: Pick<UnitRequest, 'files' | 'metricsFile'>): string[] {
  const written = [...files.map(({ path }) => path), ...(metricsFile === undefined ? [] : [metricsFile])];
  return unique(written.map(directoryOf));
}

export function unique(values: readonly string[]): string[] {
  return [...new Set(values)];
}
