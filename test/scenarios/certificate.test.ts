/** Certificates and roots that are replaced while the agent runs. With the compiled executable. */
import { expect, test } from 'bun:test';
import { chmod, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createPki } from '../../src/sandbox/pki.ts';
import { channels, redirect } from '../support/channels.ts';
import { TlsFront } from '../support/tls-front.ts';
import { scenario, sha256, until, type World } from '../support/world.ts';

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

const spoilt: [what: string, spoil: (key: string, world: World) => Promise<void>, told: RegExp][] = [
  ['is gone', (key) => rm(key), /private\.key does not exist/],
  [
    'is that of another certificate',
    async (key, { sandbox }) => writeFile(key, (await sandbox.pki.issueDevice('test-thing')).key),
    /private\.key is not the key of the certificate/,
  ],
  ['can be read by others', (key) => chmod(key, 0o644), /private\.key is open to everyone/],
];

test.each(spoilt)(
  'while the key on disk %s, the agent goes on, status says so in a warning, and rollback works',
  (_what, spoil, told) =>
    scenario(
      async (world) => {
        const { device } = world;
        await world.put('test.txt', 'hoge\n');
        const agent = await world.start();
        await world.inSync(sha256('hoge\n'));
        await world.put('test.txt', 'fuga\n');
        await world.inSync(sha256('fuga\n'));
        await spoil(join(device.dir, 'private.key'), world);
        const ask = async (...words: string[]) => {
          const run = await world.run([...words, '--config', device.configPath]);
          return { code: await run.exit, output: run.output, log: run.log };
        };
        const status = await ask('status');
        expect([status.code, status.log]).toEqual([0, '']);
        expect(status.output).toMatch(/^agent {8}version \S+, running/);
        expect(status.output).toMatch(
          new RegExp(`\\nwarning {6}the agent would not start anew: .*${told.source}`),
        );
        await agent.logged(told);
        const { code, output } = await ask('status', '--json');
        const { ok, warnings } = JSON.parse(output);
        expect([code, ok, warnings.length]).toEqual([0, true, 1]);
        expect(warnings[0]).toMatchObject({ code: 'IDENTITY_INVALID', since: expect.stringMatching(/Z$/) });
        expect(warnings[0].message).toMatch(told);
        expect(await ask('rollback', 's3')).toMatchObject({ code: 0, log: '' });
        expect(world.file()).toBe('hoge\n');
        expect(agent.child.exitCode).toBeNull();
      },
      { config: { resyncSeconds: 1, strict: true } },
    ),
);

test('with no agent running, rollback does without a key, but not where strict and others may read it', () =>
  scenario(
    async (world) => {
      const { device } = world;
      const agent = await world.start();
      for (const text of ['hoge\n', 'fuga\n']) {
        await world.put('test.txt', text);
        await world.inSync(sha256(text));
      }
      await agent.stop();
      const ask = async (...words: string[]) => {
        const run = await world.run([...words, '--config', device.configPath]);
        return { code: await run.exit, output: run.output, log: run.log };
      };
      const key = join(device.dir, 'private.key');
      await chmod(key, 0o644);
      const refused = await ask('rollback', 's3');
      expect(refused).toMatchObject({ code: 78, log: expect.stringContaining('is open to everyone') });
      expect(world.file()).toBe('fuga\n');
      await rm(key);
      const status = await ask('status');
      expect(status).toMatchObject({ code: 1, log: '' });
      expect(status.output).toContain(
        '\ncertificate  none that can be used\nwarning      the agent would not start anew: key: ',
      );
      expect((await ask('rollback', 's3')).code).toBe(0);
      expect(world.file()).toBe('hoge\n');
    },
    { config: { strict: true } },
  ));

test.each(channels)(
  'the server of %s is trusted by the roots that are on disk when it is connected to, not by those before',
  (channel) =>
    scenario(async (world) => {
      const { sandbox, device } = world;
      const [old, next] = await Promise.all([createPki(), createPki()]);
      const roots = join(device.dir, 'roots.pem');
      const trust = async (...certificates: string[]) => {
        await writeFile(`${roots}.new`, certificates.join(''));
        await rename(`${roots}.new`, roots);
      };
      await using front = await TlsFront.to(world, sandbox[channel].port);
      await front.serve(old.server);
      await trust(sandbox.pki.caCert, old.caCert);
      redirect(world, channel, '127.0.0.1', front.port);
      const run = await world.run(['--config', device.configPath, '--ca', roots, '--s3-ca', roots]);
      await world.put('test.txt', 'hoge\n');
      await world.inSync(sha256('hoge\n'));
      const carried = front.connections;
      expect(carried).toBeGreaterThan(0);

      await trust(sandbox.pki.caCert, next.caCert);
      // Ends what is connected; the server stays the one that is no longer trusted.
      await front.serve(old.server);
      sandbox.sessions.expireAll();
      await world.put('test.txt', 'fuga\n');
      await run.logged(/WARNING Cannot .*UNABLE_TO_VERIFY_LEAF_SIGNATURE/);
      expect(run.log).toContain('The roots in "ca" and "s3.ca" were replaced on disk');
      expect(world.file()).toBe('hoge\n');
      await front.serve(next.server);
      await world.inSync(sha256('fuga\n'));
      expect(front.connections).toBeGreaterThan(carried);
    }),
);
