/** A TCP proxy before each service that drops, delays, half-opens, cuts and resets. With the compiled executable. */
import { describe, expect, test } from 'bun:test';
import { type Channel, channels, redirect } from '../support/channels.ts';
import { Relay } from '../support/relay.ts';
import { noise, scenario, sha256, until, type World } from '../support/world.ts';

/** More than what a handshake brings, so that a download is ended in its midst. */
const bytesUntil: Record<Channel, number> = { broker: 1_000, credentials: 1_000, s3: 200_000 };
const body = noise(400_000);
const longMs = 100_000;

interface Play {
  world: World;
  relay: Relay;
  /** Uploads what needs all three services; resolves as soon as it is desired. */
  change(): Promise<void>;
}

/** One fault, and what must be seen of it. */
interface Fault {
  name: string;
  play(play: Play, channel: Channel): Promise<void>;
}

const faults: Fault[] = [
  {
    name: 'drops each connection for a while',
    play: async ({ relay, change }) => {
      await relay.down();
      await change();
      await pause(3_000);
      await relay.up();
    },
  },
  {
    name: 'delays every piece',
    play: async ({ relay, change }) => {
      relay.delayMs = 300;
      await change();
    },
  },
  {
    name: 'half-opens: it takes the connection, stops in its midst and ends nothing',
    play: async ({ relay, change }, channel) => {
      relay.freezeAfterBytes = bytesUntil[channel];
      relay.reset();
      await change();
      await until('a half-open connection', () => relay.halfOpen > 0);
      relay.freezeAfterBytes = Number.POSITIVE_INFINITY;
    },
  },
  {
    name: 'cuts each connection after some bytes, three times',
    play: async ({ relay, change }, channel) => {
      relay.cutAfterBytes = bytesUntil[channel];
      relay.reset();
      const before = relay.connections;
      await change();
      await until('three cuts', () => relay.connections >= before + 3, longMs);
      relay.cutAfterBytes = Number.POSITIVE_INFINITY;
    },
  },
  {
    name: 'resets whatever is connected, again and again',
    play: async ({ relay, change }) => {
      await change();
      for (let times = 0; times < 5; times += 1) {
        relay.reset();
        await pause(300);
      }
    },
  },
];

describe.each(channels)('a TCP proxy before the %s that', (channel) => {
  for (const { name, play } of faults) {
    test.concurrent(
      `${name}: all is in sync in the end`,
      () =>
        scenario(
          async (world) => {
            const relay = await Relay.to(world.sandbox[channel].port);
            await relay.up();
            redirect(world, channel, '127.0.0.1', relay.port);
            await world.put('first', 'hoge\n');
            const run = await world.run();
            await world.inSync(sha256('hoge\n'));
            const change = async () => {
              world.sandbox.sessions.expireAll();
              await world.put('next', body);
            };
            await play({ world, relay, change }, channel);
            await world.inSync(sha256(body), 's3', longMs);
            expect(run.child.exitCode).toBeNull();
            expect(relay.connections).toBeLessThan(25);
            await relay.down();
          },
          { config: { stallSeconds: 2 } },
        ),
      longMs * 2,
    );
  }
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
