/** `shadow-agent doctor` where ports, names and routes are blocked or broken. With the compiled executable. */
import { expect } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createServer as createTls } from 'node:tls';
import { examine, failures, finding } from '../support/doctor.ts';
import { dead, nameHosts, netnsTest } from '../support/netns.ts';
import { Relay } from '../support/relay.ts';
import { scenario, type World } from '../support/world.ts';

const path = import.meta.path;
const credentialPath = 'role-aliases/iot-role-alias-s3-read/credentials';

/** Arguments that lead all three channels to one place. */
function allAt(place: string): string[] {
  return [
    ...['--endpoint', place],
    ...['--credential-endpoint', `${place}/${credentialPath}`],
    ...['--s3-endpoint', `https://${place}`],
  ];
}

async function at443(world: World, play: () => Promise<void>): Promise<void> {
  const relay = Relay.at(443, world.sandbox.broker.port);
  await relay.up();
  try {
    await play();
  } finally {
    await relay.down();
  }
}

netnsTest(
  path,
  'port 443 that speaks MQTT is told with its ALPN protocol, and the session goes over it',
  () =>
    scenario((world) =>
      at443(world, async () => {
        const found = await examine(world, '--endpoint', '127.0.0.1:443');
        expect(failures(found)).toEqual([]);
        expect(finding(found, 'tls data').message).toMatch(
          /^127\.0\.0\.1:443 answers: TLSv1\.3 in \d+ ms, ALPN x-amzn-mqtt-ca$/,
        );
        expect(finding(found, 'mqtt').verdict).toBe('ok');
      }),
    ),
);

netnsTest(path, 'port 443 of something that ends TLS on the way is told by its missing ALPN protocol', () =>
  scenario(async (world) => {
    const server = createTls(await world.sandbox.pki.issueServer(['127.0.0.1']));
    server.listen(443, '127.0.0.1');
    await once(server, 'listening');
    const found = await examine(world, '--endpoint', '127.0.0.1:443');
    server.close();
    expect(failures(found)).toEqual(['tls data']);
    expect(finding(found, 'tls data')).toMatchObject({
      message: '127.0.0.1:443 takes TLS, but not the ALPN protocol x-amzn-mqtt-ca',
      hint: expect.stringContaining('take port 8883'),
    });
    expect(finding(found, 'mqtt').verdict).toBe('skip');
  }),
);

netnsTest(
  path,
  'where 8883 is blocked and 443 is open, that is a warning, and the session goes over 443',
  () =>
    scenario((world) =>
      at443(world, async () => {
        const found = await examine(world, '--endpoint', '127.0.0.1');
        expect(failures(found)).toEqual([]);
        expect(finding(found, 'tls data')).toMatchObject({
          verdict: 'warn',
          message: expect.stringMatching(/^127\.0\.0\.1:443 answers: .*; port 8883 does not: .*ECONNREFUSED/),
          hint: expect.stringContaining('the agent takes port 443'),
        });
        for (const probe of ['mqtt', 'subscriptions', 'shadow'])
          expect(finding(found, probe).verdict).toBe('ok');
      }),
    ),
);

netnsTest(path, 'where both ports are blocked, what 8883 said is told', () =>
  scenario(async (world) => {
    const found = await examine(world, '--endpoint', '127.0.0.1');
    expect(failures(found)).toEqual(['tls data']);
    expect(finding(found, 'tls data').message).toMatch(/^No connection to 127\.0\.0\.1:8883: /);
  }),
);

netnsTest(
  path,
  'endpoints that swallow every packet are told one by one, and the run ends within half a minute',
  () =>
    scenario(async (world) => {
      await nameHosts(`${dead.v4} sandbox`);
      const startedMs = Date.now();
      const found = await examine(world, ...allAt('sandbox'));
      expect(failures(found)).toEqual(['tls data', 'tls credentials', 'tls s3']);
      for (const name of failures(found)) {
        expect(finding(found, name).message).toMatch(/^No connection to sandbox:\d+: no connection in 8 s$/);
        expect(finding(found, name).hint).toContain('firewall');
      }
      for (const name of ['config', 'certificate', 'targets', 'state'])
        expect(finding(found, name).verdict).toBe('ok');
      expect(Date.now() - startedMs).toBeLessThan(30_000);
    }),
);

netnsTest(path, 'name servers that never answer are told, and the run ends within half a minute', () =>
  scenario(async (world) => {
    const startedMs = Date.now();
    await serveNames(world, dead.v4);
    const found = await examine(world, ...allAt('nowhere.example'));
    expect(failures(found)).toEqual(['dns data', 'dns credentials', 'dns s3']);
    expect(Date.now() - startedMs).toBeLessThan(30_000);
  }),
);

netnsTest(
  path,
  'where no server that is trusted told the time, the clock is left out, and nothing else',
  () =>
    scenario(async (world) => {
      const { credentials, s3 } = allNobody();
      const found = await examine(world, ...credentials, ...s3);
      expect(failures(found)).toEqual(['tls credentials', 'tls s3']);
      expect(finding(found, 'clock')).toMatchObject({
        verdict: 'skip',
        message: 'no server that is trusted told the time',
      });
      for (const name of ['certificate', 'mqtt', 'shadow']) expect(finding(found, name).verdict).toBe('ok');
    }),
);

function allNobody() {
  return {
    credentials: ['--credential-endpoint', `127.0.0.1:9/${credentialPath}`],
    s3: ['--s3-endpoint', 'https://127.0.0.1:9'],
  };
}

/** Has names looked up at an address; only in a network of its own, where the mount ends with the test. */
async function serveNames({ device }: World, address: string): Promise<void> {
  const file = join(device.dir, 'resolv.conf');
  await writeFile(file, `nameserver ${address}\n`);
  expect(spawnSync('mount', ['--bind', file, '/etc/resolv.conf']).status).toBe(0);
}
