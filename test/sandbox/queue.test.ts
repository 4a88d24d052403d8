/** The sandbox's queue: at least once, in batches, with partial failures and dead letters, as SQS before a Lambda. */
import { expect, test } from 'bun:test';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/core/json.ts';
import { Queue, type QueueOptions } from '../../src/sandbox/queue.ts';

interface Seen {
  messageId: string;
  body: string;
  receives: string;
}

function seenIn(event: JsonObject): Seen[] {
  const records = Array.isArray(event['Records']) ? event['Records'] : [];
  return records.map((record: JsonValue) => {
    const { messageId, body, attributes } = isJsonObject(record) ? record : {};
    const { ApproximateReceiveCount: receives }: JsonObject =
      attributes !== undefined && isJsonObject(attributes) ? attributes : {};
    return { messageId: String(messageId), body: String(body), receives: String(receives) };
  });
}

/** A queue that takes down its batches; `fails` names the bodies that are to come again, or throws for all. */
function watched(fails: (batch: readonly Seen[]) => readonly string[], options: Partial<QueueOptions> = {}) {
  const batches: Seen[][] = [];
  const consume = async (event: JsonObject) => {
    const batch = seenIn(event);
    batches.push(batch);
    const bodies = fails(batch);
    return batch.filter(({ body }) => bodies.includes(body)).map(({ messageId }) => messageId);
  };
  const queue = new Queue({ visibilityMs: 1, ...options, consume });
  const count = (body: string) => batches.flat().filter((one) => one.body === body).length;
  return { queue, batches, count };
}

const sendAll = (queue: Queue, count: number) =>
  Array.from({ length: count }, (_, index) => queue.send(String(index)));

test('messages come in batches of at most ten, and every seventh one twice under one id', async () => {
  const { queue, batches, count } = watched(() => []);
  const sent = sendAll(queue, 20);
  await queue.idle();
  expect(batches.map(({ length }) => length)).toEqual([10, 10, 2]);
  expect(sent.map((_, index) => count(String(index)))).toEqual(
    sent.map((_, index) => (index % 7 === 6 ? 2 : 1)),
  );
  expect(new Set(batches.flat().map(({ messageId }) => messageId))).toEqual(
    new Set(sent.map(({ messageId }) => messageId)),
  );
});

test('of a batch only what failed comes again, with the number of its receive', async () => {
  let left = 2;
  const { queue, batches, count } = watched(() => (left-- > 0 ? ['1'] : []));
  sendAll(queue, 3);
  await queue.idle();
  expect([count('0'), count('1'), count('2')]).toEqual([1, 3, 1]);
  expect(batches.flat().flatMap(({ body, receives }) => (body === '1' ? [receives] : []))).toEqual([
    '1',
    '2',
    '3',
  ]);
  expect(queue.deadLetters).toEqual([]);
});

test('where the function throws, the whole batch comes again', async () => {
  let calls = 0;
  const { queue, count } = watched(() => {
    calls += 1;
    if (calls === 1) throw new Error('out of time');
    return [];
  });
  sendAll(queue, 3);
  await queue.idle();
  expect([count('0'), count('1'), count('2')]).toEqual([2, 2, 2]);
});

test('a message that keeps failing is a dead letter after its last receive, alone', async () => {
  const { queue, count } = watched(() => ['1'], { maxReceives: 3 });
  const sent = sendAll(queue, 3);
  await queue.idle();
  expect([count('0'), count('1'), count('2')]).toEqual([1, 3, 1]);
  expect(queue.deadLetters).toEqual(sent.slice(1, 2));
});

test('no more batches are under way at once than the mapping allows', async () => {
  let underWay = 0;
  let most = 0;
  const queue = new Queue({
    concurrency: 2,
    consume: async () => {
      underWay += 1;
      most = Math.max(most, underWay);
      await new Promise((resolve) => setImmediate(resolve));
      underWay -= 1;
      return [];
    },
  });
  sendAll(queue, 50);
  await queue.idle();
  expect(most).toBe(2);
});

test('closing ends the wait for messages that would come again', async () => {
  const { queue } = watched(() => ['0'], { visibilityMs: 1_000_000 });
  queue.send('0');
  await new Promise((resolve) => setImmediate(resolve));
  const idle = queue.idle();
  queue.close();
  await idle;
  expect(queue.deadLetters).toEqual([]);
});
