import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { bucket, type RawRequest, type S3Fixture, startS3Fixture, xmlField } from '../support/s3-fixture.ts';

let fixture: S3Fixture;
const size = 3_000_000;
const content = Buffer.alloc(size, 'abcdefg');
const get = { path: `/${bucket}/big` };

beforeAll(async () => {
  fixture = await startS3Fixture();
  await fixture.s3.store.put(bucket, 'big', content);
});
afterEach(() => fixture.faults.clear());
afterAll(() => fixture.close());

async function ask(request: RawRequest, session = fixture.device) {
  return await fixture.raw(await fixture.sign(request, session));
}

for (const bytes of [0, 1, 100_000, 2_999_999]) {
  test(`s3-cut closes the connection after exactly ${bytes} bytes, once`, async () => {
    fixture.faults.set('s3-cut', bytes, 1);
    const cut = await ask(get);
    expect([cut.status, cut.body.length, cut.complete]).toEqual([200, bytes, false]);
    expect(cut.headers['content-length']).toBe(String(size));
    expect(cut.body.equals(content.subarray(0, bytes))).toBe(true);
    expect((await ask(get)).body.equals(content)).toBe(true);
  });
}

test('s3-cut counts from the start of the range that was asked for', async () => {
  fixture.faults.set('s3-cut', 10);
  const response = await ask({ ...get, headers: { range: 'bytes=700000-' } });
  expect([response.status, response.body.length]).toEqual([206, 10]);
});

test('a cut beyond the body cuts nothing', async () => {
  fixture.faults.set('s3-cut', size);
  const response = await ask(get);
  expect([response.body.length, response.complete]).toEqual([size, true]);
});

test('s3-stall sends so many bytes and then holds the connection until the client leaves', async () => {
  fixture.faults.set('s3-stall', 50_000, 1);
  const before = Date.now();
  const response = await ask({ ...get, leaveAfterBytes: 50_000 });
  expect(response.body.length).toBe(50_000);
  expect(Date.now() - before).toBeLessThan(5000);
  expect(fixture.s3.requests.at(-1)?.bytesSent).toBe(50_000);
});

test('close ends a stalled transfer', async () => {
  const other = await startS3Fixture();
  await other.s3.store.put(bucket, 'big', content);
  other.faults.set('s3-stall', 10);
  const pending = other.raw(await other.sign(get, other.device));
  while (other.s3.requests.at(-1)?.bytesSent !== 10) await Bun.sleep(1);
  await other.close();
  expect((await pending).complete).toBe(false);
});

test('s3-slow limits the speed, and follows a change while a transfer runs', async () => {
  fixture.faults.set('s3-slow', 200_000);
  const before = Date.now();
  const slow = await ask({ ...get, headers: { range: 'bytes=0-59999' } });
  expect(slow.body.length).toBe(60_000);
  expect(Date.now() - before).toBeGreaterThanOrEqual(250);
  const running = ask(get);
  while ((fixture.s3.requests.at(-1)?.bytesSent ?? 0) < 10_000) await Bun.sleep(1);
  fixture.faults.clear('s3-slow');
  expect((await running).body.length).toBe(size);
  expect(Date.now() - before).toBeLessThan(5000);
});

test('s3-503 answers SlowDown as often as it was told', async () => {
  fixture.faults.set('s3-503', 1, 2);
  const codes = [];
  for (let count = 0; count < 3; count += 1) codes.push((await ask(get)).status);
  expect(codes).toEqual([503, 503, 200]);
});

test('s3-expire answers ExpiredToken', async () => {
  fixture.faults.set('s3-expire', 1, 1);
  const response = await ask(get);
  expect([response.status, xmlField(response, 'Code')]).toEqual([400, 'ExpiredToken']);
});

test('s3-skew shifts the clock, the Date header with it', async () => {
  fixture.faults.set('s3-skew', 3600);
  const response = await ask(get);
  expect([response.status, xmlField(response, 'Code')]).toEqual([403, 'RequestTimeTooSkewed']);
  const shiftMs = Date.parse(String(response.headers['date'])) - Date.now();
  expect(Math.abs(shiftMs - 3_600_000)).toBeLessThan(5000);
  const dateMs = Date.now() + 3_600_000;
  expect((await fixture.raw(await fixture.sign(get, fixture.device, { dateMs }))).status).toBe(200);
});

test('s3-refuse closes the connection without an answer', async () => {
  fixture.faults.set('s3-refuse', 1, 1);
  await expect(ask(get)).rejects.toThrow();
  expect((await ask(get)).status).toBe(200);
});

test('faults are for things: the operator is served whole', async () => {
  for (const name of ['s3-cut', 's3-stall', 's3-503', 's3-expire', 's3-refuse'] as const) {
    fixture.faults.set(name, 1);
  }
  fixture.faults.set('s3-skew', 7200);
  expect((await ask(get, fixture.operator)).body.length).toBe(size);
  expect(fixture.faults.list().length).toBe(6);
});

test('a client that leaves half-way through an upload leaves nothing behind', async () => {
  const before = await readdir(join(fixture.dir, 'blobs'));
  const request = { method: 'PUT', path: `/${bucket}/half`, headers: { 'content-length': '1000000' } };
  const signed = await fixture.sign(request, fixture.operator, { payloadHash: 'UNSIGNED-PAYLOAD' });
  const socket = connect({ host: '127.0.0.1', port: fixture.s3.port, rejectUnauthorized: false });
  const head = Object.entries(signed.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`PUT ${request.path} HTTP/1.1\r\n${head.join('')}\r\n${'x'.repeat(50_000)}`);
  while ((await readdir(join(fixture.dir, 'blobs'))).length === before.length) await Bun.sleep(1);
  socket.destroy();
  while ((await readdir(join(fixture.dir, 'blobs'))).length !== before.length) await Bun.sleep(1);
  expect(() => fixture.s3.store.head(bucket, 'half')).toThrow();
  expect(fixture.logged).toEqual([]);
});

test('a reader of an object that is replaced gets the old bytes to the end', async () => {
  await fixture.s3.store.put(bucket, 'replaced', content);
  fixture.faults.set('s3-slow', 100_000);
  const running = ask({ path: `/${bucket}/replaced` });
  while ((fixture.s3.requests.at(-1)?.bytesSent ?? 0) < 1) await Bun.sleep(1);
  await fixture.s3.store.put(bucket, 'replaced', 'new');
  fixture.faults.clear();
  expect((await running).body.equals(content)).toBe(true);
  expect((await ask({ path: `/${bucket}/replaced` })).body.toString()).toBe('new');
});
