/** Runs the executable as a user without rights of its own: root may do anything, and hides what others may not. */
import { chmod, copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { program } from './tools.ts';
import { type Command, executable } from './world.ts';

export const setpriv = program('setpriv', 'util-linux');
export const nobody = 65534;

/** The executable as a user who owns nothing; root is every directory's. */
export async function asNobody(play: (run: Command) => Promise<void>): Promise<void> {
  if (process.geteuid?.() !== 0) return play([await executable()]);
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-nobody-'));
  try {
    const copy = join(dir, 'shadow-agent');
    await copyFile(await executable(), copy);
    await chmod(dir, 0o755);
    await play(['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', copy]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
