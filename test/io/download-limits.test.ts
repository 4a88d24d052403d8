import { describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { download } from '../../src/io/download.ts';
import { partPath } from '../../src/io/part.ts';
import { useDownloads } from '../support/io-download-fixture.ts';
import { bytesOf, caught, sha256Of } from '../support/io-helpers.ts';
import { brokenOff, chunked, head, s3Answer } from '../support/io-object-server.ts';

const fixture = useDownloads();

describe('an object that is not the one that is desired', () => {
  const wrong = { bytes: bytesOf(200_000, 8), etag: '"wrong"' };

  test('is HASH_MISMATCH with both hashes, and nothing of it stays', async () => {
    const at = fixture();
    at.server.otherwise = s3Answer(wrong);
    const error = await caught(at.attempt());
    expect([error.code, error.retry]).toEqual(['HASH_MISMATCH', 'slow']);
    expect(error.message).toContain(sha256Of(wrong.bytes));
    expect(error.message).toContain(at.artifact().sha256);
    expect(await readdir(at.dir)).toEqual([]);
    expect(at.server.requests.length).toBe(1);
  });

  test('is not fetched again while it has the same ETag', async () => {
    const at = fixture();
    at.server.otherwise = s3Answer(wrong);
    const first = await caught(at.attempt());
    for (let attempt = 2; attempt < 4; attempt += 1) {
      const again = await caught(at.attempt());
      expect([again.code, again.message]).toEqual(['HASH_MISMATCH', first.message]);
      expect(await readdir(at.dir)).toEqual([]);
    }
    expect(at.asked()).toEqual([{}, { 'if-none-match': '"wrong"' }, { 'if-none-match': '"wrong"' }]);
  });

  test('is fetched as soon as it was replaced by the right one', async () => {
    const at = fixture();
    at.server.script = [s3Answer(wrong), s3Answer(at.object)];
    await caught(at.attempt());
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()).toEqual([{}, { 'if-none-match': '"wrong"' }]);
    expect(at.record?.wrongSha256).toBeUndefined();
  });

  test('is fetched again under another desired hash', async () => {
    const at = fixture();
    at.server.otherwise = s3Answer(wrong);
    await caught(at.attempt());
    expect(await at.attempt({ artifact: at.artifact({ sha256: sha256Of(wrong.bytes) }) })).toEqual(
      wrong.bytes,
    );
    expect(at.asked()).toEqual([{}, {}]);
  });

  test('costs one more GET where a part of an earlier attempt may be to blame', async () => {
    const at = fixture();
    await writeFile(at.partOf(), wrong.bytes.subarray(0, 1000));
    at.server.otherwise = s3Answer(wrong);
    expect((await caught(at.attempt())).code).toBe('HASH_MISMATCH');
    expect(at.asked()).toEqual([{ range: 'bytes=1000-' }, {}]);
    await caught(at.attempt());
    expect(at.asked()[2]).toEqual({ 'if-none-match': '"wrong"' });
  });

  test('without an ETag is fetched again', async () => {
    const at = fixture();
    at.server.otherwise = chunked(200, [wrong.bytes]);
    await caught(at.attempt());
    expect((await caught(at.attempt())).code).toBe('HASH_MISMATCH');
    expect(at.asked()).toEqual([{}, {}]);
  });
});

describe('a size in the desired value', () => {
  test("that is the object's does no harm", async () => {
    const at = fixture();
    at.server.script = [s3Answer(at.object)];
    expect(await at.attempt({ artifact: at.artifact({ size: 300_000 }) })).toEqual(at.object.bytes);
  });

  test("that is not the object's is HASH_MISMATCH before a byte of the body is taken", async () => {
    const at = fixture();
    at.server.script = [brokenOff(at.object, 1000)];
    const error = await caught(at.attempt({ artifact: at.artifact({ size: 299_999 }) }));
    expect([error.code, error.retry]).toEqual(['HASH_MISMATCH', 'slow']);
    expect(error.message).toContain('300000');
    expect(error.message).toContain('299999');
    expect(at.progress).toEqual([]);
    await at.server.requests[0]?.closed;
  });

  test("that is not the object's is found where S3 does not tell the length, too", async () => {
    const at = fixture();
    at.server.script = [chunked(200, [at.object.bytes])];
    const error = await caught(at.attempt({ artifact: at.artifact({ size: 300_001 }) }));
    expect(error.code).toBe('HASH_MISMATCH');
  });
});

describe('maxBytes', () => {
  test('lets pass what is just as large', async () => {
    const at = fixture();
    at.server.script = [s3Answer(at.object)];
    expect(await at.attempt({ maxBytes: 300_000 })).toEqual(at.object.bytes);
  });

  test('refuses by the header, before a byte of the body is taken', async () => {
    const at = fixture();
    at.server.script = [brokenOff(at.object, 1000)];
    const error = await caught(at.attempt({ maxBytes: 299_999 }));
    expect([error.code, error.retry]).toEqual(['TOO_LARGE', 'slow']);
    expect(error.message).toContain('299999');
    expect(at.progress).toEqual([]);
    expect(await readdir(at.dir)).toEqual([]);
    await at.server.requests[0]?.closed;
  });

  test('ends a body without a length as soon as it is over the limit', async () => {
    const at = fixture();
    const written: number[] = [];
    at.server.script = [
      (socket) => {
        socket.write(head(200, { 'transfer-encoding': 'chunked' }));
        const more = (): void => {
          if (socket.destroyed) return;
          socket.write(`2710\r\n${'x'.repeat(10_000)}\r\n`, () => setImmediate(more));
        };
        more();
      },
    ];
    const onProgress = (bytes: number) => void written.push(bytes);
    const error = await caught(at.attempt({ maxBytes: 100_000, onProgress }));
    expect(error.code).toBe('TOO_LARGE');
    expect(Math.max(...written)).toBeLessThanOrEqual(100_000);
    expect(await readdir(at.dir)).toEqual([]);
    await at.server.requests[0]?.closed;
  });
});

describe('room on the disk', () => {
  const tooMuch = 2 ** 49;

  test('is asked for before the body: without it, DISK_FULL with the missing bytes', async () => {
    const at = fixture();
    at.server.script = [(socket) => socket.write(head(200, { etag: '"big"', 'content-length': tooMuch }))];
    const error = await caught(at.attempt());
    expect([error.code, error.retry]).toEqual(['DISK_FULL', 'slow']);
    expect(error.message).toContain(String(tooMuch));
    expect(error.hint).toBeString();
    expect(at.roomAsked).toBe(1);
    expect(at.progress).toEqual([]);
    await at.server.requests[0]?.closed;
  });

  test('is made for as long as there is something to give up', async () => {
    const at = fixture();
    at.server.script = [(socket) => socket.write(head(200, { etag: '"big"', 'content-length': tooMuch }))];
    let calls = 0;
    const makeRoom = async () => ++calls < 3;
    expect((await caught(at.attempt({ makeRoom }))).code).toBe('DISK_FULL');
    expect(calls).toBe(3);
  });

  test('is not asked for where there is enough', async () => {
    const at = fixture();
    at.server.script = [s3Answer(at.object)];
    await at.attempt();
    expect(at.roomAsked).toBe(0);
  });

  test('that ends while the bytes come is DISK_FULL, and what filled the disk is gone', async () => {
    const at = fixture();
    const mounted = join(at.dir, 'small');
    await mkdir(mounted);
    // A container may forbid mounts; then this says so and proves nothing.
    const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', mounted]);
    if (mount.status !== 0) {
      expect(mount.stderr.toString()).toMatch(/permission denied|must be superuser|not permitted/i);
      return;
    }
    try {
      const bytes = bytesOf(2_000_000, 6);
      const artifact = at.artifact({ sha256: sha256Of(bytes) });
      at.server.otherwise = chunked(200, [bytes], { etag: '"two-mb"' });
      const path = partPath('s3', join(mounted, 'app.bin'), artifact.sha256);
      const error = await caught(download(at.job({ artifact, path })));
      expect([error.code, error.retry]).toEqual(['DISK_FULL', 'slow']);
      expect(await readdir(mounted)).toEqual([]);
      const { bfree, blocks } = await statfs(mounted);
      expect(bfree).toBe(blocks);
    } finally {
      spawnSync('umount', [mounted]);
    }
  });

  test('that ends while the bytes come is made, too: the previous file is the first to go', async () => {
    const at = fixture();
    const mounted = join(at.dir, 'small');
    await mkdir(mounted);
    const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', mounted]);
    if (mount.status !== 0) {
      expect(mount.stderr.toString()).toMatch(/permission denied|must be superuser|not permitted/i);
      return;
    }
    try {
      await writeFile(join(mounted, 'previous'), bytesOf(700_000));
      const bytes = bytesOf(600_000, 6);
      const artifact = at.artifact({ sha256: sha256Of(bytes) });
      at.server.otherwise = chunked(200, [bytes], { etag: '"chunked"' });
      const path = partPath('s3', join(mounted, 'app.bin'), artifact.sha256);
      const makeRoom = async () => {
        at.roomAsked += 1;
        await rm(join(mounted, 'previous'));
        return true;
      };
      const part = await download(at.job({ artifact, path, makeRoom }));
      expect(part.hex()).toBe(artifact.sha256);
      await part.close();
      expect(at.roomAsked).toBe(1);
    } finally {
      spawnSync('umount', [mounted]);
    }
  });
});
