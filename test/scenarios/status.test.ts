/** `shadow-agent status`, with the compiled executable: while an agent runs, and while it is down. */
import { expect, test } from 'bun:test';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { hooked, hookRuns } from '../support/hook.ts';
import { bucketName, noise, scenario, sha256, until, type World } from '../support/world.ts';

const hoge = sha256('hoge\n');

async function status(world: World, ...more: string[]) {
  const run = await world.run(['status', '--config', world.device.configPath, ...more]);
  return { code: await run.exit, text: run.output, log: run.log };
}

async function statusJson(world: World): Promise<JsonObject & { code: number | null }> {
  const { code, text } = await status(world, '--json');
  const document: JsonObject = JSON.parse(text);
  return { ...document, code };
}

test('status shows version, link, certificate and what is installed, and exits 0 while all is well', () =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    const agent = await world.start();
    await world.inSync(hoge);
    const { code, text, log } = await status(world);
    expect(code).toBe(0);
    expect(log).toBe('');
    expect(text).toMatch(
      /^agent {8}version \d+\.\d+\.\d+, running for \d+ s \(since \S+Z, pid \d+\)\nthing {8}test-thing\nlink {9}connected for \d+ s \(since \S+Z\); last answer \d+ s ago\ncertificate {2}valid until \S+Z \(36\d days left\)\n\ns3\n/,
    );
    for (const line of ['status       current', `installed    ${hoge}`, 'wanted       the same']) {
      expect(text).toContain(`\n  ${line}\n`);
    }
    expect(await statusJson(world)).toMatchObject({
      code: 0,
      ok: true,
      running: true,
      pid: agent.child.pid ?? 0,
      thing: 'test-thing',
      shadow: null,
      link: { connected: true, error: null },
      files: {
        s3: {
          path: world.path(),
          status: 'current',
          installed: hoge,
          desired: { url: `s3://${bucketName}/test.txt`, hash: hoge },
          progress: null,
          error: null,
          retryAt: null,
        },
      },
    });
  }));

test('status says that the configuration has changed since the agent was started, and exits 1; spaces are no change', () =>
  scenario(async (world) => {
    await world.start();
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    writeFileSync(world.device.configPath, JSON.stringify(config, null, 5));
    expect(await statusJson(world)).toMatchObject({ code: 0, ok: true, otherConfiguration: null });
    config.files[0].path = 'moved';
    writeFileSync(world.device.configPath, JSON.stringify(config));
    const { code, text } = await status(world);
    expect(code).toBe(1);
    expect(text).toMatch(
      /\nconfig {7}the running agent \(pid \d+\) has another configuration: it keeps "s3" at \S+tmpfile, not at \S+moved\nhint {9}restart the agent/,
    );
    expect(await statusJson(world)).toMatchObject({
      code: 1,
      ok: false,
      error: null,
      otherConfiguration: { message: expect.stringContaining('has another configuration') },
    });
  }));

test('status shows how far and how fast a download is', () =>
  scenario(async (world) => {
    world.sandbox.faults.set('s3-slow', 400_000);
    await world.put('big', noise(4_000_000));
    await world.start();
    await world.hasStatus({ status: 'downloading' });
    const { code, text } = await status(world);
    expect(code).toBe(0);
    expect(text).toMatch(/\n {2}progress {5}[\d.]+ [kM]B of 4\.0 MB \(\d+ %\), [\d.]+ kB\/s, \d+ s left\n/);
  }));

test('status shows the error of a file with hint and next try, and exits 1', () =>
  scenario(async (world) => {
    world.desire({ s3: { url: `s3://${bucketName}/missing`, hash: hoge } });
    await world.start();
    await world.hasStatus({ status: 'failed' });
    const { code, text } = await status(world);
    expect(code).toBe(1);
    expect(text).toMatch(/\n {2}error {8}S3_NOT_FOUND: .*NoSuchKey.*\n {2}hint {9}upload the object/);
    expect(text).toMatch(/\n {2}next try {5}in \d+ s \(\S+Z\)\n/);
  }));

test('status shows a link that is lost, with the reason, and exits 1', () =>
  scenario(async (world) => {
    const agent = await world.start();
    await world.sandbox.restartBroker(async () => {
      await agent.logged('Cannot connect to the broker');
      const { code, text } = await status(world);
      expect(code).toBe(1);
      expect(text).toMatch(
        /\nlink {9}not connected; last answer \d+ s ago\nerror {8}NETWORK: Cannot connect/,
      );
    });
  }));

test('while the agent is down, status says so, exits 1, and shows what disk and state file tell', () =>
  scenario(async (world) => {
    const before = await status(world);
    expect(before.code).toBe(1);
    expect(before.text).toContain('agent        does not run');
    await world.put('test.txt', 'hoge\n');
    const agent = await world.start();
    await world.inSync(hoge);
    world.desire({ s3: { hash: 'ab'.repeat(32) } });
    await world.hasStatus({ code: 'HASH_MISMATCH' });
    await agent.stop('SIGKILL');
    const down = await statusJson(world);
    expect(down).toMatchObject({
      code: 1,
      ok: false,
      running: false,
      version: null,
      link: null,
      files: {
        s3: {
          status: 'failed',
          installed: hoge,
          desired: { hash: 'ab'.repeat(32) },
          error: { code: 'HASH_MISMATCH' },
        },
      },
    });
    rmSync(world.path());
    expect((await status(world)).text).toContain('\n  installed    nothing\n');
  }));

test('while the agent is down, status tells that what was desired last is refused, and calls nothing wanted', () =>
  scenario(
    async (world) => {
      await world.put('test.txt', 'hoge\n');
      const agent = await world.start();
      await world.inSync(hoge);
      for (const [url, code] of [
        ['http://example.com/x', 'DESIRED_INVALID'],
        ['s3://another-bucket/x', 'NOT_ALLOWED'],
      ] as const) {
        world.desire({ s3: { url } });
        await world.hasStatus({ code });
        const files = { s3: { status: 'failed', installed: hoge, desired: null, error: { code } } };
        expect(await statusJson(world)).toMatchObject({ running: true, files });
      }
      await agent.stop();
      const error = { code: 'NOT_ALLOWED' };
      const files = { s3: { status: 'failed', installed: hoge, desired: null, error } };
      expect(await statusJson(world)).toMatchObject({ running: false, files });
    },
    { files: [{ property: 's3', path: 'tmpfile', allow: [`s3://${bucketName}/`] }] },
  ));

/** Has `hoge` replaced by another file, and put back while no agent runs. */
async function rolledBack(world: World): Promise<void> {
  const agent = await world.start();
  for (const body of ['hoge\n', 'fuga\n']) {
    await world.put('test.txt', body);
    await world.inSync(sha256(body));
  }
  await agent.stop();
  const back = await world.run(['rollback', 's3', '--config', world.device.configPath]);
  expect(await back.exit).toBe(0);
}

test('while the agent is down, status does not take what was rolled back to for what is desired', () =>
  scenario(async (world) => {
    await rolledBack(world);
    const { text } = await status(world);
    expect(text).toContain(`\n  installed    ${hoge}\n`);
    expect(text).toContain('waiting: rolled back here');
    expect(text).not.toContain('the same');
    expect(await statusJson(world)).toMatchObject({
      files: { s3: { desired: null, error: { code: 'HELD' } } },
    });
  }));

test('while the agent hangs, status says so within seconds, exits 1, and shows what disk and state file tell', () =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    const agent = await world.start();
    await world.inSync(hoge);
    world.desire({ s3: { hash: 'ab'.repeat(32) } });
    await world.hasStatus({ code: 'HASH_MISMATCH' });
    agent.child.kill('SIGSTOP');
    const startedMs = Date.now();
    const { code, text, log } = await status(world);
    expect(Date.now() - startedMs).toBeLessThan(10_000);
    expect([code, log]).toEqual([1, '']);
    expect(text).toMatch(
      /^agent {8}runs, but cannot be asked; what follows .*\nerror {8}TIMEOUT: The agent holds \S+agent\.sock, but does not answer\nhint {9}it hangs, .*systemctl restart/,
    );
    expect(text).toContain(`\n  installed    ${hoge}\n  wanted       abab`);
    expect(text).toMatch(/\n {2}error {8}HASH_MISMATCH: /);
    expect(await statusJson(world)).toMatchObject({
      code: 1,
      ok: false,
      running: true,
      error: { code: 'TIMEOUT' },
      version: null,
      link: null,
      files: { s3: { status: 'failed', installed: hoge, error: { code: 'HASH_MISMATCH' } } },
    });
    agent.child.kill('SIGCONT');
    expect((await status(world)).text).toContain('running for');
  }));

test('while the agent is down, status shows how far a download had come', () =>
  scenario(async (world) => {
    world.sandbox.faults.set('s3-slow', 400_000);
    await world.put('big', noise(4_000_000));
    const agent = await world.start();
    await until('some bytes', () => world.gets().some(({ bytesSent }) => bytesSent > 500_000));
    await agent.stop('SIGKILL');
    const { text } = await status(world);
    expect(text).toMatch(/\n {2}progress {5}[\d.]+ [kM]B of 4\.0 MB \(\d+ %\)\n/);
    expect(text).toContain('\n  status       waiting: half downloaded; the agent goes on from there\n');
    expect(text).toContain(`\n  from         s3://${bucketName}/big`);
  }));

test('while the agent is down, what was desired last is told as wanted, and no error of what was before', () =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    const agent = await world.start();
    await world.inSync(hoge);
    world.desire({ s3: { url: `s3://${bucketName}/missing`, hash: 'ab'.repeat(32) } });
    await world.hasStatus({ code: 'S3_NOT_FOUND' });
    world.sandbox.faults.set('s3-slow', 400_000);
    const big = noise(4_000_000);
    await world.put('big', big);
    await until('some bytes', () => world.gets().some(({ bytesSent }) => bytesSent > 500_000));
    await agent.stop('SIGKILL');
    const { text } = await status(world);
    expect(text).toContain(`\n  wanted       ${sha256(big)}\n  from         s3://${bucketName}/big,`);
    expect(await statusJson(world)).toMatchObject({
      files: {
        s3: {
          status: 'waiting',
          installed: hoge,
          desired: { url: `s3://${bucketName}/big`, hash: sha256(big) },
          progress: { size: 4_000_000 },
          error: null,
        },
      },
    });
  }));

test('while the agent is down, nothing that was withdrawn is told as wanted, failed or tried again', () =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    const agent = await world.start();
    await world.inSync(hoge);
    world.desire({ s3: { url: `s3://${bucketName}/missing`, hash: 'ab'.repeat(32) } });
    await world.hasStatus({ code: 'S3_NOT_FOUND' });
    world.desire({ s3: null });
    await until('the status to be taken back', () => world.status()['code'] === undefined);
    await agent.stop('SIGKILL');
    const { text } = await status(world);
    expect(text).toContain(`\n  installed    ${hoge}\n`);
    expect(text).not.toMatch(/\n {2}(wanted|from|error|next try) /);
    const nothing = { status: 'unknown', desired: null, error: null, attempt: null, retryAt: null };
    expect(await statusJson(world)).toMatchObject({ files: { s3: nothing } });
    const offline = await world.run(['--config', world.device.configPath, '--endpoint', '127.0.0.1:1']);
    await offline.logged('Cannot connect to the broker');
    expect(await statusJson(world)).toMatchObject({ running: true, files: { s3: nothing } });
  }));

test('while the agent is down, the next try is told as one that needs it', () =>
  scenario(async (world) => {
    const agent = await world.start();
    world.desire({ s3: { url: `s3://${bucketName}/missing`, hash: hoge } });
    await world.hasStatus({ code: 'S3_NOT_FOUND' });
    await agent.stop();
    expect((await status(world)).text).toMatch(
      /\n {2}next try {5}in \d+ s \(\S+Z\), if the agent runs then\n/,
    );
  }));

test('while the agent is down, a way back that was cut short is not told as one that was gone', () =>
  scenario(async (world) => {
    const agent = await world.start();
    for (const body of ['hoge\n', 'fuga\n']) {
      await world.put('test.txt', body);
      await world.inSync(sha256(body));
    }
    await agent.stop();
    const path = join(world.device.dir, 'state', 'state.json');
    const state = JSON.parse(readFileSync(path, 'utf8'));
    const [{ installed, previous }] = state.files;
    const pending = { step: 'back', sha256: installed.sha256, before: previous, keep: false, runs: 0 };
    const held = { sha256: installed.sha256 };
    writeFileSync(path, JSON.stringify({ ...state, files: [{ ...state.files[0], pending, held }] }));
    const { text } = await status(world);
    expect(text).toContain('\n  status       waiting: for its hook, or the way back, to end\n');
    expect(text).not.toContain('HELD');
  }));

test('while the agent is down, a file that was edited is not told to wait for the hook of what it was', () =>
  hooked('sleep 300', async (world) => {
    await world.put('test.txt', 'hoge\n');
    const agent = await world.run();
    await until('the hook', () => hookRuns(world).length === 1);
    await agent.stop('SIGKILL');
    expect(await statusJson(world)).toMatchObject({ files: { s3: { status: 'waiting' } } });
    writeFileSync(world.path(), 'edited');
    expect(await statusJson(world)).toMatchObject({
      files: { s3: { status: 'unknown', installed: sha256('edited'), desired: { hash: hoge } } },
    });
  }));

test('what a hook refused is told no more once it is withdrawn, also before the shadow has answered', () =>
  hooked('[ -n "$SHADOW_AGENT_ROLLBACK" ]', async (world) => {
    await world.put('test.txt', 'hoge\n');
    const agent = await world.start();
    await world.hasStatus({ code: 'HOOK_FAILED' });
    await agent.stop();
    const offline = ['--config', world.device.configPath, '--endpoint', '127.0.0.1:1'];
    const error = async () => {
      const run = await world.run(offline);
      await run.logged('Cannot connect to the broker');
      const { files } = await statusJson(world);
      await run.stop();
      return files;
    };
    expect(await error()).toMatchObject({ s3: { error: { code: 'HOOK_FAILED' } } });
    world.desire({ s3: null });
    const again = await world.run();
    const stored = () => readFileSync(join(world.device.dir, 'state', 'state.json'), 'utf8');
    await until('it to be stored', () => !stored().includes('"desired"'));
    await again.stop();
    expect(await error()).toMatchObject({ s3: { error: null } });
  }));

test('while the agent is down, what is held is told also where the file is to have another path', () =>
  scenario(async (world) => {
    await rolledBack(world);
    const config = JSON.parse(readFileSync(world.device.configPath, 'utf8'));
    config.files[0].path = 'moved';
    writeFileSync(world.device.configPath, JSON.stringify(config));
    expect(await statusJson(world)).toMatchObject({
      files: { s3: { path: world.path('moved'), installed: null, error: { code: 'HELD' } } },
    });
  }));

test('a state file that is rubbish is told beside what the disk tells, in JSON too, and stays as it is', () =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    const agent = await world.start();
    await world.inSync(hoge);
    await agent.stop();
    for (const rubbish of ['', 'rubbish', '[]', '{"version":1']) {
      writeFileSync(join(world.device.dir, 'state', 'state.json'), rubbish);
      const { code, text, log } = await status(world);
      expect([code, log]).toEqual([1, '']);
      expect(text).toMatch(
        /^agent +does not run; .*\nerror +INSTALL: The state file in .* is rubbish\nhint +start/,
      );
      expect(text).toContain(`\n  installed    ${hoge}\n`);
      expect(await statusJson(world)).toMatchObject({
        code: 1,
        ok: false,
        running: false,
        error: { code: 'INSTALL' },
        files: { s3: { installed: hoge, desired: null } },
      });
      expect(world.file('state/state.json')).toBe(rubbish);
    }
  }));

test('status of a wrong configuration exits 78', () =>
  scenario(async (world) => {
    expect((await status(world, '--thing-name', 'a b')).code).toBe(78);
    expect((await status(world, '--once')).code).toBe(64);
  }));
