/** Whether others on this device could read the key, or put something in the place of what the agent trusts. */
import type { Problem } from './errors.ts';
import { shellWord } from './shell.ts';

/** A file or directory, and who may do what with it. */
export interface Entry {
  path: string;
  /** All bits of st_mode that chmod can set. */
  mode: number;
}

const sticky = 0o1000;

/** The key of the device is for its owner alone. */
export function keyProblem(at: string, { path, mode }: Entry): Problem[] {
  if ((mode & 0o077) === 0) return [];
  return [
    problem(
      at,
      `${path} can be read by others than its owner (${octal(mode)})`,
      `chmod 600 ${shellWord(path)}`,
    ),
  ];
}

/** What the agent believes must not be anybody's to write. */
export function trustedFileProblem(at: string, { path, mode }: Entry): Problem[] {
  if ((mode & 0o002) === 0) return [];
  return [problem(at, `${path} can be written by everyone (${octal(mode)})`, `chmod o-w ${shellWord(path)}`)];
}

/** The agent's own directory; its sticky bit would keep nobody from putting files there. */
export function ownDirectoryProblem(at: string, { path, mode }: Entry): Problem[] {
  if ((mode & 0o022) === 0) return [];
  return [
    problem(
      at,
      `${path} can be written by others than its owner (${octal(mode)})`,
      `chmod go-w ${shellWord(path)}`,
    ),
  ];
}

/** In a directory that everyone may write to, everyone may rename what is in it, but for the sticky bit. */
export function directoryProblem(at: string, { path, mode }: Entry): Problem[] {
  if ((mode & 0o002) === 0 || (mode & sticky) !== 0) return [];
  const message = `everyone can replace what is in ${path} (${octal(mode)}, no sticky bit)`;
  return [problem(at, message, `chmod o-w ${shellWord(path)}`)];
}

function problem(path: string, message: string, command: string): Problem {
  return { path, message, hint: command };
}

function octal(mode: number): string {
  return `mode ${(mode & 0o7777).toString(8).padStart(4, '0')}`;
}
