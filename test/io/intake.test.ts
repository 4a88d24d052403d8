import { expect, test } from 'bun:test';
import { Intake } from '../../src/io/intake.ts';
import { Stall } from '../../src/io/stall.ts';
import { bytesOf, caught } from '../support/io-helpers.ts';

type Chunk = Uint8Array<ArrayBuffer>;
const mebibyte = 1024 * 1024;

function intakeOf(body: ReadableStream<Chunk>): Intake {
  return new Intake(body, new Stall(30_000, new AbortController().signal));
}

/** A body of these chunks, one for each pull, that ends or fails after them. */
function bodyOf(
  chunks: readonly Chunk[],
  error?: Error,
): { body: ReadableStream<Chunk>; pulled: () => number } {
  let next = 0;
  const body = new ReadableStream<Chunk>(
    {
      pull(controller) {
        const chunk = chunks[next];
        next += 1;
        if (chunk !== undefined) controller.enqueue(chunk);
        else if (error !== undefined) controller.error(error);
        else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
  return { body, pulled: () => next };
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 100; turn += 1) await Promise.resolve();
}

async function all(intake: Intake): Promise<{ pieces: number; bytes: Buffer }> {
  const pieces: Buffer[] = [];
  for (;;) {
    const piece = await intake.take();
    if (piece === undefined) return { pieces: pieces.length, bytes: Buffer.concat(pieces) };
    pieces.push(Buffer.from(piece));
  }
}

test('what comes before it is taken comes as one piece', async () => {
  const intake = intakeOf(bodyOf([bytesOf(10), bytesOf(20), bytesOf(30)]).body);
  await settle();
  expect((await intake.take())?.length).toBe(60);
  expect(await intake.take()).toBeUndefined();
});

test('pieces of any chunks are the body, byte for byte', async () => {
  const chunks = [3, mebibyte - 1, 2 * mebibyte + 5, 0, 1].map((bytes) => bytesOf(bytes));
  const body = Buffer.concat(chunks);
  const { pieces, bytes } = await all(intakeOf(bodyOf(chunks).body));
  expect(bytes.equals(body)).toBe(true);
  expect(pieces).toBeGreaterThanOrEqual(4);
});

test('what came before an error is taken before it is thrown', async () => {
  const intake = intakeOf(bodyOf([bytesOf(10)], new Error('socket hang up')).body);
  await settle();
  expect((await intake.take())?.length).toBe(10);
  expect((await caught(intake.take())).code).toBe('NETWORK');
});

test('a body that nobody takes is read no further than a piece and a chunk', async () => {
  const chunks = Array.from({ length: 100 }, () => bytesOf(mebibyte / 4));
  const { body, pulled } = bodyOf(chunks);
  const intake = intakeOf(body);
  await settle();
  expect(pulled()).toBe(5);
  expect((await all(intake)).bytes.length).toBe(25 * mebibyte);
});

test('the memory of a chunk is given back once it is read, but not that of a view of something larger', async () => {
  const own = bytesOf(1000);
  const whole = bytesOf(1000);
  await all(intakeOf(bodyOf([own, whole.subarray(0, 500)]).body));
  expect([own.byteLength, whole.byteLength]).toEqual([0, 1000]);
});

test('a body that is cancelled ends for the one who takes', async () => {
  const intake = intakeOf(new ReadableStream<Chunk>());
  const taken = intake.take();
  await settle();
  intake.cancel();
  expect(await taken).toBeUndefined();
});
