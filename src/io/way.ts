import { readlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AgentError, type Problem } from '../core/errors.ts';

/** What others could replace on the way to a target. */
export type OpenOnTheWay = (target: string) => Promise<Problem[]>;

/**
 * What was sound at the start may be another user's by now: nothing is put there, or taken away.
 *
 * @param look absent where nobody wants to know
 * @throws AgentError INSTALL
 */
export async function assertWay(target: string, look: OpenOnTheWay | undefined): Promise<void> {
  const [open] = (await look?.(target)) ?? [];
  if (open === undefined) return;
  throw new AgentError('INSTALL', `Cannot install ${target}: ${open.message}`, { hint: open.hint });
}

/** What is passed on the way to a path: whoever can change any of it can lead the way elsewhere. */
export interface Way {
  /** By their true paths, the nearest first; some may be missing. */
  directories: string[];
  links: string[];
}

// More than these the kernel does not follow. Source: path_resolution(7).
const mostLinks = 40;

/** The way to what a path stands for, as the kernel goes it: `..` behind a link is above where that leads. @param path absolute */
export async function wayTo(path: string): Promise<Way> {
  const directories = new Set<string>();
  const links = new Set<string>();
  const ahead = path.split('/');
  let at = '/';
  let followed = 0;
  for (let name = ahead.shift(); name !== undefined && followed <= mostLinks; name = ahead.shift()) {
    if (name === '') continue;
    if (name === '..') {
      at = dirname(at);
      continue;
    }
    directories.add(at);
    const next = join(at, name);
    const link = await readlink(next).catch(() => undefined);
    if (link === undefined) {
      at = next;
      continue;
    }
    links.add(next);
    followed += 1;
    ahead.unshift(...link.split('/'));
    if (link.startsWith('/')) at = '/';
  }
  return { directories: [...directories].reverse(), links: [...links] };
}

/** The same to what lies in a directory. */
export function wayInto(directory: string): Promise<Way> {
  return wayTo(`${directory}/.`);
}
