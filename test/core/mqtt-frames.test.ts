import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { type FramePosition, nextPosition } from '../../src/core/mqtt-frames.ts';

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
