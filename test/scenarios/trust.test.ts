/** Whom the executable trusts, and that nothing in its environment changes it. */
import { describe, expect, test } from 'bun:test';
import { writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TlsOptions } from 'node:tls';
import { createPki, type KeyPair } from '../../src/sandbox/pki.ts';
import { onEachBroker } from '../support/brokers.ts';
import { type Channel, channels, redirect } from '../support/channels.ts';
import { hostileServer } from '../support/hostile-servers.ts';
import { executable, type Run, scenario, sha256, type World } from '../support/world.ts';

/** Plays a server that must not be spoken to: no byte of the agent's own may reach it. */
async function isShunned(
  channel: Channel,
  tls: (world: World) => Promise<TlsOptions>,
  logged: RegExp,
  environment: (world: World) => string[] = () => [],
): Promise<void> {
  const path = await executable();
  await scenario(
    async (world) => {
      let heard = 0;
      const hear = () => {
        heard += 1;
      };
      await using server = await hostileServer(world, hear, await tls(world));
      redirect(world, channel, '127.0.0.1', server.port);
      await world.put('test.txt', 'hoge\n');
      const run: Run = await world.run([...environment(world), path, '--config', world.device.configPath]);
      await run.logged(logged);
      expect(heard).toBe(0);
      expect(world.file()).toBeUndefined();
      expect(await run.stop()).toBe(0);
    },
    { command: ['env'] },
  );
}

/** A server of a stranger, with every name right. */
async function stranger(world: World): Promise<TlsOptions> {
  const pki = await createPki();
  writeFileSync(join(world.device.dir, 'stranger.pem'), pki.caCert);
  return { ...pki.server };
}

const old = async (): Promise<TlsOptions> => ({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1' });
const misnamed = async ({ sandbox }: World): Promise<TlsOptions> => ({
  ...(await sandbox.pki.issueServer(['elsewhere.example'])),
});
const dayMs = 86_400_000;
const loopback = ['127.0.0.1', 'localhost'];
const expired = { notBeforeMs: Date.now() - 9 * dayMs, notAfterMs: Date.now() - dayMs };
const early = { notBeforeMs: Date.now() + dayMs };
const failed = /WARNING.*(?:Cannot connect|Cannot get|credentials)/;

describe.each(channels)('the %s', (channel) => {
  test('is not spoken to with TLS 1.1', () => isShunned(channel, old, failed));

  test('must have the name that was asked for', () =>
    isShunned(channel, misnamed, /altname|ALTNAME|hostname/i));

  test('must have a certificate that has not expired, and the hint names the clock', () =>
    isShunned(
      channel,
      async ({ sandbox }) => ({ ...(await sandbox.pki.issueServer(loopback, expired)) }),
      /expired.*hint=.*clock of this device/i,
    ));

  test('must have a certificate that is valid already, and the hint names the clock', () =>
    isShunned(
      channel,
      async ({ sandbox }) => ({ ...(await sandbox.pki.issueServer(loopback, early)) }),
      /not.yet.valid.*hint=.*clock of this device/i,
    ));

  test('must be vouched for by the configured roots, whatever the environment says', () =>
    // The agent's own words: the runtime itself warns of such a variable before any connection is made.
    isShunned(
      channel,
      stranger,
      /WARNING (?:Cannot|.*credentials).*(?:certificate|CERT|issuer)/,
      ({ device }) => [
        'NODE_TLS_REJECT_UNAUTHORIZED=0',
        'NODE_OPTIONS=--use-openssl-ca',
        `NODE_EXTRA_CA_CERTS=${join(device.dir, 'stranger.pem')}`,
        ...(channel === 's3' ? [] : [`SSL_CERT_FILE=${join(device.dir, 'stranger.pem')}`]),
      ],
    ));
});

describe.each([
  ['has expired', expired, 'The certificate of this device has expired'],
  ['is not valid yet', early, 'The certificate of this device is not valid yet'],
] as const)('a certificate of the device that %s', (_what, dates, told) => {
  onEachBroker(
    'is told, nothing is given for it, and one that replaces it is used at once',
    async (world) => {
      const { sandbox, device } = world;
      const use = async (pair: KeyPair) => {
        sandbox.things.register(pair.cert, { things: ['test-thing'] });
        await writeFile(join(device.dir, 'certificate.pem'), pair.cert);
        await writeFile(join(device.dir, 'private.key'), pair.key);
      };
      await use(await sandbox.pki.issueDevice('test-thing', dates));
      const run = await world.run();
      await run.logged('Cannot connect to the broker');
      expect(run.log).toContain(told);
      expect(sandbox.broker.connects).toBe(0);
      await use(await sandbox.pki.issueDevice('test-thing'));
      await world.put('test.txt', 'hoge\n');
      await world.inSync(sha256('hoge\n'));
      expect(run.child.exitCode).toBeNull();
    },
  );
});
