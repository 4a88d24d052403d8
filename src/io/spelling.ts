/** Two ways to one file, by a linked directory, are one path; a link that is the file itself is its own. */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { KeptFiles } from './kept.ts';
import { cleanParts } from './part.ts';
import type { State } from './state.ts';

/** A path by the real name of its directory; as it is, where that is not there. */
export async function canonical(path: string): Promise<string> {
  try {
    return join(await realpath(dirname(path)), basename(path));
  } catch {
    return path;
  }
}

/** Whether two paths lead to one file, or would once it is there. */
export async function isSamePath(one: string, other: string): Promise<boolean> {
  return one === other || (await canonical(one)) === (await canonical(other));
}

interface Spelled {
  property: string;
  path: string;
}

/** The files, each by the path that somebody else has for it, where that is another way to the same file. */
export async function spelledAs<File extends Spelled>(
  files: readonly File[],
  pathOf: (property: string) => string | undefined,
): Promise<File[]> {
  return Promise.all(
    files.map(async (file) => {
      const path = pathOf(file.property);
      return path !== undefined && (await isSamePath(path, file.path)) ? { ...file, path } : file;
    }),
  );
}

/**
 * Has what is known and kept of a file go on under the path that it is configured with, where that is another way to it:
 * names are made of the path. A half download is begun anew. Never rejects.
 */
export async function respell({ property, path }: Spelled, state: State): Promise<void> {
  const former = state.formerPath(property, path);
  if (former === undefined || !(await isSamePath(former, path))) return;
  await cleanParts(property, former);
  await new KeptFiles(state.directory, property, path).takeOver(former);
  await state.respell(property, path);
}
