/** A file system of its own size, for what happens where room is short. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tool } from './tools.ts';

/** The right to mount, which root has on a machine; a container needs CAP_SYS_ADMIN. */
export const mounts: Tool = {
  name: 'the right to mount a tmpfs (root, CAP_SYS_ADMIN)',
  debianPackage: 'mount',
  path: 'mount',
  found: mayMount(),
};

function mayMount(): boolean {
  const dir = mkdtempSync(join(tmpdir(), 'shadow-agent-mount-'));
  try {
    const place = join(dir, 'small');
    mkdirSync(place);
    const isMounted = mount(place, '1m');
    if (isMounted) unmount(place);
    return isMounted;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function mount(place: string, size: string): boolean {
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', place]).status === 0;
}

function unmount(place: string): void {
  // Lazily: a test that failed may have left a file open.
  spawnSync('umount', ['-l', place]);
}

/** Plays with an empty file system below a directory; its size is as tmpfs takes it: `1m`. */
export async function onSmallDisk(
  dir: string,
  size: string,
  play: (mounted: string) => Promise<void>,
): Promise<void> {
  const mounted = join(dir, 'small');
  await mkdir(mounted);
  if (!mount(mounted, size)) throw new Error(`cannot mount a tmpfs on ${mounted}`);
  try {
    await play(mounted);
  } finally {
    unmount(mounted);
  }
}
