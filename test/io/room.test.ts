/** Room for downloads, on file systems of a few MiB. */
import { expect } from 'bun:test';
import { readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { diskError, roomIn, writeFileAtomic } from '../../src/io/disk.ts';
import { type DownloadJob, download } from '../../src/io/download.ts';
import type { Part } from '../../src/io/part.ts';
import { partPath } from '../../src/io/part.ts';
import { type Downloads, useDownloads } from '../support/io-download-fixture.ts';
import { bytesOf, caught, sha256Of } from '../support/io-helpers.ts';
import { type Answer, chunked, head, s3Answer } from '../support/io-object-server.ts';
import { mounts, onSmallDisk, onStateDisk } from '../support/small-disk.ts';
import { toolTest } from '../support/tools.ts';

const fixture = useDownloads();
const mebibyte = 1024 * 1024;

/** A job for other bytes in another directory. */
function jobFor(at: Downloads, dir: string, name: string, bytes: Uint8Array): DownloadJob {
  const artifact = at.artifact({ sha256: sha256Of(bytes), url: `s3://examplebucket/${name}`, key: name });
  const path = partPath('s3', join(dir, name), artifact.sha256);
  return at.job({ artifact, path, record: undefined });
}

/** Answers half of an object, and the rest when it is told to. */
function inHalves(bytes: Uint8Array, isTold: boolean) {
  const go = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const half = bytes.length / 2;
  const answer: Answer = (socket) => {
    const length = { 'content-length': bytes.length };
    socket.write(head(200, { etag: '"halves"', ...(isTold ? length : { 'transfer-encoding': 'chunked' }) }));
    send(socket, bytes.subarray(0, half), isTold);
    go.promise.then(() => {
      send(socket, bytes.subarray(half), isTold);
      socket.end(isTold ? '' : '0\r\n\r\n');
    });
  };
  return { answer, go: () => go.resolve(), begun };
}

function send(socket: Socket, bytes: Uint8Array, isTold: boolean): void {
  if (!isTold) socket.write(`${bytes.length.toString(16)}\r\n`);
  socket.write(bytes);
  if (!isTold) socket.write('\r\n');
}

async function contentOf(part: Part): Promise<Uint8Array> {
  await part.close();
  return new Uint8Array(await readFile(part.path));
}

toolTest([mounts], 'the reserve is 5 % of a small file system', () =>
  onSmallDisk(fixture().dir, '10m', async (mounted) => {
    expect(await roomIn(mounted)).toBe(10 * mebibyte * 0.95);
    await writeFile(join(mounted, 'x'), bytesOf(mebibyte));
    expect(await roomIn(mounted)).toBe(10 * mebibyte * 0.95 - mebibyte);
  }),
);

toolTest([mounts], 'the reserve is 16 MiB of a large file system', () =>
  onSmallDisk(fixture().dir, '1g', async (mounted) => {
    expect(await roomIn(mounted)).toBe((1024 - 16) * mebibyte);
  }),
);

toolTest([mounts], 'an object that would go into the reserve is DISK_FULL before its first byte', () =>
  onSmallDisk(fixture().dir, '10m', async (mounted) => {
    const at = fixture();
    const bytes = bytesOf(9.6 * mebibyte);
    at.server.otherwise = s3Answer({ bytes, etag: '"large"' });
    const error = await caught(download(jobFor(at, mounted, 'app.bin', bytes)));
    expect([error.code, error.retry]).toEqual(['DISK_FULL', 'slow']);
    expect(at.progress).toEqual([]);
    expect(await readdir(mounted)).toEqual([]);
  }),
);

for (const isTold of [true, false]) {
  const what = isTold ? '' : ', whose sizes nobody told';

  toolTest(
    [mounts],
    `of two downloads that fit only one by one${what}, the second takes no byte, and the first ends`,
    () =>
      onSmallDisk(fixture().dir, '4m', async (mounted) => {
        const at = fixture();
        const [one, two] = [bytesOf(2 * mebibyte, 1), bytesOf(2 * mebibyte, 2)];
        const halves = inHalves(one, isTold);
        const second = isTold
          ? s3Answer({ bytes: two, etag: '"two"' })
          : chunked(200, [two], { etag: '"two"' });
        at.server.script = [halves.answer];
        at.server.otherwise = second;
        const first = download({
          ...jobFor(at, mounted, 'one', one),
          onProgress: (bytes) => bytes === mebibyte && halves.begun.resolve(),
        });
        await halves.begun.promise;
        const error = await caught(download(jobFor(at, mounted, 'two', two)));
        expect([error.code, error.retry]).toEqual(['DISK_FULL', 'slow']);
        expect(error.message).toMatch(/and \d+ are held for other downloads/);
        expect(at.roomAsked).toBe(0);
        expect(at.progress).toEqual([]);
        halves.go();
        expect(await contentOf(await first)).toEqual(one);
        await rm((await first).path);
        expect(await contentOf(await download(jobFor(at, mounted, 'two', two)))).toEqual(two);
      }),
  );

  toolTest([mounts], `two downloads that fit together${what} run together`, () =>
    onSmallDisk(fixture().dir, '12m', async (mounted) => {
      const at = fixture();
      const [one, two] = [bytesOf(2 * mebibyte, 1), bytesOf(2 * mebibyte, 2)];
      const halves = inHalves(one, isTold);
      at.server.script = [halves.answer, s3Answer({ bytes: two, etag: '"two"' })];
      const first = download({
        ...jobFor(at, mounted, 'one', one),
        onProgress: (bytes) => bytes === mebibyte && halves.begun.resolve(),
      });
      await halves.begun.promise;
      expect(await contentOf(await download(jobFor(at, mounted, 'two', two)))).toEqual(two);
      halves.go();
      expect(await contentOf(await first)).toEqual(one);
    }),
  );

  toolTest(
    [mounts],
    `a disk that others fill meanwhile${what} ends the download before the reserve is gone`,
    () =>
      onSmallDisk(fixture().dir, '40m', async (mounted) => {
        const at = fixture();
        const bytes = bytesOf(30 * mebibyte);
        const halves = inHalves(bytes, isTold);
        at.server.script = [halves.answer];
        let fewest = Number.POSITIVE_INFINITY;
        const running = download({
          ...jobFor(at, mounted, 'app.bin', bytes),
          onProgress: async (done) => {
            const { bavail, bsize } = await statfs(mounted);
            fewest = Math.min(fewest, bavail * bsize);
            if (done === 15 * mebibyte) halves.begun.resolve();
          },
        });
        await halves.begun.promise;
        await writeFile(join(mounted, 'log'), bytesOf(16 * mebibyte));
        halves.go();
        const error = await caught(running);
        expect([error.code, error.retry]).toEqual(['DISK_FULL', 'slow']);
        expect(fewest).toBeGreaterThanOrEqual(2 * mebibyte);
        expect(await readdir(mounted)).toEqual(['log']);
      }),
  );
}

toolTest([mounts], 'a part that has to wait for the room of another download is kept', () =>
  onSmallDisk(fixture().dir, '40m', async (mounted) => {
    const at = fixture();
    const [one, two] = [bytesOf(26 * mebibyte, 1), bytesOf(14 * mebibyte, 2)];
    const halves = inHalves(one, true);
    at.server.script = [halves.answer];
    const first = download({
      ...jobFor(at, mounted, 'one', one),
      onProgress: (done) => {
        if (done === 13 * mebibyte) halves.begun.resolve();
      },
    });
    await halves.begun.promise;
    const job = jobFor(at, mounted, 'two', two);
    await writeFile(job.path, two.subarray(0, mebibyte));
    at.server.otherwise = s3Answer({ bytes: two, etag: '"two"' });
    const error = await caught(download(job));
    expect(error.code).toBe('DISK_FULL');
    expect(error.message).toContain('held for other downloads');
    expect((await readFile(job.path)).length).toBe(mebibyte);
    halves.go();
    expect(await contentOf(await first)).toEqual(one);
  }),
);

for (const isElsewhere of [true, false]) {
  toolTest(
    [mounts],
    `where the disk of the state is full, a part ${isElsewhere ? 'on another one stays' : 'on it goes'}`,
    () =>
      onStateDisk(fixture().dir, '2m', async (disk) => {
        const at = fixture();
        const bytes = bytesOf(mebibyte, 8);
        const job = jobFor(at, isElsewhere ? at.dir : disk.mounted, 'app.bin', bytes);
        await writeFile(job.path, bytes.subarray(0, mebibyte / 2));
        at.server.otherwise = s3Answer({ bytes, etag: '"whole"' });
        await disk.fill();
        const saveRecord = () =>
          writeFileAtomic(join(disk.directory, 'state.json'), '{}', 0o600).catch((error) => {
            throw diskError(error, 'Cannot write the state file', disk.directory);
          });
        const error = await caught(download({ ...job, saveRecord }));
        expect([error.code, error.message]).toEqual(['DISK_FULL', 'Cannot write the state file: ENOSPC']);
        const left = await readFile(job.path).catch(() => undefined);
        expect(left?.length).toBe(isElsewhere ? mebibyte / 2 : undefined);
      }),
  );
}

toolTest([mounts], 'what filled the disk is gone after DISK_FULL', () =>
  onSmallDisk(fixture().dir, '1m', async (mounted) => {
    const at = fixture();
    const bytes = bytesOf(2_000_000, 6);
    at.server.otherwise = chunked(200, [bytes], { etag: '"two-mb"' });
    const error = await caught(download(jobFor(at, mounted, 'app.bin', bytes)));
    expect([error.code, error.retry]).toEqual(['DISK_FULL', 'slow']);
    expect(await readdir(mounted)).toEqual([]);
    const { bfree, blocks } = await statfs(mounted);
    expect(bfree).toBe(blocks);
  }),
);

toolTest(
  [mounts],
  'room that ends while the bytes come is made, too: the previous file is the first to go',
  () =>
    onSmallDisk(fixture().dir, '1m', async (mounted) => {
      const at = fixture();
      await writeFile(join(mounted, 'previous'), bytesOf(700_000));
      const bytes = bytesOf(600_000, 6);
      at.server.otherwise = chunked(200, [bytes], { etag: '"chunked"' });
      const makeRoom = async () => {
        at.roomAsked += 1;
        await rm(join(mounted, 'previous'));
        return true;
      };
      const part = await download({ ...jobFor(at, mounted, 'app.bin', bytes), makeRoom });
      expect(part.hex()).toBe(sha256Of(bytes));
      await part.close();
      expect(at.roomAsked).toBe(1);
    }),
);
