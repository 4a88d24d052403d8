/** The link to the broker: lost, refused, not there yet, or carrying rubbish. With the compiled executable. */
import { expect } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createPki } from '../../src/sandbox/pki.ts';
import { onEachBroker } from '../support/brokers.ts';
import { sha256, until } from '../support/world.ts';

const hoge = sha256('hoge\n');

onEachBroker(
  'a broker that restarts is found again, and what was desired meanwhile is installed',
  async (world) => {
    await world.start();
    await world.put('test.txt', 'hoge\n');
    await world.inSync(hoge);
    await world.sandbox.restartBroker(async () => {
      await world.put('test.txt', 'fuga\n');
    });
    await world.inSync(sha256('fuga\n'));
    expect(world.file()).toBe('fuga\n');
  },
);

onEachBroker(
  'with a wrong CA nothing is trusted, the log names it, and the agent goes on trying',
  async (world) => {
    const { caCert } = await createPki();
    await writeFile(join(world.device.dir, 'other-ca.pem'), caCert);
    const run = await world.run(['--config', world.device.configPath, '--ca', 'other-ca.pem']);
    await run.logged(/Cannot connect to the broker[^\n]*hint="[^\n]*check \\"endpoint\\" and \\"ca\\"/);
    await until('another try', () => run.log.split('Cannot connect to the broker').length > 2);
    expect(world.sandbox.broker.connects).toBe(0);
    expect(await run.stop()).toBe(0);
  },
);

onEachBroker('started before its broker is there, it waits for it', async (world) => {
  let run = await world.run(['--version']);
  await world.sandbox.restartBroker(async () => {
    run = await world.run();
    await run.logged('Cannot connect to the broker');
    await world.put('test.txt', 'hoge\n');
  });
  await world.inSync(hoge);
  expect(run.child.exitCode).toBeNull();
});

onEachBroker('garbage on any topic is logged and dropped', async (world) => {
  const run = await world.start();
  const prefix = '$aws/things/test-thing/shadow';
  const garbage = [
    '',
    'no json',
    '{"state":',
    '[]',
    '{"state":7}',
    '"x"',
    '{"code":"x"}',
    '['.repeat(100_000),
  ];
  for (const topic of [
    'get/accepted',
    'get/rejected',
    'update/accepted',
    'update/rejected',
    'update/delta',
  ]) {
    for (const payload of garbage) await world.sandbox.broker.publish(`${prefix}/${topic}`, payload);
  }
  await run.logged(/Dropped a message that is no shadow document topic="?\$aws[^\n]*get\/accepted/);
  await world.put('test.txt', 'hoge\n');
  await world.inSync(hoge);
  expect(run.child.exitCode).toBeNull();
});

onEachBroker('a rejected get is asked again, by its code', async (world) => {
  await world.put('test.txt', 'hoge\n');
  world.sandbox.faults.set('shadow-reject', 429, 2);
  const run = await world.start();
  await world.inSync(hoge);
  expect(run.log).toContain('SHADOW_REJECTED');
});
