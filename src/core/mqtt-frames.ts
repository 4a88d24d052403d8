/** Where in a stream of MQTT packets one is: enough to stop it before a packet that is too large. MQTT 3.1.1, 2.2. */
export type FramePosition =
  /** Before the first byte of a packet. */
  | { in: 'start' }
  /** In its length: the value so far, and the factor of the next digit. */
  | { in: 'length'; value: number; factor: number }
  | { in: 'body'; remaining: number };

// AWS IoT limits: 128 KB of payload; a topic has at most 256 bytes, and a packet some more around them.
const maxPacketBytes = 129 * 1024;
const maxFactor = 128 ** 3;

/** The position after a chunk, or what is wrong with the packet that begins in it. */
export function nextPosition(
  from: FramePosition,
  chunk: Uint8Array,
): { position: FramePosition } | { problem: string } {
  let position = from;
  let offset = 0;
  while (offset < chunk.length) {
    if (position.in === 'body') {
      const taken = Math.min(position.remaining, chunk.length - offset);
      position = bodyOf(position.remaining - taken);
      offset += taken;
      continue;
    }
    const byte = chunk[offset] ?? 0;
    offset += 1;
    if (position.in === 'start') {
      position = { in: 'length', value: 0, factor: 1 };
      continue;
    }
    const { factor } = position;
    const value: number = position.value + (byte & 0x7f) * factor;
    if (byte < 0x80) {
      if (value > maxPacketBytes)
        return { problem: `announces a packet of ${value} bytes, ${maxPacketBytes} are the most` };
      position = bodyOf(value);
    } else if (factor === maxFactor) {
      return { problem: 'announces a packet whose length has no end' };
    } else {
      position = { in: 'length', value, factor: factor * 128 };
    }
  }
  return { position };
}

function bodyOf(remaining: number): FramePosition {
  return remaining === 0 ? { in: 'start' } : { in: 'body', remaining };
}
