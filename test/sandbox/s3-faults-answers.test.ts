import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import { bucket, type RawRequest, type S3Fixture, startS3Fixture, xmlField } from '../support/s3-fixture.ts';

let fixture: S3Fixture;
const size = 300_000;
const content = Buffer.alloc(size, 'abcdefg');
const get = { path: `/${bucket}/big` };
const rest = { ...get, headers: { range: 'bytes=100000-' } };

beforeAll(async () => {
  fixture = await startS3Fixture();
  await fixture.s3.store.put(bucket, 'big', content);
});
afterEach(() => fixture.faults.clear());
afterAll(() => fixture.close());

async function ask(request: RawRequest, session = fixture.device) {
  return await fixture.raw(await fixture.sign(request, session));
}

test.each([
  ['s3-invalid-token', 'InvalidToken'],
  ['s3-token-refresh', 'TokenRefreshRequired'],
] as const)('%s answers %s', async (fault, code) => {
  fixture.faults.set(fault, 1, 1);
  const response = await ask(get);
  expect([response.status, xmlField(response, 'Code')]).toEqual([400, code]);
  expect((await ask(get)).status).toBe(200);
});

test('s3-redirect answers 307 with the address of the object on that port', async () => {
  fixture.faults.set('s3-redirect', 9999, 1);
  const response = await ask({ path: `/${bucket}/a%20key` });
  expect([response.status, xmlField(response, 'Code')]).toEqual([307, 'TemporaryRedirect']);
  expect(response.headers['location']).toBe(`https://localhost:9999/${bucket}/a%20key`);
});

test('s3-ignore-range sends the whole', async () => {
  fixture.faults.set('s3-ignore-range', 1, 1);
  const response = await ask(rest);
  expect([response.status, response.body.length]).toEqual([200, size]);
  expect((await ask(rest)).status).toBe(206);
});

test('s3-ignore-if-match sends what is there now, without an ETag', async () => {
  const elsewhere = { ...rest, headers: { ...rest.headers, 'if-match': '"other"' } };
  fixture.faults.set('s3-ignore-if-match', 1, 1);
  const response = await ask(elsewhere);
  expect([response.status, response.headers['etag']]).toEqual([206, undefined]);
  expect((await ask(elsewhere)).status).toBe(412);
});

test('s3-wrong-range sends an earlier range, and says which', async () => {
  fixture.faults.set('s3-wrong-range', 1000, 1);
  const response = await ask(rest);
  expect([response.status, response.headers['content-range']]).toEqual([206, 'bytes 99000-299999/300000']);
  expect(response.body.equals(content.subarray(99_000))).toBe(true);
});

test('s3-truncate ends a whole before its Content-Length, and a range before its Content-Range', async () => {
  fixture.faults.set('s3-truncate', 50_000, 2);
  const whole = await ask(get);
  expect([whole.headers['content-length'], whole.body.length, whole.complete]).toEqual([
    '300000',
    50_000,
    false,
  ]);
  const part = await ask(rest);
  expect([part.headers['content-range'], part.body.length, part.complete]).toEqual([
    'bytes 100000-299999/300000',
    50_000,
    true,
  ]);
});

test('s3-too-long sends more than the range has', async () => {
  fixture.faults.set('s3-too-long', 10, 1);
  const response = await ask(rest);
  expect([response.headers['content-range'], response.body.length]).toEqual([
    'bytes 100000-299999/300000',
    200_010,
  ]);
});

test('these too are for things only', async () => {
  const names = [
    's3-invalid-token',
    's3-token-refresh',
    's3-redirect',
    's3-ignore-range',
    's3-ignore-if-match',
    's3-too-long',
  ] as const;
  for (const name of names) fixture.faults.set(name, 1);
  expect((await ask(rest, fixture.operator)).body.length).toBe(200_000);
});
