/** A file system of its own size, for what happens where room is short. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';
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

/** A state directory on a file system of its own. */
export class StateDisk {
  readonly mounted: string;
  readonly directory: string;
  /** Has an agent keep its state there. */
  readonly args: readonly [string, string];
  readonly #filler: string;

  constructor(mounted: string) {
    this.mounted = mounted;
    this.directory = join(mounted, 'state');
    this.args = ['--state-dir', this.directory];
    this.#filler = join(mounted, 'full');
  }

  /** Leaves not a byte. */
  async fill(): Promise<void> {
    const { bavail, bsize } = await statfs(this.mounted);
    await writeFile(this.#filler, new Uint8Array((bavail + 1) * bsize)).catch(() => undefined);
  }

  /** Gives back what was filled. */
  async empty(): Promise<void> {
    await rm(this.#filler);
  }
}

/** Plays with a state directory on a file system below a directory; its size is as tmpfs takes it. */
export function onStateDisk(
  dir: string,
  size: string,
  play: (disk: StateDisk) => Promise<void>,
): Promise<void> {
  return onSmallDisk(dir, size, async (mounted) => {
    const disk = new StateDisk(mounted);
    await mkdir(disk.directory, { mode: 0o700 });
    await play(disk);
  });
}
