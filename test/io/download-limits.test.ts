import { describe, expect, test } from 'bun:test';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import type { Artifact } from '../../src/core/artifact.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import { type Downloads, useDownloads } from '../support/io-download-fixture.ts';
import { bytesOf, caught, sha256Of } from '../support/io-helpers.ts';
import { brokenOff, chunked, head, s3Answer, type WireRequest } from '../support/io-object-server.ts';

const fixture = useDownloads();

/** Answers without telling a length, and never ends. */
function endless(socket: Socket): void {
  socket.write(head(200, { 'transfer-encoding': 'chunked' }));
  const more = (): void => {
    if (socket.destroyed) return;
    socket.write(`2710\r\n${'x'.repeat(10_000)}\r\n`, () => setImmediate(more));
  };
  more();
}

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

  test('is not fetched a third time while it has the same ETag', async () => {
    const at = fixture();
    at.server.otherwise = s3Answer(wrong);
    const first = await caught(at.attempt());
    for (let attempt = 2; attempt < 5; attempt += 1) {
      const again = await caught(at.attempt());
      expect([again.code, again.message]).toEqual(['HASH_MISMATCH', first.message]);
      expect(await readdir(at.dir)).toEqual([]);
    }
    expect(at.asked()).toEqual([{}, {}, { 'if-none-match': '"wrong"' }, { 'if-none-match': '"wrong"' }]);
  });

  test('is not blamed for one bad answer: the same ETag with the right bytes is taken', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    const flipped = Uint8Array.from(bytes, (byte, index) => (index === 7 ? byte ^ 1 : byte));
    at.server.script = [s3Answer({ bytes: flipped, etag }), s3Answer(at.object)];
    expect((await caught(at.attempt())).code).toBe('HASH_MISMATCH');
    expect(await at.attempt()).toEqual(bytes);
    expect(at.asked()).toEqual([{}, {}]);
  });

  test('is not blamed for two bad answers that differ', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    const flipped = (at: number) => Uint8Array.from(bytes, (byte, index) => (index === at ? byte ^ 1 : byte));
    at.server.script = [7, 8].map((place) => s3Answer({ bytes: flipped(place), etag }));
    at.server.otherwise = s3Answer(at.object);
    for (let nth = 0; nth < 2; nth += 1) expect((await caught(at.attempt())).code).toBe('HASH_MISMATCH');
    expect(await at.attempt()).toEqual(bytes);
  });

  test('is not blamed for a part that was spoilt on the disk twice', async () => {
    const at = fixture();
    const cut = brokenOff(at.object, 200_000);
    at.server.script = [cut, s3Answer(at.object), cut];
    at.server.otherwise = s3Answer(at.object);
    const codes: ErrorCode[] = ['TIMEOUT', 'TIMEOUT', 'HASH_MISMATCH'];
    for (const code of codes) {
      expect((await caught(at.attempt({ stallSeconds: 0.3 }))).code).toBe(code);
      const part = await readFile(at.partOf()).catch(() => undefined);
      if (part !== undefined) await writeFile(at.partOf(), part.fill(0, 0, 1));
    }
    expect(await at.attempt()).toEqual(at.object.bytes);
  });

  test('is fetched as soon as it was replaced by the right one', async () => {
    const at = fixture();
    at.server.script = [s3Answer(wrong), s3Answer(wrong), s3Answer(at.object)];
    for (let nth = 0; nth < 2; nth += 1) await caught(at.attempt());
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()).toEqual([{}, {}, { 'if-none-match': '"wrong"' }]);
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

  test('is believed to be wrong where what a part of an earlier attempt came to is what the next whole fetch has', async () => {
    const at = fixture();
    await writeFile(at.partOf(), wrong.bytes.subarray(0, 1000));
    at.server.otherwise = s3Answer(wrong);
    expect((await caught(at.attempt())).code).toBe('HASH_MISMATCH');
    expect(at.asked()).toEqual([{ range: 'bytes=1000-' }, {}]);
    for (let nth = 0; nth < 2; nth += 1) await caught(at.attempt());
    expect(at.asked().slice(2)).toEqual([{ 'if-none-match': '"wrong"' }, { 'if-none-match': '"wrong"' }]);
  });

  test('costs a 304, where the attempt that found it was killed before it removed the part', async () => {
    const at = fixture();
    at.server.otherwise = s3Answer(wrong);
    for (let nth = 0; nth < 2; nth += 1) await caught(at.attempt());
    await writeFile(at.partOf(), wrong.bytes);
    expect((await caught(at.attempt())).code).toBe('HASH_MISMATCH');
    expect(at.asked()).toEqual([{}, {}, { 'if-none-match': '"wrong"' }]);
    expect(await readdir(at.dir)).toEqual([]);
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

describe('a body of untold length that ends cleanly before the size that is desired', () => {
  const size = 300_000;

  test('is a drop: no blame is stored, and the rest is asked for', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    at.server.script = [chunked(200, [bytes.subarray(0, 100_000)], { etag }), s3Answer(at.object)];
    const artifact = at.artifact({ size });
    const error = await caught(at.attempt({ artifact }));
    expect([error.code, error.retry]).toEqual(['NETWORK', 'soon']);
    expect(at.record?.wrong).toBeUndefined();
    expect(await at.attempt({ artifact })).toEqual(bytes);
    expect(at.asked()[1]).toEqual({ range: 'bytes=100000-', 'if-match': etag });
  });

  test('is an object that is too short where a 416 tells so, and is then not fetched again', async () => {
    const at = fixture();
    const short = { bytes: bytesOf(100_000, 4), etag: '"short"' };
    at.server.script = [chunked(200, [short.bytes], { etag: short.etag })];
    at.server.otherwise = s3Answer(short);
    const artifact = at.artifact({ size });
    const codes: string[] = [];
    for (let nth = 0; nth < 4; nth += 1) codes.push((await caught(at.attempt({ artifact }))).code);
    expect(codes).toEqual(['NETWORK', 'HASH_MISMATCH', 'HASH_MISMATCH', 'HASH_MISMATCH']);
    expect(at.asked()).toEqual([
      {},
      { range: 'bytes=100000-', 'if-match': '"short"' },
      {},
      { 'if-none-match': '"short"' },
    ]);
  });
});

test('a body of untold length is ended where it is longer than the size that is desired', async () => {
  const at = fixture();
  const written: number[] = [];
  const onProgress = (bytes: number) => void written.push(bytes);
  at.server.script = [endless];
  const error = await caught(at.attempt({ artifact: at.artifact({ size: 100_000 }), onProgress }));
  expect([error.code, error.retry]).toEqual(['HASH_MISMATCH', 'slow']);
  expect(error.message).toMatch(/has \d+ bytes or more, desired says 100000/);
  expect(Math.max(...written)).toBeLessThanOrEqual(100_000);
  expect(await readdir(at.dir)).toEqual([]);
  await at.server.requests[0]?.closed;
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
    at.server.script = [endless];
    const onProgress = (bytes: number) => void written.push(bytes);
    const error = await caught(at.attempt({ maxBytes: 100_000, onProgress }));
    expect(error.code).toBe('TOO_LARGE');
    expect(Math.max(...written)).toBeLessThanOrEqual(100_000);
    expect(await readdir(at.dir)).toEqual([]);
    await at.server.requests[0]?.closed;
  });
});

describe('an object of the wrong size', () => {
  interface Limits {
    what: string;
    bad: { maxBytes?: number; size?: number };
    good: { maxBytes?: number; size?: number };
    code: ErrorCode;
  }
  const limits: Limits[] = [
    { what: 'over maxBytes', bad: { maxBytes: 200_000 }, good: { maxBytes: 400_000 }, code: 'TOO_LARGE' },
    { what: 'with another size', bad: { size: 299_999 }, good: { size: 300_000 }, code: 'HASH_MISMATCH' },
  ];
  const told = (at: Downloads) => s3Answer(at.object);
  const untold = (at: Downloads) => {
    const { bytes, etag } = at.object;
    const whole = chunked(200, [bytes.subarray(0, 250_000), bytes.subarray(250_000)], { etag });
    return (socket: Socket, request: WireRequest) =>
      request.headers['if-none-match'] === etag
        ? s3Answer(at.object)(socket, request)
        : whole(socket, request);
  };

  function attempt(at: Downloads, { maxBytes, size }: Limits['bad'], changes: Partial<Artifact> = {}) {
    const artifact = at.artifact({ ...(size === undefined ? {} : { size }), ...changes });
    return at.attempt({ artifact, maxBytes });
  }

  for (const [how, answer] of [
    ['told', told],
    ['found out', untold],
  ] as const) {
    for (const { what, bad, good, code } of limits) {
      test(`(${what}, ${how}) is not fetched a third time while it has the same ETag and the limit stays`, async () => {
        const at = fixture();
        at.server.otherwise = answer(at);
        const messages: string[] = [];
        for (let nth = 0; nth < 4; nth += 1) {
          const error = await caught(attempt(at, bad));
          expect([error.code, error.retry]).toEqual([code, 'slow']);
          expect(await readdir(at.dir)).toEqual([]);
          messages.push(error.message);
        }
        const unchanged = { 'if-none-match': '"etag-1"' };
        expect(at.asked()).toEqual([{}, {}, unchanged, unchanged]);
        expect(messages[3]).toBe(messages[2] ?? '');
      });

      test(`(${what}, ${how}) is fetched as soon as the limit is another`, async () => {
        const at = fixture();
        at.server.otherwise = answer(at);
        await caught(attempt(at, bad));
        expect(await attempt(at, good)).toEqual(at.object.bytes);
        expect(at.asked()).toEqual([{}, {}]);
      });

      test(`(${what}, ${how}) says nothing of the object of another url`, async () => {
        const at = fixture();
        at.server.otherwise = answer(at);
        await caught(attempt(at, bad));
        await caught(attempt(at, bad, { url: 's3://examplebucket/moved', key: 'moved' }));
        expect(at.asked()).toEqual([{}, {}]);
      });
    }
  }

  test('is fetched as soon as it was replaced by one that fits', async () => {
    const at = fixture();
    const large = { bytes: bytesOf(400_000, 3), etag: '"large"' };
    at.server.script = [s3Answer(large), s3Answer(large), s3Answer(at.object)];
    for (let nth = 0; nth < 2; nth += 1) {
      expect((await caught(attempt(at, { maxBytes: 300_000 }))).code).toBe('TOO_LARGE');
    }
    expect(await attempt(at, { maxBytes: 300_000 })).toEqual(at.object.bytes);
    expect(at.asked()[2]).toEqual({ 'if-none-match': '"large"' });
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
});
