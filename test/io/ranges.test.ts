import { expect, test } from 'bun:test';
import { AgentError } from '../../src/core/errors.ts';
import { type Clock, systemClock } from '../../src/io/clock.ts';
import { createRanges } from '../../src/io/ranges.ts';
import type { GetObject, ObjectAnswer } from '../../src/io/s3.ts';
import { artifact, etag, FakeS3, mebibyte, object, read, unsized } from '../support/io-fake-s3.ts';
import { sha256Of } from '../support/io-helpers.ts';

const never = new AbortController().signal;

let nowMs = 0;
/** However fast the bytes come here, by this clock they come slowly. */
const slowClock: Clock = {
  ...systemClock,
  nowMs: () => {
    nowMs += 1000;
    return nowMs;
  },
};

function rangesOf(s3: FakeS3, connections = 4): GetObject {
  return createRanges({ getObject: s3.get, connections, clock: slowClock });
}

test('a large object comes in order from several ranges, each pinned to the ETag of the first', async () => {
  const s3 = new FakeS3();
  const answer = await rangesOf(s3)({ artifact, offset: 0 }, never);
  expect(answer).toMatchObject({ kind: 'full', first: 0, size: object.length, etag });
  const { bytes } = await read(answer);
  expect(sha256Of(bytes)).toBe(artifact.sha256);
  const pinned = s3.requests.slice(4);
  expect(pinned.length).toBeGreaterThan(5);
  expect(new Set(pinned.map(({ ifMatch }) => ifMatch))).toEqual(new Set([etag]));
  expect(s3.mostOpen).toBe(4);
  expect(s3.requests.reduce((sum, { length = 0 }) => sum + length, 0)).toBe(object.length);
});

test('several downloads have no more ranges under way than one, but that each may have one', async () => {
  const s3 = new FakeS3();
  const get = rangesOf(s3, 6);
  const all = await Promise.all(
    Array.from({ length: 5 }, async () => await read(await get({ artifact, offset: 0 }, never))),
  );
  expect(all.map(({ bytes }) => sha256Of(bytes))).toEqual(Array(5).fill(artifact.sha256));
  expect(s3.mostOpen).toBeGreaterThanOrEqual(6);
  expect(s3.mostOpen).toBeLessThanOrEqual(6 + 4);
});

test.each([
  ['one connection', 1, artifact],
  ['a small object', 4, { ...artifact, size: mebibyte }],
  ['an object of unknown size', 4, unsized],
])('%s is asked for as a whole', async (_, connections, wanted) => {
  const s3 = new FakeS3();
  await rangesOf(s3, connections)({ artifact: wanted, offset: 0 }, never);
  expect(s3.requests).toEqual([{ artifact: wanted, offset: 0 }]);
});

test('a part is gone on with by one range alone, until 16 MiB have come', async () => {
  const s3 = new FakeS3();
  s3.play = ({ offset }) => {
    if (offset < 16 * mebibyte) expect(s3.open).toBe(0);
    return undefined;
  };
  const answer = await rangesOf(s3)({ artifact, offset: 1000, ifMatch: etag }, never);
  expect(answer).toMatchObject({ kind: 'rest', first: 1000 });
  expect(s3.requests).toHaveLength(1);
  const { bytes } = await read(answer);
  expect(bytes.length).toBe(object.length - 1000);
});

test('after a silence in which several ranges brought nothing, the next attempt asks for one until 16 MiB have come', async () => {
  const s3 = new FakeS3();
  const get = rangesOf(s3);
  const silence = new AbortController();
  s3.play = (request, signal) => {
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => signal.addEventListener('abort', () => controller.error(signal.reason)),
    });
    return { ...s3.answer(request, signal, 0), body };
  };
  const first = read(await get({ artifact, offset: 0 }, silence.signal));
  expect(s3.requests).toHaveLength(4);
  silence.abort(new AgentError('TIMEOUT', 'No byte'));
  expect((await first).error?.code).toBe('TIMEOUT');
  s3.open = 0;
  s3.play = ({ offset }) => {
    if (offset < 16 * mebibyte) expect(s3.open).toBe(0);
    return undefined;
  };
  const second = await read(await get({ artifact, offset: 0 }, never));
  expect(sha256Of(second.bytes)).toBe(artifact.sha256);
});

test('what came before a cut is read, and what had run ahead of it is not fetched again', async () => {
  const s3 = new FakeS3();
  const get = rangesOf(s3);
  const cutAt = 2 * mebibyte;
  s3.play = (request, signal) =>
    request.offset === cutAt ? s3.answer(request, signal, mebibyte / 2) : undefined;
  const first = await read(await get({ artifact, offset: 0 }, never));
  expect(first.error?.code).toBe('NETWORK');
  expect(first.bytes.length).toBe(cutAt + mebibyte / 2);

  s3.play = () => undefined;
  const asked = s3.requests.length;
  const second = await read(await get({ artifact, offset: first.bytes.length, ifMatch: etag }, never));
  expect(sha256Of(Buffer.concat([first.bytes, second.bytes]))).toBe(artifact.sha256);
  expect(s3.requests[asked]).toMatchObject({ offset: first.bytes.length, length: mebibyte / 2 });
  const again = s3.requests.slice(asked).reduce((sum, { length = 0 }) => sum + length, 0);
  expect(again).toBeLessThan(second.bytes.length);
});

test('what had run ahead of a silence is not fetched again, and that it comes is told', async () => {
  const s3 = new FakeS3();
  const get = rangesOf(s3);
  const silence = new AbortController();
  const silentAt = 2 * mebibyte;
  let ahead = 0;
  s3.play = (request, signal) => {
    if (request.offset !== silentAt) return undefined;
    const body = new ReadableStream({
      start: (controller) => signal.addEventListener('abort', () => controller.error(signal.reason)),
    });
    return { ...s3.answer(request, signal), body };
  };
  // Once nothing runs ahead any more, all is silent.
  const onAhead = () => {
    ahead += 1;
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new AgentError('TIMEOUT', 'No byte')), 200);
  };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const first = await read(await get({ artifact, offset: 0, onAhead }, silence.signal));
  expect([first.bytes.length, first.error?.code]).toEqual([silentAt, 'TIMEOUT']);
  expect(ahead).toBeGreaterThan(10);

  s3.play = () => undefined;
  const asked = s3.requests.length;
  const second = await read(await get({ artifact, offset: silentAt, ifMatch: etag }, never));
  expect(sha256Of(Buffer.concat([first.bytes, second.bytes]))).toBe(artifact.sha256);
  const again = s3.requests.slice(asked).reduce((sum, { length = 0 }) => sum + length, 0);
  expect(second.bytes.length - again).toBeGreaterThan(4 * mebibyte);
});

test('what had run ahead is not used for another ETag', async () => {
  const s3 = new FakeS3();
  const get = rangesOf(s3);
  s3.play = (request, signal) =>
    request.offset === 2 * mebibyte ? s3.answer(request, signal, 0) : undefined;
  await read(await get({ artifact, offset: 0 }, never));
  s3.play = () => undefined;
  expect(await get({ artifact, offset: mebibyte, ifMatch: '"other"' }, never)).toEqual({ kind: 'changed' });
});

const oddAnswers: Array<[string, Partial<ObjectAnswer> & { kind: ObjectAnswer['kind'] }]> = [
  ['412', { kind: 'changed' }],
  ['200', { kind: 'full' }],
  ['another Content-Range', { kind: 'rest', first: 5 }],
  ['another ETag', { kind: 'rest', etag: '"etag-2"' }],
  ['another size', { kind: 'rest', size: 7 }],
];
test.each(oddAnswers)(
  'a range that is answered by %s ends the attempt after what came before it',
  async (_, odd) => {
    const s3 = new FakeS3();
    s3.play = (request, signal) =>
      request.offset === mebibyte ? Object.assign(s3.answer(request, signal), odd) : undefined;
    const { bytes, error } = await read(await rangesOf(s3)({ artifact, offset: 0 }, never));
    expect(error).toMatchObject({ code: 'S3', retry: 'soon' });
    expect(bytes.length).toBe(mebibyte);
  },
);

test('a server that knows no ranges is asked for the whole', async () => {
  const s3 = new FakeS3();
  s3.play = (_, signal) => s3.answer({ artifact, offset: 0 }, signal);
  const { bytes } = await read(await rangesOf(s3)({ artifact, offset: 0 }, never));
  expect(sha256Of(bytes)).toBe(artifact.sha256);
  expect(s3.requests.at(-1)).toEqual({ artifact, offset: 0 });
});

test('a body that is read slowly holds no more than 8 MiB, and a chunk of each range', async () => {
  const s3 = new FakeS3();
  const connections = 8;
  const answer = await rangesOf(s3, connections)({ artifact, offset: 0 }, never);
  if (!('body' in answer)) throw new Error(answer.kind);
  const reader = answer.body.getReader();
  let taken = 0;
  let most = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    taken += value.length;
    await s3.quiet();
    most = Math.max(most, s3.sent - taken);
  }
  expect(taken).toBe(object.length);
  expect(most).toBeGreaterThan(4 * mebibyte);
  // Of each range one chunk may be under way when the others have filled the room.
  expect(most).toBeLessThanOrEqual(8 * mebibyte + (connections * mebibyte) / 4);
});

test('where one range brings plenty, no others are asked for', async () => {
  const s3 = new FakeS3();
  const stopped: Clock = { ...systemClock, nowMs: () => 0 };
  const get = createRanges({ getObject: s3.get, connections: 4, clock: stopped });
  s3.play = ({ offset }) => {
    if (offset > 16 * mebibyte) expect(s3.open).toBeLessThanOrEqual(2);
    return undefined;
  };
  const { bytes } = await read(await get({ artifact, offset: 0 }, never));
  expect(sha256Of(bytes)).toBe(artifact.sha256);
});

test('cancelling the body ends every range', async () => {
  const s3 = new FakeS3();
  const signals: AbortSignal[] = [];
  s3.play = (_, signal) => void signals.push(signal);
  const answer = await rangesOf(s3)({ artifact, offset: 0 }, never);
  if ('body' in answer) await answer.body.cancel();
  expect(signals.every(({ aborted }) => aborted)).toBe(true);
});
