/** A broker that ends sessions, does not let subscribe, or falls silent. With the compiled executable. */
import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { mosquitto, startMosquitto } from '../support/mosquitto.ts';
import { Relay } from '../support/relay.ts';
import { toolTest } from '../support/tools.ts';
import { scenario, sha256, until } from '../support/world.ts';

const minuteMs = 60_000;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// Each waits for long and does little: they are played side by side.
test.concurrent(
  'a broker that ends each session after a second for a minute: at most 12 connects, never two in a second, one warning with both causes; after a session that lasted another',
  () =>
    scenario(async (world) => {
      const relay = await Relay.to(world.sandbox.broker.port);
      await relay.up();
      world.sandbox.faults.set('mqtt-kick', 1_000);
      const endpoint = `127.0.0.1:${relay.port}`;
      const run = await world.run(['--config', world.device.configPath, '--endpoint', endpoint]);
      await until('the first session', () => world.sandbox.broker.connects > 0);
      await pause(minuteMs);
      expect(relay.connections).toBeGreaterThanOrEqual(3);
      expect(relay.connections).toBeLessThanOrEqual(12);
      const gaps = relay.takenMs.slice(1).map((ms, index) => ms - (relay.takenMs[index] ?? 0));
      // Timers of the runtime may ring up to a millisecond early.
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(999);
      const warnings = () => run.log.match(/.*fresh sessions have ended.*/g) ?? [];
      expect(warnings().length).toBe(1);
      expect(warnings()[0]).toMatch(
        /another device connects with the client id \\"test-thing\\".*policy lacks.*iot:Publish/,
      );
      world.sandbox.faults.clear();
      await world.put('test.txt', 'hoge\n');
      await world.inSync(sha256('hoge\n'), 's3', 130_000);
      await pause(minuteMs + 2_000);
      expect(warnings().length).toBe(1);
      const before = relay.connections;
      world.sandbox.faults.set('mqtt-kick', 1_000);
      relay.reset();
      await until('the second warning', () => warnings().length === 2, minuteMs);
      // The session that lasted had the waits begin anew.
      expect(relay.connections - before).toBeLessThanOrEqual(4);
      await relay.down();
    }),
  300_000,
);

toolTest(
  [mosquitto],
  'a mosquitto that is stopped for 90 s is asked for ever more seldom, and what was desired meanwhile is installed',
  () =>
    scenario(
      async (world) => {
        const run = await world.start();
        await world.put('test.txt', 'hoge\n');
        await world.inSync(sha256('hoge\n'));
        await world.sandbox.restartBroker(async () => {
          await world.put('test.txt', 'fuga\n');
          await pause(1.5 * minuteMs);
        });
        const tries = run.log.split('Cannot connect to the broker').length - 1;
        expect(tries).toBeGreaterThanOrEqual(3);
        expect(tries).toBeLessThanOrEqual(25);
        await world.inSync(sha256('fuga\n'), 's3', 130_000);
        expect(world.file()).toBe('fuga\n');
        expect(run.child.exitCode).toBeNull();
      },
      { startBroker: startMosquitto },
    ),
  300_000,
  test.concurrent,
);

test.concurrent(
  'two devices with one client id: the newer one stays each time, without a storm, and warning, status and doctor name it',
  () =>
    scenario(async (world) => {
      const args = ['--config', world.device.configPath];
      const one = await world.run(args);
      const two = await world.run([...args, '--state-dir', 'other']);
      const isTold = () =>
        [one, two].some(({ log }) => log.includes('another device connects with the client id'));
      await until('both sessions', () => world.sandbox.broker.connects >= 2);
      const before = world.sandbox.broker.connects;
      await pause(minuteMs);
      // Twelve of each.
      expect(world.sandbox.broker.connects - before).toBeLessThanOrEqual(24);
      await until('the warning', isTold, minuteMs);
      const [told, stateDir] = one.log.includes('another device connects') ? [one, 'state'] : [two, 'other'];
      const asked = await world.run(['status', ...args, '--state-dir', join(world.device.dir, stateDir)]);
      await asked.exit;
      expect(asked.output, told.log).toMatch(/\nerror {8}MQTT: \d+ fresh sessions have ended/);
      expect(asked.output).toContain('another device connects with the client id "test-thing"');
      const doctor = await world.run(['doctor', ...args, '--state-dir', join(world.device.dir, stateDir)]);
      expect(await doctor.exit).toBe(1);
      expect(doctor.output).toMatch(/fail +mqtt +[^\n]*fresh sessions have ended/);
    }),
  180_000,
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
        ...['--keep-alive-seconds', '30', '--resync-seconds', '604800', '--log-level', 'debug'],
      ]);
      await until('the first report', () => world.reported('shadowAgent') !== undefined);
      await world.put('test.txt', 'hoge\n');
      await world.inSync(sha256('hoge\n'));
      // The publisher's update is accepted as well. What is unanswered would be missed before a ping is due.
      const accepted = () => run.log.split('shadow/update/accepted').length - 1;
      await until('all answers', () => accepted() > world.published('update').length);
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
