/** One attempt at a file, with a state directory on a file system of its own. */
import { expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Pending } from '../src/core/pending.ts';
import { KeptFiles } from '../src/io/kept.ts';
import { State, type StateChange } from '../src/io/state.ts';
import { Target } from '../src/io/target.ts';
import { type UpdateJob, update } from '../src/update.ts';
import { useDownloads } from './support/io-download-fixture.ts';
import { bytesOf, caught, RecordingLog, sha256Of } from './support/io-helpers.ts';
import { s3Answer } from './support/io-object-server.ts';
import { mounts, onStateDisk, type StateDisk } from './support/small-disk.ts';
import { toolTest } from './support/tools.ts';

const fixture = useDownloads();
const mebibyte = 1024 * 1024;
const small = { previous: 10, installed: 20 };

interface Sizes {
  /** Of the file system of the state directory, as mount takes it. */
  disk: string;
  previous: number;
  installed: number;
}

interface Device {
  job: UpdateJob;
  /** What may be gone back to, and where it is kept. */
  previous: { sha256: string };
  previousPath: string;
  /** What is stored on the disk. */
  stored: () => Promise<StateChange>;
}

/** A device that holds a file of one size, and keeps one of another size that it was before. */
async function deviceAt(stateDir: string, sizes: Omit<Sizes, 'disk'>): Promise<Device> {
  const at = fixture();
  const path = join(at.dir, 'app.bin');
  const log = new RecordingLog();
  const state = await State.open(stateDir, log);
  const target = new Target({ property: 's3', path, digest: 'native', state, log });
  const kept = new KeptFiles(stateDir, 's3', path);
  const [before, old] = [bytesOf(sizes.previous, 1), bytesOf(sizes.installed, 2)];
  const previous = { sha256: sha256Of(before) };
  const previousPath = kept.pathOf(previous);
  await mkdir(dirname(previousPath), { recursive: true });
  await writeFile(previousPath, before);
  await writeFile(path, old);
  await target.store({ previous });
  const { bytes } = at.object;
  at.server.otherwise = s3Answer(at.object);
  const artifact = at.artifact({ sha256: sha256Of(bytes) });
  const { getObject, stallSeconds, digest, room, signal } = at.job();
  const job = {
    file: { property: 's3', path, keepPrevious: true },
    artifact,
    value: { url: artifact.url, hash: artifact.sha256 },
    installed: { sha256: sha256Of(old) },
    kept,
    target,
    confirm: async () => undefined,
    onReceived: () => undefined,
    onProgress: () => undefined,
    ...{ getObject, stallSeconds, digest, room, signal },
  };
  const stored = async () => JSON.parse(await readFile(join(stateDir, 'state.json'), 'utf8')).files[0];
  return { job, previous, previousPath, stored };
}

/** Plays with a device whose state is on a disk of its own. */
function onDevice(
  { disk, ...sizes }: Sizes,
  play: (device: Device & { stateDisk: StateDisk }) => Promise<void>,
): Promise<void> {
  return onStateDisk(fixture().dir, disk, async (stateDisk) =>
    play({ ...(await deviceAt(stateDisk.directory, sizes)), stateDisk }),
  );
}

/** Has the install fail at its last check: somebody puts another file in the place of the part. */
function spoilt({ job }: Device): UpdateJob {
  const part = fixture().partOf(job.artifact);
  return {
    ...job,
    confirm: async () => {
      await writeFile(`${part}.other`, 'another');
      await rename(`${part}.other`, part);
    },
  };
}

toolTest([mounts], 'an install that fails gives the way back that it had given up again', () =>
  onDevice({ disk: '2m', previous: mebibyte / 8, installed: 2 * mebibyte }, async (device) => {
    const { previous, previousPath, stored } = device;
    const error = await caught(update(spoilt(device)));
    expect(error.message).toContain('no longer the file that was downloaded');
    expect(await stored()).toMatchObject({ previous });
    expect(await stored()).not.toHaveProperty('pending');
    expect(existsSync(previousPath)).toBe(true);
  }),
);

toolTest([mounts], 'a way back that went for room is not given back by an install that fails', () =>
  onDevice({ disk: '2m', previous: mebibyte, installed: 1.5 * mebibyte }, async (device) => {
    const { previousPath, stored } = device;
    const error = await caught(update(spoilt(device)));
    expect(error.message).toContain('no longer the file that was downloaded');
    expect(existsSync(previousPath)).toBe(false);
    expect(await stored()).not.toHaveProperty('previous');
    expect(await stored()).not.toHaveProperty('pending');
  }),
);

toolTest(
  [mounts],
  'a previous file on the disk of the state goes for what is written there as a download begins',
  () =>
    onDevice({ disk: '2m', previous: mebibyte, installed: 10 }, async (device) => {
      const { job, previousPath, stateDisk, stored } = device;
      await stateDisk.fill();
      await update(job);
      expect(existsSync(previousPath)).toBe(false);
      expect(await stored()).toMatchObject({ installed: { sha256: job.artifact.sha256 } });
    }),
);

toolTest([mounts], 'what only other downloads hold of the room costs no way back', () =>
  onDevice({ disk: '4m', previous: mebibyte, installed: mebibyte }, async (device) => {
    const { job, previous, previousPath, stateDisk, stored } = device;
    const other = job.room.claim(stateDisk.directory, async () => false);
    await other.take(2.5 * mebibyte);
    const onInstall = { command: ['/bin/true'], timeoutSeconds: 10 };
    const error = await caught(update({ ...job, file: { ...job.file, onInstall } }));
    expect(error.message).toContain('held for other downloads');
    expect(existsSync(previousPath)).toBe(true);
    expect(await stored()).toMatchObject({ previous });
    other.release();
    await update({ ...job, file: { ...job.file, onInstall } });
    expect(fixture().server.requests.length).toBe(1);
  }),
);

const onInstall = { command: ['/bin/true'], timeoutSeconds: 10 };

test('what was out of sight, and is installed anew before its hook has taken it, keeps the way back from it', async () => {
  const { job, previous, previousPath, stored } = await deviceAt(join(fixture().dir, 'state'), small);
  const { sha256 } = job.artifact;
  const owed: Pending = { step: 'apply', sha256, before: previous, keep: true, runs: 2 };
  await job.target.store({ previous: undefined, pending: owed });
  await rm(job.file.path);
  await update({ ...job, file: { ...job.file, onInstall }, installed: undefined });
  expect(await stored()).toMatchObject({ pending: owed });
  expect(existsSync(previousPath)).toBe(true);
});

test('what replaces a file that could not be put back has its way back, and nothing of its failure', async () => {
  const { job, previous, previousPath, stored } = await deviceAt(join(fixture().dir, 'state'), small);
  const refused = job.installed?.sha256 ?? '';
  const failed = { message: 'The hook exited with 3' };
  const owed: Pending = { step: 'back', sha256: refused, before: previous, keep: true, runs: 0, failed };
  const blocked = { value: {}, code: 'INSTALL', message: 'no directory', attempt: 1 } as const;
  await job.target.store({ previous: undefined, pending: owed, blocked });
  await update({ ...job, file: { ...job.file, onInstall } });
  const { sha256 } = job.artifact;
  expect(await stored()).toMatchObject({
    pending: { step: 'apply', sha256, before: previous, keep: true, runs: 0, over: owed },
  });
  expect(await stored()).not.toHaveProperty('blocked');
  expect(existsSync(previousPath)).toBe(true);
  expect(existsSync(job.kept.pathOf({ sha256: refused }))).toBe(false);
});

test('a hook that is owed to the file that is replaced is part of what is announced', async () => {
  const { job, stored } = await deviceAt(join(fixture().dir, 'state'), small);
  const before = job.installed ?? { sha256: '' };
  const failed = { message: 'no network' };
  const owed: Pending = { step: 'apply', ...before, keep: false, runs: 0, repair: true, failed };
  await job.target.store({ pending: owed });
  const withHook = { ...job, file: { ...job.file, onInstall } };
  await update(withHook);
  const { sha256 } = job.artifact;
  expect(await stored()).toMatchObject({ pending: { sha256, before, over: owed } });
});
