import { describe, expect, test } from 'bun:test';
import { stat, writeFile } from 'node:fs/promises';
import { download } from '../../src/io/download.ts';
import { useDownloads } from '../support/io-download-fixture.ts';
import { bytesOf, caught, sha256Of } from '../support/io-helpers.ts';
import { chunked, partial, plain, s3Answer, xml } from '../support/io-object-server.ts';

const fixture = useDownloads();

describe('a download', () => {
  test('brings the object whole, in one plain GET', async () => {
    const at = fixture();
    at.server.script = [s3Answer(at.object)];
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()).toEqual([{}]);
    expect(at.record).toMatchObject({
      sha256: sha256Of(at.object.bytes),
      source: at.artifact().url,
      etag: at.object.etag,
      size: 300_000,
    });
  });

  test('gives back an open part with the digest that was asked for', async () => {
    const at = fixture();
    at.server.script = [s3Answer(at.object)];
    const part = await download(at.job({ digest: 'noble' }));
    expect([part.length, part.hex()]).toEqual([300_000, sha256Of(at.object.bytes)]);
    expect((await part.handle.stat()).size).toBe(300_000);
    await part.close();
  });

  test('tells of its progress in growing steps that end with the whole', async () => {
    const at = fixture();
    at.server.script = [s3Answer(at.object)];
    await at.attempt();
    expect(at.progress.length).toBeGreaterThan(0);
    expect(at.progress.at(-1)).toEqual([300_000, 300_000]);
    expect(at.progress.every(([bytes], index) => bytes > (at.progress[index - 1]?.[0] ?? 0))).toBe(true);
  });

  test('stores the record before the bytes that it describes', async () => {
    const at = fixture();
    at.server.script = [s3Answer(at.object)];
    const lengths: number[] = [];
    const saveRecord = async () => {
      lengths.push((await stat(at.partOf())).size);
    };
    await at.attempt({ saveRecord });
    expect(lengths[0]).toBe(0);
  });

  test('brings an empty object', async () => {
    const at = fixture();
    const artifact = at.artifact({ sha256: sha256Of(''), size: 0 });
    at.server.script = [s3Answer({ bytes: new Uint8Array(), etag: '"empty"' })];
    expect(await at.attempt({ artifact })).toEqual(new Uint8Array());
  });

  test('brings a chunked body, whose length nobody told', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    at.server.script = [chunked(200, [bytes.subarray(0, 100_000), bytes.subarray(100_000)], { etag })];
    expect(await at.attempt()).toEqual(bytes);
  });

  test('makes no request where the part is whole already', async () => {
    const at = fixture();
    await writeFile(at.partOf(), at.object.bytes);
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.server.requests).toEqual([]);
  });
});

describe('a later attempt', () => {
  test('asks for the rest of what an attempt before a restart left', async () => {
    const at = fixture();
    at.server.script = [at.cut(120_000), s3Answer(at.object)];
    const error = await caught(at.attempt());
    expect([error.code, error.retry]).toEqual(['NETWORK', 'soon']);
    expect(await at.partLength()).toBe(120_000);
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()).toEqual([{}, { range: 'bytes=120000-', 'if-match': at.object.etag }]);
    expect(at.progress.at(-1)).toEqual([300_000, 300_000]);
  });

  test('goes on over any number of cuts', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    at.server.script = [at.cut(50_000)];
    at.server.otherwise = (socket, request) => {
      const offset = Number(/\d+/.exec(request.headers['range'] ?? '')?.[0]);
      const end = Math.min(offset + 50_000, bytes.length);
      const headers = { etag, 'content-range': `bytes ${offset}-${bytes.length - 1}/${bytes.length}` };
      chunked(206, [bytes.subarray(offset, end)], headers)(socket, request);
    };
    for (let cut = 1; cut < 6; cut += 1) {
      expect((await caught(at.attempt())).code).toBe('NETWORK');
      expect(await at.partLength()).toBe(cut * 50_000);
    }
    expect(await at.attempt()).toEqual(bytes);
  });

  test('starts anew from a 200 that answers its Range', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    await writeFile(at.partOf(), bytes.subarray(0, 1000));
    at.server.script = [plain(200, bytes, { etag })];
    expect(await at.attempt()).toEqual(bytes);
    expect(at.asked()).toEqual([{ range: 'bytes=1000-' }]);
  });

  test.each([
    ['another offset', 'bytes 999-299999/300000'],
    ['another unit', 'lines 1000-299999/300000'],
    ['no size', 'bytes 1000-299999/*'],
    ['rubbish', 'bytes banana'],
    ['no Content-Range at all', undefined],
  ])('asks for the whole where a 206 comes with %s', async (_, contentRange) => {
    const at = fixture();
    await writeFile(at.partOf(), at.object.bytes.subarray(0, 1000));
    const wrong = partial(at.object.bytes.subarray(999), at.object.etag, contentRange);
    at.server.script = [wrong, s3Answer(at.object)];
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()).toEqual([{ range: 'bytes=1000-' }, {}]);
    await at.server.requests[0]?.closed;
  });

  test('asks for the whole where the object has another length than before', async () => {
    const at = fixture();
    const { bytes, etag } = at.object;
    at.server.script = [
      at.cut(1000),
      partial(bytes.subarray(1000, 200_000), etag, 'bytes 1000-199999/200000'),
      s3Answer(at.object),
    ];
    await caught(at.attempt());
    expect(await at.attempt()).toEqual(bytes);
    expect(at.asked()[2]).toEqual({});
    // Not a byte of the other object was taken.
    expect(at.progress.map(([, size]) => size)).not.toContain(200_000);
  });

  test('asks for the whole where a 206 comes with another ETag than was asked for', async () => {
    const at = fixture();
    const other = bytesOf(300_000, 6);
    at.server.script = [
      at.cut(1000),
      partial(other.subarray(1000), '"other"', 'bytes 1000-299999/300000'),
      s3Answer(at.object),
    ];
    await caught(at.attempt());
    const before = at.progress.length;
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked().slice(1)).toEqual([{ range: 'bytes=1000-', 'if-match': '"etag-1"' }, {}]);
    expect(at.progress[before]?.[0]).toBeGreaterThan(0);
    expect(at.records.filter(({ etag }) => etag === '"other"')).toEqual([]);
  });

  test('asks for the whole where the object was replaced meanwhile (412)', async () => {
    const at = fixture();
    const replaced = { bytes: bytesOf(200_000, 7), etag: '"etag-2"' };
    const artifact = at.artifact({ sha256: sha256Of(replaced.bytes) });
    at.server.script = [at.cut(1000), s3Answer(replaced), s3Answer(replaced)];
    await caught(at.attempt({ artifact }));
    expect(await at.attempt({ artifact })).toEqual(replaced.bytes);
    expect(at.asked()).toEqual([{}, { range: 'bytes=1000-', 'if-match': '"etag-1"' }, {}]);
    expect(at.record?.etag).toBe('"etag-2"');
  });

  test('asks for the whole where its part is longer than the object (416)', async () => {
    const at = fixture();
    await writeFile(at.partOf(), bytesOf(300_001, 9));
    at.server.script = [xml(416, 'InvalidRange'), s3Answer(at.object)];
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()).toEqual([{ range: 'bytes=300001-' }, {}]);
  });

  test('keeps the bytes, and says nothing of their ETag, where only the URL is another', async () => {
    const at = fixture();
    at.server.script = [at.cut(120_000), s3Answer({ ...at.object, etag: '"moved"' })];
    await caught(at.attempt());
    const artifact = at.artifact({ url: 's3://examplebucket/moved', key: 'moved' });
    expect(await at.attempt({ artifact })).toEqual(at.object.bytes);
    expect(at.asked()[1]).toEqual({ range: 'bytes=120000-' });
    expect(at.record).toMatchObject({ source: 's3://examplebucket/moved', etag: '"moved"' });
  });

  test('blames no object for the bytes of another url, which were fetched anew there and cut', async () => {
    const at = fixture();
    const wrong = { bytes: bytesOf(300_000, 8), etag: '"wrong"' };
    const cutAt = (bytes: number) => at.cut(bytes, 'finish', wrong);
    at.server.script = [
      cutAt(100_000),
      s3Answer(wrong),
      cutAt(50_000),
      s3Answer(at.object),
      s3Answer(at.object),
    ];
    for (let nth = 0; nth < 2; nth += 1) expect((await caught(at.attempt())).code).toBe('NETWORK');
    expect(at.record?.anew).toBe(true);
    const artifact = at.artifact({ url: 's3://examplebucket/right', key: 'right' });
    expect(await at.attempt({ artifact })).toEqual(at.object.bytes);
    expect(at.asked().slice(2)).toEqual([{}, { range: 'bytes=50000-' }, {}]);
  });

  test('says nothing of the ETag either where only the version is another', async () => {
    const at = fixture();
    at.server.script = [at.cut(120_000), s3Answer(at.object)];
    await caught(at.attempt());
    await at.attempt({ artifact: at.artifact({ versionId: 'v2' }) });
    expect(at.asked()[1]).toEqual({ range: 'bytes=120000-' });
    expect(at.server.requests[1]?.target).toEndWith('/dir/app.bin?versionId=v2');
  });

  test('takes a part without a record, as after the loss of the state file', async () => {
    const at = fixture();
    await writeFile(at.partOf(), at.object.bytes.subarray(0, 5000));
    at.server.script = [s3Answer(at.object)];
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()).toEqual([{ range: 'bytes=5000-' }]);
  });

  test('replaces a part that is wrong on the disk, at once and once', async () => {
    const at = fixture();
    at.server.script = [at.cut(120_000), s3Answer(at.object), s3Answer(at.object)];
    await caught(at.attempt());
    await writeFile(at.partOf(), bytesOf(120_000, 5));
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()).toEqual([{}, { range: 'bytes=120000-', 'if-match': '"etag-1"' }, {}]);
  });

  test('believes at once that an object is wrong which a resumed part and a whole fetch agree on', async () => {
    const at = fixture();
    const wrong = { bytes: bytesOf(300_000, 8), etag: '"wrong"' };
    at.server.script = [at.cut(120_000, 'finish', wrong), s3Answer(wrong), s3Answer(wrong)];
    expect((await caught(at.attempt())).code).toBe('NETWORK');
    expect((await caught(at.attempt())).code).toBe('HASH_MISMATCH');
    at.server.otherwise = s3Answer(wrong);
    expect((await caught(at.attempt())).code).toBe('HASH_MISMATCH');
    expect(at.asked()).toEqual([
      {},
      { range: 'bytes=120000-', 'if-match': '"wrong"' },
      {},
      { 'if-none-match': '"wrong"' },
    ]);
  });

  test('replaces a wrong part that has the very length of the object', async () => {
    const at = fixture();
    await writeFile(at.partOf(), new Uint8Array(300_000));
    at.server.otherwise = s3Answer(at.object);
    expect(await at.attempt()).toEqual(at.object.bytes);
    expect(at.asked()).toEqual([{ range: 'bytes=300000-' }, {}]);
  });
});
