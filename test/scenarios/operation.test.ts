/** Starting, stopping, and being wrongly set up. With the compiled executable. */
import { expect, test } from 'bun:test';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Relay } from '../support/relay.ts';
import { bucketName, noise, scenario, sha256, until, type World } from '../support/world.ts';

const hoge = sha256('hoge\n');

function once(world: World): string[] {
  return ['--config', world.device.configPath, '--once'];
}

test('--once brings the file up to date and ends with 0, also when nothing is desired', () =>
  scenario(async (world) => {
    const nothing = await world.run(once(world));
    expect(await nothing.exit).toBe(0);
    await world.put('test.txt', 'hoge\n');
    const run = await world.run(once(world));
    expect(await run.exit).toBe(0);
    expect(world.file()).toBe('hoge\n');
    await world.inSync(hoge);
    const again = await world.run(once(world));
    expect(await again.exit).toBe(0);
    expect(world.gets().length).toBe(1);
  }));

test('--once ends with 1 and the reason when the file cannot be had', () =>
  scenario(async (world) => {
    world.desire({ s3: { url: `s3://${bucketName}/missing`, hash: hoge } });
    const run = await world.run(once(world));
    expect(await run.exit).toBe(1);
    expect(run.log).toMatch(/^error: .*s3: .*NoSuchKey.*\nhint: /m);
    expect(world.status()['code']).toBe('S3_NOT_FOUND');
  }));

test('a state directory that an agent holds is refused to a second one, at once', () =>
  scenario(async (world) => {
    const first = await world.start();
    for (const args of [once(world), ['--config', world.device.configPath]]) {
      const second = await world.run(args);
      expect(await second.exit).toBe(1);
      expect(second.log).toMatch(/^error: .*Another agent is running[^\n]*\nhint: /m);
      expect(second.log).not.toContain('    at ');
    }
    expect(first.child.exitCode).toBeNull();
    await first.stop('SIGKILL');
    await world.put('test.txt', 'hoge\n');
    await world.start();
    await world.inSync(hoge);
  }));

test('the control socket answers with the state of each file', () =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    await world.start();
    await world.inSync(hoge);
    const socket = connect(join(world.device.dir, 'state', 'agent.sock'));
    socket.write('{"command":"status"}\n');
    const answer = JSON.parse(await text(socket));
    expect(answer).toMatchObject({
      thing: 'test-thing',
      link: { connected: true },
      files: { s3: { installed: hoge } },
    });
  }));

test('a configuration with many faults lists each with path and hint, and exits 78', () =>
  scenario(async (world) => {
    const config = {
      thingName: 'bad thing',
      endpont: 'x',
      cert: 'missing.pem',
      key: 'private.key',
      ca: 7,
      credentialEndpoint: 'nowhere',
      keepAliveSeconds: 5,
      files: [
        { property: 'a', path: '.' },
        { property: 'a', path: 'x', mode: '99' },
      ],
    };
    await writeFile(join(world.device.dir, 'bad.json'), JSON.stringify(config));
    const run = await world.run(['--config', 'bad.json']);
    expect(await run.exit).toBe(78);
    const paths = [
      'thingName',
      'endpont',
      'cert',
      'ca',
      'credentialEndpoint',
      'keepAliveSeconds',
      'files[0].path',
    ];
    for (const path of [...paths, 'files[1].mode', 'files[1].property']) {
      expect(run.log).toContain(`error: ${path}: `);
    }
    expect(run.log.split('error: ').length).toBe(run.log.split('hint: ').length);
    expect(run.log).not.toContain('    at ');
  }));

test('wrong usage exits 64, --help and --version print on stdout', () =>
  scenario(async (world) => {
    for (const args of [['--confg', 'x'], ['frobnicate'], ['--config']]) {
      const run = await world.run(args);
      expect(await run.exit).toBe(64);
      expect(run.log).toMatch(/^error: .*\nhint: /);
      expect(run.output).toBe('');
    }
    const help = await world.run(['--help']);
    expect(await help.exit).toBe(0);
    expect(help.output).toContain('--config');
    expect(help.log).toBe('');
    const version = await world.run(['--version']);
    expect(await version.exit).toBe(0);
    expect(version.output).toMatch(/\d+\.\d+\.\d+/);
  }));

test('a policy that lacks the role alias gives CREDENTIALS with the policy line as hint', () =>
  scenario(async (world) => {
    world.device.certificate.assumeRole = false;
    await world.put('test.txt', 'hoge\n');
    const run = await world.start();
    await world.hasStatus({ status: 'failed', code: 'CREDENTIALS' });
    expect(run.log).toContain('iot:AssumeRoleWithCertificate');
  }));

test('logs are JSON lines where asked for, and no secret of the run stands in log or state', () =>
  scenario(
    async (world) => {
      world.sandbox.faults.set('s3-expire', 1, 1);
      await world.put('test.txt', 'hoge\n');
      const run = await world.start();
      await world.inSync(hoge);
      world.desire({ s3: { hash: 'ab'.repeat(32) } });
      await world.hasStatus({ code: 'HASH_MISMATCH' });
      await run.stop();
      for (const line of run.log.trim().split('\n')) expect(JSON.parse(line)).toHaveProperty('message');
      const state = readFileSync(join(world.device.dir, 'state', 'state.json'), 'utf8');
      const ids = new Set(world.gets().map(({ accessKeyId }) => accessKeyId ?? ''));
      expect(ids.size).toBeGreaterThan(0);
      const key = readFileSync(join(world.device.dir, 'private.key'), 'utf8').split('\n')[1] ?? '?';
      for (const id of ids) {
        const session = world.sandbox.sessions.find(id);
        for (const secret of [session?.secretAccessKey ?? '?', session?.sessionToken ?? '?', key]) {
          for (const place of [run.log, state, JSON.stringify(world.state('reported'))]) {
            expect(place.includes(secret)).toBe(false);
          }
        }
      }
    },
    { config: { log: { level: 'debug', format: 'json' } } },
  ));

test('SIGTERM ends it within 5 s, also when the link is half-open and a report is not acknowledged', () =>
  scenario(async (world) => {
    const relay = await Relay.to(world.sandbox.broker.port);
    await relay.up();
    try {
      const endpoint = `127.0.0.1:${relay.port}`;
      const run = await world.run(['--config', world.device.configPath, '--endpoint', endpoint]);
      await until('the first report', () => world.reported('shadowAgent') !== undefined);
      world.sandbox.faults.set('s3-slow', 200_000);
      await world.put('big', noise(5_000_000));
      await until('the first bytes', () => world.gets().some(({ bytesSent }) => bytesSent > 0));
      relay.freeze();
      const sentBefore = run.log.length;
      // The report of the download is due after 2 s, and nobody acknowledges it.
      await until('a report that is under way', () => bytesOnDisk(world) > 500_000);
      const stoppedMs = Date.now();
      expect(await run.stop('SIGTERM')).toBe(0);
      expect(Date.now() - stoppedMs).toBeLessThan(5_000);
      expect(run.log.slice(sentBefore)).toContain('shadow-agent ends');
    } finally {
      await relay.down();
    }
  }));

test('SIGTERM ends it within 5 s, also while the shadow service does not answer', () =>
  scenario(async (world) => {
    world.sandbox.faults.set('shadow-drop', 1);
    const run = await world.run();
    await run.logged('Connected to AWS IoT');
    await until('the get', () => world.published('get').length > 0);
    const stoppedMs = Date.now();
    expect(await run.stop('SIGTERM')).toBe(0);
    expect(Date.now() - stoppedMs).toBeLessThan(5_000);
  }));

function bytesOnDisk({ device }: World): number {
  const parts = readdirSync(device.dir).filter((name) => name.endsWith('.part'));
  return Math.max(0, ...parts.map((name) => statSync(join(device.dir, name)).size));
}
