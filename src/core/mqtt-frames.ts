/** Where in a stream of MQTT packets one is: enough to stop it before a packet that must not come. MQTT 3.1.1, 2.2. */
export type FramePosition =
  /** Before the first byte of the first packet. */
  | { in: 'greeting' }
  /** Before the first byte of a later one. */
  | { in: 'start' }
  /** In its length: the value so far, and the factor of the next digit. */
  | { in: 'length'; value: number; factor: number }
  | { in: 'body'; remaining: number };

// AWS IoT limits: 128 KB of payload; a topic has at most 256 bytes, and a packet some more around them.
const maxPacketBytes = 129 * 1024;
const maxFactor = 128 ** 3;
// AWS IoT sends at most 100 publishes a second over a connection; the factor is for links that were stuck for a while.
const maxPacketsPerSecond = 1_000;

const connack = 0x20;
const pingresp = 0xd0;
// PUBLISH with QoS 0 or 1 and its flags, PUBACK, SUBACK. Nothing is subscribed or published with QoS 2.
const welcome = new Set([0x30, 0x31, 0x32, 0x33, 0x3a, 0x3b, 0x40, 0x90, pingresp]);

/**
 * The position after a chunk, or what is wrong with the packet that begins in it.
 * @param begins hears the first byte of each packet, and may tell what is wrong with it
 */
export function nextPosition(
  from: FramePosition,
  chunk: Uint8Array,
  begins: (type: number) => string | undefined = () => undefined,
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
    if (position.in === 'greeting' || position.in === 'start') {
      const problem = typeProblem(position.in, byte) ?? begins(byte);
      if (problem !== undefined) return { problem };
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

/** A CONNACK comes first, and once. What a client may send, or answers what was never asked, has no place. */
function typeProblem(place: 'greeting' | 'start', type: number): string | undefined {
  if (place === 'greeting' ? type === connack : welcome.has(type)) return undefined;
  const name = `a packet that begins with 0x${type.toString(16).padStart(2, '0')}`;
  if (place === 'greeting') return `sends ${name} where a CONNACK must come`;
  const isQos2 = type >= 0x34 && type <= 0x3d;
  return `sends ${name}${isQos2 ? ', a message of QoS 2' : ''}, which is not for a client that uses QoS 0 and 1`;
}

/** What comes from a broker over one connection, held to what one may send. */
export class Incoming {
  #position: FramePosition = { in: 'greeting' };
  #pings = 0;
  #packets = 0;
  #secondMs = Number.NEGATIVE_INFINITY;

  /** A PINGREQ goes out: one PINGRESP may come. */
  pinged(): void {
    this.#pings += 1;
  }

  /** Looks at what has come; tells what is wrong with it, if anything. */
  problem(chunk: Uint8Array, nowMs: number): string | undefined {
    if (nowMs - this.#secondMs >= 1_000) {
      this.#secondMs = nowMs;
      this.#packets = 0;
    }
    const next = nextPosition(this.#position, chunk, (type) => this.#begins(type));
    if ('problem' in next) return next.problem;
    this.#position = next.position;
    return undefined;
  }

  #begins(type: number): string | undefined {
    this.#packets += 1;
    if (this.#packets > maxPacketsPerSecond)
      return `sends more than ${maxPacketsPerSecond} packets in a second`;
    if (type !== pingresp) return undefined;
    if (this.#pings === 0) return 'answers a ping that was never sent';
    this.#pings -= 1;
    return undefined;
  }
}
