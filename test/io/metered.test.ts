import { expect, test } from 'bun:test';
import { AgentError } from '../../src/core/errors.ts';
import { systemClock } from '../../src/io/clock.ts';
import { createMetered } from '../../src/io/metered.ts';
import type { GetObject } from '../../src/io/s3.ts';
import { FakeClock } from '../support/io-fake-clock.ts';
import { artifact, etag, FakeS3, mebibyte, object, read, unsized } from '../support/io-fake-s3.ts';
import { settle, sha256Of } from '../support/io-helpers.ts';

const never = new AbortController().signal;
const pieceBytes = 4 * mebibyte;

/** So fast that nothing is waited for. */
function meteredOf(s3: FakeS3): GetObject {
  return createMetered({ getObject: s3.get, bytesPerSecond: 1e12, clock: systemClock });
}

test('an object comes in order from pieces, each pinned to the ETag of the first', async () => {
  for (const wanted of [artifact, unsized]) {
    const s3 = new FakeS3();
    const answer = await meteredOf(s3)({ artifact: wanted, offset: 0 }, never);
    expect(answer).toMatchObject({ kind: 'full', first: 0, size: object.length, etag });
    expect(sha256Of((await read(answer)).bytes)).toBe(artifact.sha256);
    expect(s3.requests.map(({ offset, length }) => [offset, length])).toEqual(
      Array.from({ length: 10 }, (_, index) => [index * pieceBytes, pieceBytes]),
    );
    expect(new Set(s3.requests.slice(1).map(({ ifMatch }) => ifMatch))).toEqual(new Set([etag]));
  }
});

test('the rest of an object comes as the rest, and ends where the object ends', async () => {
  const s3 = new FakeS3();
  const offset = object.length - pieceBytes - 7;
  const answer = await meteredOf(s3)({ artifact, offset, ifMatch: etag }, never);
  expect(answer).toMatchObject({ kind: 'rest', first: offset });
  expect((await read(answer)).bytes).toEqual(object.subarray(offset));
  expect(s3.requests.length).toBe(2);
});

test('the next piece is asked for only once what came is paid for', async () => {
  const s3 = new FakeS3();
  const clock = new FakeClock();
  const getObject = createMetered({ getObject: s3.get, bytesPerSecond: pieceBytes, clock });
  const answer = await getObject({ artifact, offset: 0 }, never);
  const all = read(answer);
  while (clock.sleeps.length === 0) await settle();
  expect(s3.requests.length).toBe(1);
  clock.advance(999);
  await settle();
  expect(s3.requests.length).toBe(1);
  clock.advance(1);
  while (s3.requests.length < 2) await settle();
  for (let second = 1; second < 9; second += 1) {
    while (clock.sleeps.length < second + 1) await settle();
    clock.advance(1000);
  }
  expect(sha256Of((await all).bytes)).toBe(artifact.sha256);
});

test('an object that is whole does not wait for its last bytes to be paid for; the next one pays for them', async () => {
  for (const isWhole of [false, true]) {
    const s3 = new FakeS3();
    if (isWhole) s3.play = (request, signal) => s3.answer({ ...request, length: undefined }, signal);
    const clock = new FakeClock();
    const getObject = createMetered({ getObject: s3.get, bytesPerSecond: pieceBytes, clock });
    const last = { artifact, offset: object.length - mebibyte / 4, ifMatch: etag };
    expect((await read(await getObject(last, never))).bytes.length).toBe(mebibyte / 4);
    expect(clock.sleeps).toEqual([]);
    s3.play = () => undefined;
    const asked = s3.requests.length;
    void getObject({ artifact, offset: 0 }, never);
    await clock.asleep();
    expect(clock.sleeps).toEqual([62.5]);
    expect(s3.requests.length).toBe(asked);
  }
});

test('small objects one after the other keep to the limit, and a large one beside them has its turn', async () => {
  const s3 = new FakeS3();
  const clock = new FakeClock();
  const bytesPerSecond = 64 * 1024;
  const getObject = createMetered({ getObject: s3.get, bytesPerSecond, clock });
  const smallAt = object.length - 60_000;
  const take = async (offset: number) =>
    void (await read(await getObject({ artifact, offset, ifMatch: etag }, never)));
  const churn = async () => {
    for (;;) await take(smallAt);
  };
  for (let nth = 0; nth < 3; nth += 1) void churn();
  void take(object.length - 5 * bytesPerSecond);
  for (let tick = 0; tick < 300; tick += 1) {
    for (let turn = 0; turn < 20; turn += 1) await settle();
    clock.advance(100);
  }
  const small = s3.requests.filter(({ offset }) => offset === smallAt).length;
  // 30 s let 30 pieces through, and each of the four may have asked for one more.
  expect(small).toBeGreaterThan(10);
  expect(small).toBeLessThanOrEqual(29);
  expect(s3.requests.length - small).toBe(5);
});

test('a wait for the next piece, whose headers have a time limit of their own, is no silence', async () => {
  const s3 = new FakeS3();
  const beats = Promise.withResolvers<void>();
  s3.play = (request, signal) =>
    request.offset === 0 ? undefined : beats.promise.then(() => s3.answer(request, signal));
  const answer = await meteredOf(s3)({ artifact, offset: 0, onAhead: beats.resolve }, never);
  expect(sha256Of((await read(answer)).bytes)).toBe(artifact.sha256);
});

test('a later piece that is of another place or size is told as such, one of another ETag as replaced', async () => {
  for (const [odd, message] of [
    [{ first: 7 }, 'S3 answered with another range than was asked for'],
    [{ size: 7 }, 'S3 answered with another range than was asked for'],
    [{ etag: '"other"' }, 'The object was replaced while it was fetched'],
  ] as const) {
    const s3 = new FakeS3();
    s3.play = (request, signal) => {
      const answer = s3.answer(request, signal);
      return request.offset > 0 && 'body' in answer ? { ...answer, ...odd } : undefined;
    };
    const { bytes, error } = await read(await meteredOf(s3)({ artifact, offset: 0 }, never));
    expect(bytes.length).toBe(pieceBytes);
    expect(error).toMatchObject({ code: 'S3', message, retry: 'soon' });
  }
});

test('an object that is replaced between two pieces is not mixed: what came stays, and the attempt ends', async () => {
  const s3 = new FakeS3();
  s3.play = ({ offset }) => (offset === 2 * pieceBytes ? { kind: 'changed' } : undefined);
  const { bytes, error } = await read(await meteredOf(s3)({ artifact, offset: 0 }, never));
  expect(bytes).toEqual(object.subarray(0, 2 * pieceBytes));
  expect(error).toMatchObject({ code: 'S3', retry: 'soon' });
});

test('a piece that ends too soon, or is longer than was asked for, ends the attempt', async () => {
  for (const [sent, code] of [
    [mebibyte, 'NETWORK'],
    [pieceBytes + mebibyte, 'S3'],
  ] as const) {
    const s3 = new FakeS3();
    s3.play = (request, signal) => s3.answer(request, signal, sent);
    const { bytes, error } = await read(await meteredOf(s3)({ artifact, offset: 0 }, never));
    expect(bytes).toEqual(object.subarray(0, Math.min(sent, pieceBytes)));
    expect(error).toMatchObject({ code, retry: 'soon' });
  }
});

test('an object that comes whole in the first answer is taken as it is', async () => {
  const s3 = new FakeS3();
  s3.play = (request, signal) => s3.answer({ ...request, length: undefined }, signal);
  const { bytes, error } = await read(await meteredOf(s3)({ artifact, offset: 0 }, never));
  expect(error).toBeUndefined();
  expect(sha256Of(bytes)).toBe(artifact.sha256);
  expect(s3.requests.length).toBe(1);
});

test('an object without an ETag is asked for as a whole, as its pieces could be of two', async () => {
  const s3 = new FakeS3();
  s3.play = (request, signal) => {
    const answer = s3.answer(request, signal);
    return 'body' in answer ? { ...answer, etag: undefined } : undefined;
  };
  const { bytes, error } = await read(await meteredOf(s3)({ artifact, offset: 0 }, never));
  expect(error).toBeUndefined();
  expect(sha256Of(bytes)).toBe(artifact.sha256);
  expect(s3.requests.map(({ length }) => length)).toEqual([pieceBytes, undefined]);
});

test('an empty object, of which there is no range, is asked for as a whole', async () => {
  const s3 = new FakeS3();
  s3.play = ({ length }) => (length === undefined ? undefined : { kind: 'past-end' });
  expect(await meteredOf(s3)({ artifact: unsized, offset: 0 }, never)).toMatchObject({ kind: 'full' });
  await meteredOf(s3)({ artifact: { ...artifact, size: 0 }, offset: 0 }, never);
  expect(s3.requests.map(({ length }) => length)).toEqual([pieceBytes, undefined, undefined]);
});

test('an abort ends the wait between two pieces', async () => {
  const s3 = new FakeS3();
  const clock = new FakeClock();
  const abort = new AbortController();
  const getObject = createMetered({ getObject: s3.get, bytesPerSecond: pieceBytes, clock });
  const all = read(await getObject({ artifact, offset: 0 }, abort.signal));
  while (clock.sleeps.length === 0) await settle();
  abort.abort(new AgentError('TIMEOUT', 'stop'));
  expect((await all).bytes.length).toBe(pieceBytes);
  expect(s3.requests.length).toBe(1);
});
