/** A broker that ends sessions, does not let subscribe, or falls silent. With the compiled executable. */
import { expect, test } from 'bun:test';
import { Relay } from '../support/relay.ts';
import { scenario, sha256, until } from '../support/world.ts';

const minuteMs = 60_000;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// Each waits for long and does little: they are played side by side.
test.concurrent(
  'a broker that ends each session after a second for a minute: at most 12 connects, one warning with both causes, then all is well',
  () =>
    scenario(async (world) => {
      world.sandbox.faults.set('mqtt-kick', 1_000);
      const run = await world.run();
      await until('the first session', () => world.sandbox.broker.connects > 0);
      await pause(minuteMs);
      expect(world.sandbox.broker.connects).toBeGreaterThanOrEqual(3);
      expect(world.sandbox.broker.connects).toBeLessThanOrEqual(12);
      const told = run.log.match(/.*fresh sessions have ended.*/g) ?? [];
      expect(told.length).toBe(1);
      expect(told[0]).toMatch(
        /another device connects with the client id \\"test-thing\\".*policy lacks.*iot:Publish/,
      );
      world.sandbox.faults.clear();
      await world.put('test.txt', 'hoge\n');
      await world.inSync(sha256('hoge\n'), 's3', 130_000);
    }),
  240_000,
);

test.concurrent(
  'two devices with one client id: the newer one stays each time, without a storm, and the warning names it',
  () =>
    scenario(async (world) => {
      const args = ['--config', world.device.configPath];
      const one = await world.run(args);
      const two = await world.run([...args, '--state-dir', 'other']);
      const isTold = () =>
        [one, two].some(({ log }) => log.includes('another device connects with the client id'));
      const startedMs = Date.now();
      await until('the warning', isTold, minuteMs);
      const minutes = Math.max(1, (Date.now() - startedMs) / minuteMs);
      expect(world.sandbox.broker.connects).toBeLessThanOrEqual(24 * minutes);
    }),
  90_000,
);

test.concurrent('a policy that does not allow to subscribe: the hint is the statement that is missing', () =>
  scenario(async (world) => {
    const args = ['--config', world.device.configPath, '--thing-name', 'other', '--client-id', 'test-thing'];
    const run = await world.run([...args, '--log-format', 'json']);
    await run.logged(/topics were subscribed/);
    const line = run.log.split('\n').find((text) => text.includes('topics were subscribed')) ?? '';
    const { hint } = JSON.parse(line);
    expect(JSON.parse(String(hint).slice(hint.indexOf('{')))).toEqual({
      Effect: 'Allow',
      Action: 'iot:Subscribe',
      Resource: ['get', 'update'].map(
        (verb) => `arn:aws:iot:REGION:ACCOUNT:topicfilter/$aws/things/other/shadow/${verb}/*`,
      ),
    });
  }));

test.concurrent(
  'a link that goes half-open is noticed by the keep-alive, within one and a half of it',
  () =>
    scenario(async (world) => {
      const link = await Relay.to(world.sandbox.broker.port);
      await link.up();
      const endpoint = `127.0.0.1:${link.port}`;
      const run = await world.run([
        ...['--config', world.device.configPath, '--endpoint', endpoint],
        ...['--keep-alive-seconds', '30', '--resync-seconds', '604800'],
      ]);
      await world.put('test.txt', 'hoge\n');
      await world.inSync(sha256('hoge\n'));
      link.freeze();
      const frozenMs = Date.now();
      await world.put('test.txt', 'fuga\n');
      await until(
        'the end of the dead link',
        () => /did not answer a ping: the link is dead/.test(run.log),
        50_000,
      );
      expect(Date.now() - frozenMs).toBeLessThan(50_000);
      await world.inSync(sha256('fuga\n'));
      expect(link.connections).toBe(2);
      link.endFrozen();
      await link.down();
    }),
  90_000,
);

test.concurrent(
  'a link on which nothing is answered is left at the next resync, with the statement that may be missing',
  () =>
    scenario(
      async (world) => {
        const run = await world.start();
        await world.put('test.txt', 'hoge\n');
        await world.inSync(sha256('hoge\n'));
        world.sandbox.faults.set('shadow-drop', 1);
        await run.logged(
          /did not answer "get" code=TIMEOUT hint="if this comes each time, [^\n]*iot:Receive/,
        );
        world.sandbox.faults.clear();
        await world.put('test.txt', 'fuga\n');
        await world.inSync(sha256('fuga\n'));
        expect(world.sandbox.broker.connects).toBe(2);
      },
      { config: { resyncSeconds: 2 } },
    ),
  90_000,
);
