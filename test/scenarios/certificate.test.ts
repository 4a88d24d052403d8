/** A certificate that is replaced while the agent runs. With the compiled executable. */
import { expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { scenario, sha256, until } from '../support/world.ts';

test('a certificate that is replaced on disk is used from the next connection on, by MQTT and for credentials', () =>
  scenario(async (world) => {
    const { sandbox, device } = world;
    const run = await world.start();
    await world.put('test.txt', 'hoge\n');
    await world.inSync(sha256('hoge\n'));
    const renewed = await sandbox.pki.issueDevice('test-thing');
    sandbox.things.register(renewed.cert, { things: ['test-thing'] });
    await writeFile(join(device.dir, 'certificate.pem'), renewed.cert);
    await writeFile(join(device.dir, 'private.key'), renewed.key);
    // From now on the old one opens nothing.
    device.certificate.things.clear();
    sandbox.sessions.expireAll();
    sandbox.broker.kick('test-thing');
    await run.logged('The certificate was replaced on disk');
    await until('another connection', () => sandbox.broker.connects === 2);
    const asked = sandbox.credentials.requests.length;
    await world.put('test.txt', 'fuga\n');
    await world.inSync(sha256('fuga\n'));
    expect(sandbox.credentials.requests.length).toBeGreaterThan(asked);
    expect(run.child.exitCode).toBeNull();
  }));

test('a certificate that is replaced is seen at the next look at the shadow, without another connection', () =>
  scenario(
    async (world) => {
      const { sandbox, device } = world;
      const run = await world.start();
      const renewed = await sandbox.pki.issueDevice('test-thing');
      await writeFile(join(device.dir, 'certificate.pem'), renewed.cert);
      await writeFile(join(device.dir, 'private.key'), renewed.key);
      await run.logged('The certificate was replaced on disk');
      expect(sandbox.broker.connects).toBe(1);
    },
    { config: { resyncSeconds: 1 } },
  ));
