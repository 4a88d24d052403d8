/** Ports, names, address families and routes that are blocked or broken. With the compiled executable. */
import { expect } from 'bun:test';
import { createServer, type Socket } from 'node:net';
import { dead, nameHosts, netnsTest, setNetwork, silenceNames } from '../support/netns.ts';
import { Relay } from '../support/relay.ts';
import { noise, scenario, sha256, until, type World } from '../support/world.ts';

const path = import.meta.path;
const hoge = sha256('hoge\n');
const fuga = sha256('fuga\n');

/** Arguments for an endpoint without a port, at some host; the other services stay at loopback's address. */
function withoutPort(world: World, host = '127.0.0.1'): string[] {
  return ['--config', world.device.configPath, '--endpoint', host];
}

netnsTest(
  path,
  'without a configured port: 8883 is refused, so 443 is used, and 8883 again when 443 is gone',
  () =>
    scenario(async (world) => {
      const { port } = world.sandbox.broker;
      const https = Relay.at(443, port);
      const mqtt = Relay.at(8883, port);
      await https.up();
      const run = await world.run(withoutPort(world));
      await world.put('test.txt', 'hoge\n');
      await world.inSync(hoge);
      expect(run.log).toMatch(
        /127\.0\.0\.1:8883: .*ECONNREFUSED.*hint="where port 8883 is blocked, 443 may not be/,
      );
      expect(https.connections).toBe(1);
      https.reset();
      await until('443 again', () => https.connections === 2);
      await https.down();
      await mqtt.up();
      await world.put('test.txt', 'fuga\n');
      await world.inSync(fuga);
      expect(mqtt.connections).toBe(1);
      await mqtt.down();
    }),
);

netnsTest(path, 'a port 8883 that takes connections and says nothing: 443 is used', () =>
  scenario(async (world) => {
    const sockets: Socket[] = [];
    const mute = createServer((socket) => void sockets.push(socket));
    mute.listen(8883, '127.0.0.1');
    const https = Relay.at(443, world.sandbox.broker.port);
    await https.up();
    const run = await world.run(withoutPort(world));
    await world.put('test.txt', 'hoge\n');
    await world.inSync(hoge);
    expect(run.log).toContain('127.0.0.1:8883: no TLS handshake in 15 s');
    for (const socket of sockets) socket.destroy();
    await https.down();
    mute.close();
  }),
);

netnsTest(path, 'a configured port is used as it is, and no other one', () =>
  scenario(async (world) => {
    const https = Relay.at(443, world.sandbox.broker.port);
    await https.up();
    const run = await world.run(withoutPort(world, '127.0.0.1:8883'));
    await until('three tries', () => run.log.split('Cannot connect to the broker 127.0.0.1:8883').length > 3);
    expect(https.connections).toBe(0);
    await https.down();
  }),
);

// Not `localhost`, whose addresses are known without a look into the hosts.
const named = { serverNames: ['sandbox'] };

/** Plays an upload with all services at one name, whose addresses are the test's. */
async function atName(world: World, timeoutMs: number): Promise<void> {
  const { broker, credentials, s3 } = world.sandbox;
  const startedMs = Date.now();
  await world.put('test.txt', 'hoge\n');
  await world.run([
    ...withoutPort(world, `sandbox:${broker.port}`),
    '--credential-endpoint',
    `sandbox:${credentials.port}/role-aliases/iot-role-alias-s3-read/credentials`,
    '--s3-endpoint',
    `https://sandbox:${s3.port}`,
    '--s3-path-style',
  ]);
  await world.inSync(hoge, 's3', timeoutMs);
  expect(Date.now() - startedMs).toBeLessThan(timeoutMs);
}

for (const [what, address] of [
  ['is dead', dead.v6],
  ['refuses', 'fd00:9::1'],
  ['has no route', '2001:db8::1'],
] as const) {
  netnsTest(path, `an IPv6 that ${what} holds up none of the three channels`, () =>
    scenario(async (world) => {
      await nameHosts(`${address} sandbox`, '127.0.0.1 sandbox');
      await atName(world, 8_000);
    }, named),
  );
}

for (const [what, address] of [
  ['is dead', dead.v4],
  ['refuses', '10.9.0.1'],
  ['has no route', '192.0.2.1'],
] as const) {
  netnsTest(path, `an IPv4 that ${what} holds up none of them either`, () =>
    scenario(async (world) => {
      const { broker, credentials, s3 } = world.sandbox;
      const relays = [broker.port, credentials.port, s3.port].map((port) =>
        Relay.at(port, port, 'fd00:9::1'),
      );
      for (const relay of relays) await relay.up();
      await nameHosts(`${address} sandbox`, 'fd00:9::1 sandbox');
      await atName(world, 8_000);
      for (const relay of relays) {
        expect(relay.connections).toBeGreaterThan(0);
        await relay.down();
      }
    }, named),
  );
}

netnsTest(path, 'started without a name service it waits, and connects as soon as the name is known', () =>
  scenario(async (world) => {
    await nameHosts('127.0.0.1 another');
    await world.put('test.txt', 'hoge\n');
    const { broker } = world.sandbox;
    const run = await world.run(withoutPort(world, `sandbox:${broker.port}`));
    await run.logged(
      /Cannot connect to the broker sandbox:\d+: .*(ENOTFOUND|EAI_AGAIN).*hint="check the name in/,
    );
    expect(run.child.exitCode).toBeNull();
    await nameHosts('127.0.0.1 sandbox');
    await world.inSync(hoge);
  }, named),
);

netnsTest(path, 'a name service that never answers is told as what it is, and not as a blocked port', () =>
  scenario(async (world) => {
    await silenceNames(world.device.dir);
    const run = await world.run(withoutPort(world, 'broker.example.com'));
    await run.logged(
      /Cannot connect to the broker broker\.example\.com:8883: the name service did not tell the address of broker\.example\.com in 10 s/,
    );
    expect(run.log).toContain('hint="check the name service of this device');
    expect(run.log).not.toContain('blocked');
  }),
);

netnsTest(
  path,
  'a network that loses every packet for a while in mid-download costs nothing but the time',
  () =>
    scenario(
      async (world) => {
        const big = noise(8_000_000);
        world.sandbox.faults.set('s3-slow', 2_000_000);
        await world.put('big', big);
        await world.run();
        await until('half of it', () => (world.gets()[0]?.bytesSent ?? 0) > 3_000_000);
        setNetwork('down');
        await new Promise((resolve) => setTimeout(resolve, 5_000));
        setNetwork('up');
        world.sandbox.faults.clear();
        await world.inSync(sha256(big));
        expect(world.gets().reduce((sum, { bytesSent }) => sum + bytesSent, 0)).toBeLessThan(
          big.length * 1.5,
        );
      },
      { config: { stallSeconds: 2 } },
    ),
);
