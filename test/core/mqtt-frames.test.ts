import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { type FramePosition, Incoming, nextPosition } from '../../src/core/mqtt-frames.ts';

const start: FramePosition = { in: 'start' };

/** The length of a packet in its variable form. */
function lengthOf(bytes: number): number[] {
  const digit = bytes % 128;
  const rest = Math.floor(bytes / 128);
  return rest === 0 ? [digit] : [digit | 0x80, ...lengthOf(rest)];
}

/** Feeds chunks one by one, up to the first problem. */
function feed(chunks: Uint8Array[]): ReturnType<typeof nextPosition> {
  let position: FramePosition = start;
  for (const chunk of chunks) {
    const next = nextPosition(position, chunk);
    if ('problem' in next) return next;
    position = next.position;
  }
  return { position };
}

test('packets of every size that AWS sends pass, however they are cut', () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 131_072 + 512 }), { maxLength: 4 });
  fc.assert(
    fc.property(sizes, fc.array(fc.nat(300), { maxLength: 5 }), (lengths, cuts) => {
      const stream = Uint8Array.from(
        lengths.flatMap((size) => [0x30, ...lengthOf(size), ...new Array(size).fill(0xff)]),
      );
      const chunks: Uint8Array[] = [];
      let offset = 0;
      for (const cut of [...cuts, stream.length]) {
        chunks.push(stream.subarray(offset, offset + cut));
        offset += cut;
      }
      expect(feed(chunks)).toEqual({ position: start });
    }),
    { numRuns: 50 },
  );
});

test.each([
  [[0x30, 0xff, 0xff, 0xff, 0x7f], 'announces a packet of 268435455 bytes, 132096 are the most'],
  [[0xd0, 0, 0x30, ...lengthOf(132_097)], 'announces a packet of 132097 bytes, 132096 are the most'],
  [[0x30, 0xff, 0xff, 0xff, 0xff], 'announces a packet whose length has no end'],
])('the stream %j is refused at its length, in one piece and byte by byte', (bytes, problem) => {
  const stream = Uint8Array.from(bytes);
  expect(feed([stream])).toEqual({ problem });
  expect(feed(bytes.map((byte) => Uint8Array.of(byte)))).toEqual({ problem });
  expect('position' in feed([stream.subarray(0, -1)])).toBe(true);
});

const connack = [0x20, 2, 0, 0];

/** What is wrong with the packets that come after a CONNACK, in one piece. */
function problemOf(packets: readonly number[]): string | undefined {
  const incoming = new Incoming();
  return incoming.problem(Uint8Array.from([...connack, ...packets]), 0);
}

test('a broker may send messages of QoS 0 and 1, acknowledge both publishes and subscriptions, and nothing else', () => {
  const may = [0x30, 0x31, 0x32, 0x33, 0x3a, 0x3b, 0x40, 0x90];
  for (let type = 0; type < 256; type += 1) {
    if (type === 0xd0) continue;
    const problem = problemOf([type, 0]);
    if (may.includes(type)) expect(problem).toBeUndefined();
    else
      expect(problem).toMatch(/^sends a packet that begins with 0x[0-9a-f]{2}.*, which is not for a client/);
  }
  expect(problemOf([0x34, 0])).toContain('0x34, a message of QoS 2');
});

test('a CONNACK comes first, and once', () => {
  expect(problemOf(connack)).toContain('0x20, which is not for');
  for (const type of [0x32, 0xd0, 0x48]) {
    const problem = new Incoming().problem(Uint8Array.of(type), 0);
    expect(problem).toBe(`sends a packet that begins with 0x${type.toString(16)} where a CONNACK must come`);
  }
});

test('each ping has one answer', () => {
  const incoming = new Incoming();
  const answer = Uint8Array.of(0xd0, 0);
  expect(incoming.problem(Uint8Array.from(connack), 0)).toBeUndefined();
  incoming.pinged();
  expect(incoming.problem(answer, 0)).toBeUndefined();
  expect(incoming.problem(answer, 0)).toBe('answers a ping that was never sent');
});

test('1,000 packets a second are the most, second by second', () => {
  const incoming = new Incoming();
  const some = Uint8Array.from(new Array(500).fill([0x30, 0]).flat());
  expect(incoming.problem(Uint8Array.from(connack), 0)).toBeUndefined();
  for (const nowMs of [1_000, 1_999, 2_000, 2_500, 3_001, 3_002]) {
    expect(incoming.problem(some, nowMs)).toBeUndefined();
  }
  expect(incoming.problem(Uint8Array.of(0x30), 3_900)).toBe('sends more than 1000 packets in a second');
});
