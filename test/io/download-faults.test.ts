import { describe, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { download } from '../../src/io/download.ts';
import { getObjectFrom, useDownloads } from '../support/io-download-fixture.ts';
import { bytesOf, caught, sha256Of } from '../support/io-helpers.ts';
import {
  brokenOff,
  chunked,
  head,
  ObjectServer,
  partial,
  plain,
  s3Answer,
  silent,
} from '../support/io-object-server.ts';

const fixture = useDownloads();

describe('a connection that fails', () => {
  test.each(['finish', 'reset'] as const)('by "%s" keeps what has come', async (end) => {
    const at = fixture();
    at.server.script = [at.cut(100_000, end), s3Answer(at.object)];
    const error = await caught(at.attempt());
    expect([error.code, error.retry]).toEqual(['NETWORK', 'soon']);
    expect(await at.partLength()).toBe(100_000);
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()[1]).toEqual({ range: 'bytes=100000-', 'if-match': '"etag-1"' });
  });

  test('before its answer is NETWORK, and leaves the part as it was', async () => {
    const at = fixture();
    await writeFile(at.partOf(), at.object.bytes.subarray(0, 1000));
    at.server.script = [(socket) => socket.destroy()];
    expect(await caught(at.attempt())).toMatchObject({ code: 'NETWORK', retry: 'soon' });
    expect(await at.partLength()).toBe(1000);
  });

  test('because nobody listens is NETWORK', async () => {
    const at = fixture();
    const gone = await ObjectServer.start();
    await gone.close();
    const error = await caught(at.attempt({ getObject: getObjectFrom(gone.origin) }));
    expect(error).toMatchObject({ code: 'NETWORK', retry: 'soon' });
  });

  test('cleanly, but before the length that Content-Range promised, is NETWORK and no end', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    await writeFile(at.partOf(), bytes.subarray(0, 1000));
    at.server.script = [
      chunked(206, [bytes.subarray(1000, 2000)], { etag, 'content-range': 'bytes 1000-299999/300000' }),
    ];
    const error = await caught(at.attempt());
    expect(error.code).toBe('NETWORK');
    expect(error.message).toContain('2000 of 300000');
    expect(await at.partLength()).toBe(2000);
  });

  test('in silence ends after stallSeconds, and keeps what has come', async () => {
    const at = fixture();
    at.server.script = [brokenOff(at.object, 100_000), s3Answer(at.object)];
    const startedMs = performance.now();
    const error = await caught(at.attempt({ stallSeconds: 0.3 }));
    expect([error.code, error.retry]).toEqual(['TIMEOUT', 'soon']);
    expect(performance.now() - startedMs).toBeLessThan(3000);
    await at.server.requests[0]?.closed;
    expect(await at.partLength()).toBe(100_000);
    expect(await at.attempt()).toEqual(at.object.bytes);
  });

  test('is not a slow one: progress is required, not speed', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    at.server.script = [
      (socket) => {
        socket.write(head(200, { etag, 'content-length': bytes.length }));
        let sent = 0;
        const drip = setInterval(() => {
          socket.write(bytes.subarray(sent, sent + 50_000));
          sent += 50_000;
          if (sent < bytes.length) return;
          clearInterval(drip);
          socket.end();
        }, 200);
      },
    ];
    expect(await at.attempt({ stallSeconds: 0.8 })).toEqual(bytes);
  });
});

describe('an answer that is not what it should be', () => {
  test('a body longer than its Content-Range promised is no object, and not taken', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    await writeFile(at.partOf(), bytes.subarray(0, 1000));
    const headers = { etag, 'content-range': 'bytes 1000-299999/300000' };
    at.server.script = [
      chunked(206, [bytes.subarray(1000), bytesOf(50_000, 3)], headers),
      s3Answer(at.object),
      s3Answer(at.object),
    ];
    const error = await caught(at.attempt());
    expect(error.code).toBe('S3');
    expect((await at.partLength()) ?? 0).toBeLessThanOrEqual(300_000);
    expect(await at.attempt()).toEqual(bytes);
  });

  test('a 206 to a request for the whole is an error, and its connection is let go', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    at.server.script = [
      (socket) => {
        const range = `bytes 0-${bytes.length - 1}/${bytes.length}`;
        socket.write(head(206, { etag, 'content-length': bytes.length, 'content-range': range }));
        socket.write(bytes.subarray(0, 1000));
      },
    ];
    const error = await caught(at.attempt());
    expect(error.code).toBe('S3');
    await at.server.requests[0]?.closed;
  });

  test.each([301, 302, 307, 308])(
    'a %i is not followed: no request reaches where it leads',
    async (status) => {
      const at = fixture();
      const elsewhere = await ObjectServer.start();
      elsewhere.otherwise = s3Answer(at.object);
      try {
        at.server.script = [plain(status, '', { location: `${elsewhere.origin}/examplebucket/dir/app.bin` })];
        const error = await caught(at.attempt());
        expect([error.code, error.retry]).toEqual(['S3', 'slow']);
        expect(elsewhere.requests).toEqual([]);
        expect(at.server.requests.length).toBe(1);
      } finally {
        await elsewhere.close();
      }
    },
  );

  test.each(['gzip', 'br', 'deflate', 'aws-chunked', 'zstd'])(
    'an object stored with Content-Encoding %s arrives as it is stored, whole and from an offset',
    async (encoding) => {
      const at = fixture();
      const bytes = encoding === 'gzip' ? gzipSync(bytesOf(50_000, 4)) : bytesOf(50_000, 4);
      const artifact = at.artifact({ sha256: sha256Of(bytes) });
      const stored = { bytes, etag: '"z"', headers: { 'content-encoding': encoding } };
      at.server.otherwise = s3Answer(stored);
      expect(await at.attempt({ artifact })).toEqual(new Uint8Array(bytes));
      await writeFile(at.partOf(artifact), bytes.subarray(0, 20_000));
      expect(await at.attempt({ artifact })).toEqual(new Uint8Array(bytes));
      expect(at.asked()).toEqual([{}, { range: 'bytes=20000-', 'if-match': '"z"' }]);
    },
  );
});

describe('an abort', () => {
  const reason = new Error('a newer desired value');

  test('while the body comes rejects with its reason, closes the connection and keeps the part', async () => {
    const at = fixture();
    const abort = new AbortController();
    at.server.script = [brokenOff(at.object, 100_000), s3Answer(at.object)];
    const onProgress = (bytes: number) => {
      if (bytes === 100_000) abort.abort(reason);
    };
    await expect(download(at.job({ signal: abort.signal, onProgress }))).rejects.toBe(reason);
    await at.server.requests[0]?.closed;
    expect(await at.partLength()).toBe(100_000);
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()[1]).toEqual({ range: 'bytes=100000-', 'if-match': '"etag-1"' });
  });

  test('while the answer is waited for rejects with its reason', async () => {
    const at = fixture();
    const abort = new AbortController();
    at.server.script = [
      (socket, request) => {
        silent(socket, request);
        abort.abort(reason);
      },
    ];
    await expect(download(at.job({ signal: abort.signal }))).rejects.toBe(reason);
    await at.server.requests[0]?.closed;
  });

  test('that came before does not even ask', async () => {
    const at = fixture();
    await expect(download(at.job({ signal: AbortSignal.abort(reason) }))).rejects.toBe(reason);
    expect(at.server.requests).toEqual([]);
  });

  test('of a body that ends with a wrong offset leaves nothing half-open', async () => {
    const at = fixture();
    await writeFile(at.partOf(), at.object.bytes.subarray(0, 1000));
    const held = brokenOff({ bytes: at.object.bytes, etag: '"etag-1"' }, 10);
    at.server.script = [partial(at.object.bytes, '"etag-1"', 'bytes 0-299999/300000'), held];
    const abort = new AbortController();
    const onProgress = () => abort.abort(reason);
    await expect(download(at.job({ signal: abort.signal, onProgress }))).rejects.toBe(reason);
    for (const request of at.server.requests) await request.closed;
    expect(at.server.requests.length).toBe(2);
  });
});
