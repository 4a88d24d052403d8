/** Signed files: what a stolen cloud account can and cannot make a device install. With the compiled executable. */
import { expect, test } from 'bun:test';
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { partPath } from '../../src/io/part.ts';
import { configure } from '../support/hostile-servers.ts';
import { parts } from '../support/resume.ts';
import { makeKey, metadataOf, objectUrl, putSigned, verifying } from '../support/signing.ts';
import { noise, scenario, sha256, type World } from '../support/world.ts';

/** Plays with a device that knows the key `release.key` of the operator, who is at home in the sandbox's directory. */
async function play(scene: (world: World) => Promise<void>, keys = ['release.key']): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-keys-'));
  try {
    const publicKeys = await Promise.all(keys.map((name) => makeKey(dir, name)));
    await scenario(
      async (world) => {
        for (const name of keys) {
          writeFileSync(join(world.sandbox.dir, name), readFileSync(join(dir, name)), { mode: 0o600 });
        }
        await scene(world);
      },
      verifying(...publicKeys),
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function isRefused(world: World, content: string | Uint8Array, message: string): Promise<void> {
  const before = world.file();
  await world.hasStatus({ status: 'failed', code: 'SIGNATURE_INVALID', hash: sha256(content) });
  expect(world.status()['message']).toContain(message);
  expect(world.file()).toBe(before);
  expect(parts(world).map((name) => readFileSync(world.path(name)).length)).not.toContain(content.length);
}

const signed = { key: 'release.key', sequence: 10 };

test('a signed file is installed; an unsigned, foreign, tampered or misplaced signature installs nothing', () =>
  play(async (world) => {
    await makeKey(world.sandbox.dir, 'stranger.key');
    await world.start();
    await putSigned(world, 'one\n', signed);
    await world.inSync(sha256('one\n'));

    await world.put('test.txt', 'unsigned\n');
    await isRefused(world, 'unsigned\n', 'The object is not signed');

    await putSigned(world, 'foreign\n', { key: 'stranger.key', sequence: 11 });
    await isRefused(
      world,
      'foreign\n',
      'The signature is wrong for this file, property "s3" and sequence 11',
    );

    const metadata = await metadataOf(world.sandbox.dir, 'good\n', { ...signed, sequence: 11 });
    await world.put('test.txt', 'evil\n', { metadata });
    await isRefused(world, 'evil\n', 'The signature is wrong');

    await world.put('test.txt', 'good\n', { metadata: { ...metadata, 'shadow-agent-sequence': '12' } });
    await isRefused(world, 'good\n', 'The signature is wrong');

    await putSigned(world, 'other\n', { ...signed, sequence: 11, property: 'other' });
    await isRefused(world, 'other\n', 'The signature is wrong');

    await world.put('test.txt', 'odd\n', { metadata: { ...metadata, 'shadow-agent-signature': 'AAAA' } });
    await isRefused(world, 'odd\n', 'The metadata shadow-agent-signature is not the base64 of 64 bytes');

    await putSigned(world, 'two\n', { ...signed, sequence: 11 });
    await world.inSync(sha256('two\n'));
    expect(world.file()).toBe('two\n');
    expect(world.gets().filter(({ status }) => status === 200).length).toBe(8);
  }));

test('a signature of an older release is a replay, also after a restart; signed anew it is not', () =>
  play(async (world) => {
    await putSigned(world, 'old\n', signed);
    const run = await world.start();
    await world.inSync(sha256('old\n'));
    await putSigned(world, 'new\n', { ...signed, sequence: 20 });
    await world.inSync(sha256('new\n'));

    await putSigned(world, 'old\n', signed);
    await isRefused(world, 'old\n', 'its sequence 10 is lower than 20');
    await run.stop();
    await world.run();
    await world.hasStatus({ status: 'failed', code: 'SIGNATURE_INVALID', hash: sha256('old\n') });
    await putSigned(world, 'twin\n', { ...signed, sequence: 20 });
    await isRefused(world, 'twin\n', 'its sequence 20 was taken with another file');

    await putSigned(world, 'old\n', { ...signed, sequence: 21 });
    await world.inSync(sha256('old\n'));
  }));

const anyAge =
  'No signature of this file is recorded: what is there stays, signed or not, and the next one is taken at any age';

test('an agent whose state was lost says that signatures of any age are taken, and one that cannot read it does not start', () =>
  play(async (world) => {
    await putSigned(world, 'new\n', { ...signed, sequence: 20 });
    const first = await world.start();
    expect(first.log).toContain(anyAge);
    await world.inSync(sha256('new\n'));
    await first.stop();
    const second = await world.run();
    await second.logged('Connected to');
    await second.stop();
    expect(second.log).not.toContain(anyAge);

    const state = join(world.device.dir, 'state', 'state.json');
    writeFileSync(state, 'rubbish');
    const third = await world.run();
    await third.logged('Connected to');
    await third.stop();
    expect(third.log).toMatch(
      /The state file is not readable and was set aside[\s\S]*No signature of this file/,
    );

    rmSync(state, { force: true });
    symlinkSync('state.json', state);
    const asked = await world.run(['status', '--config', world.device.configPath]);
    expect(await asked.exit).toBe(1);
    expect(asked.log).toMatch(/^error: INSTALL: Cannot read \S+state\.json: ELOOP\nhint: .*\n$/);
    const fourth = await world.run();
    expect(await fourth.exit).toBe(1);
    expect(fourth.log).toMatch(/^error: INSTALL: Cannot read \S+state\.json: ELOOP\nhint: .*\n$/);
  }));

test('an unsigned file that was there before "verify" stays, and a warning says so; fetched anew it is refused', () =>
  play(async (world) => {
    const withVerify = readFileSync(world.device.configPath);
    configure(world, (config) => ({ ...config, files: [{ property: 's3', path: 'tmpfile' }] }));
    await world.put('test.txt', 'unsigned\n');
    const before = await world.start();
    await world.inSync(sha256('unsigned\n'));
    await before.stop();
    writeFileSync(world.device.configPath, withVerify);
    const after = await world.run();
    await after.logged('Connected to');
    expect(after.log).toContain(anyAge);
    await world.inSync(sha256('unsigned\n'));
    await after.stop();
    expect(after.log).toContain(String.raw`where \"verify\" is new, remove a file`);
    rmSync(world.path());
    await world.run();
    await world.hasStatus({ code: 'SIGNATURE_INVALID', hash: sha256('unsigned\n') });
  }));

test('a file that was changed on the device is repaired under the signature that it came with', () =>
  play(async (world) => {
    await putSigned(world, 'one\n', signed);
    await world.start();
    await world.inSync(sha256('one\n'));
    writeFileSync(world.path(), 'broken');
    world.desire({ s3: { ...(world.state('desired')['s3'] as object), again: true } });
    await world.inSync(sha256('one\n'));
    expect(world.file()).toBe('one\n');
  }));

test('keys are rotated: either of two is taken', () =>
  play(
    async (world) => {
      await world.start();
      await putSigned(world, 'by the old key\n', { key: 'old.key', sequence: 1 });
      await world.inSync(sha256('by the old key\n'));
      await putSigned(world, 'by the new key\n', { key: 'new.key', sequence: 2 });
      await world.inSync(sha256('by the new key\n'));
    },
    ['old.key', 'new.key'],
  ));

test('what a removed key has signed stays, but is fetched again only when it is signed anew', () =>
  play(
    async (world) => {
      const content = 'by the old key\n';
      await putSigned(world, content, { key: 'old.key', sequence: 1 });
      const both = await world.start();
      await world.inSync(sha256(content));
      await both.stop();
      configure(world, (config) => {
        const text = JSON.stringify(config['files']);
        return { ...config, files: JSON.parse(text.replace(/("publicKeys":\[)"[^"]+",/, '$1')) };
      });
      const started = await world.run();
      await started.logged('Connected to');
      await world.inSync(sha256(content));
      await started.stop();
      rmSync(world.path());
      await world.run();
      await isRefused(world, content, 'The signature is wrong');
      await putSigned(world, content, { key: 'new.key', sequence: 2 });
      await world.inSync(sha256(content));
      expect(world.file()).toBe(content);
    },
    ['old.key', 'new.key'],
  ));

test('a download that is resumed is verified, and one that was complete before asks for the signature alone', () =>
  play(async (world) => {
    const big = noise(400_000);
    const hash = sha256(big);
    writeFileSync(partPath('s3', world.path(), hash), big, { mode: 0o600 });
    await putSigned(world, big, signed);
    const run = await world.start();
    await world.inSync(hash);
    expect(world.gets().map(({ range, bytesSent }) => [range, bytesSent])).toEqual([['bytes=399999-', 1]]);

    const next = noise(400_000);
    writeFileSync(partPath('s3', world.path(), sha256(next)), next.subarray(0, 300_000), { mode: 0o600 });
    await putSigned(world, next, { ...signed, sequence: 11 });
    await world.inSync(sha256(next));
    expect(world.gets().at(-1)?.range).toBe('bytes=300000-');

    const unsigned = noise(400_000);
    writeFileSync(partPath('s3', world.path(), sha256(unsigned)), unsigned, { mode: 0o600 });
    await world.put('test.txt', unsigned);
    await world.hasStatus({ code: 'SIGNATURE_INVALID', hash: sha256(unsigned) });
    expect(sha256(readFileSync(world.path()))).toBe(sha256(next));
    await run.stop();
  }));

test('the empty file can be signed too', () =>
  play(async (world) => {
    await putSigned(world, '', signed);
    await world.start();
    await world.inSync(sha256(''));
    await world.put('test.txt', 'x');
    await world.hasStatus({ code: 'SIGNATURE_INVALID' });
    world.desire({ s3: { url: objectUrl, hash: sha256('') } });
    await world.inSync(sha256(''));
  }));
