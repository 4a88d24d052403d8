import { beforeEach, describe, expect, test } from 'bun:test';
import { rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Access, CurrentIdentity } from '../../src/io/current-identity.ts';
import { type IdentityPaths, readIdentity } from '../../src/io/identity.ts';
import { createPki, type KeyPair } from '../../src/sandbox/pki.ts';
import { FakeClock } from '../support/io-fake-clock.ts';
import { RecordingLog, useTempDir } from '../support/io-helpers.ts';

const pki = await createPki();
const dayMs = 86_400_000;
const tempDir = useTempDir();
let paths: IdentityPaths & { cert: string; key: string; ca: string };
let clock: FakeClock;
let log: RecordingLog;
let current: CurrentIdentity;

async function put({ cert, key }: Partial<KeyPair>): Promise<void> {
  if (cert !== undefined) await writeFile(paths.cert, cert);
  if (key !== undefined) await writeFile(paths.key, key);
}

async function start(pair: KeyPair, access?: Access): Promise<void> {
  await put(pair);
  await writeFile(paths.ca, pki.caCert);
  const read = await readIdentity(paths);
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  current = new CurrentIdentity(read.identity, paths, clock, log, access);
}

beforeEach(() => {
  paths = { cert: join(tempDir(), 'cert'), key: join(tempDir(), 'key'), ca: join(tempDir(), 'ca') };
  clock = new FakeClock();
  log = new RecordingLog();
});

describe('the identity for the next connection', () => {
  test('is the one that was replaced on disk', async () => {
    const [old, renewed] = [await pki.issueDevice('thing'), await pki.issueDevice('thing')];
    await start(old);
    expect((await current.look()).certPem).toBe(old.cert);
    await put(renewed);
    const now = await current.look();
    expect([now.certPem, now.keyPem]).toEqual([renewed.cert, renewed.key]);
    expect(current.value).toBe(now);
    expect(log.of('info').map(({ message }) => message)).toEqual([
      'The certificate was replaced on disk: it is used from the next connection on',
    ]);
    expect(await current.look()).toBe(now);
  });

  test('stays while a pair is half written, without a warning', async () => {
    const [old, renewed] = [await pki.issueDevice('thing'), await pki.issueDevice('thing')];
    await start(old);
    await put({ cert: renewed.cert.slice(0, 100) });
    expect((await current.look()).certPem).toBe(old.cert);
    await put({ cert: renewed.cert });
    expect((await current.look()).keyPem).toBe(old.key);
    expect(log.entries).toEqual([]);
    await put({ key: renewed.key });
    expect((await current.look()).certPem).toBe(renewed.cert);
  });

  test('stays where certificate and key do not match, which is told once', async () => {
    const [old, other] = [await pki.issueDevice('thing'), await pki.issueDevice('thing')];
    await start(old);
    await put({ cert: other.cert });
    clock.stepWall(60_000);
    for (let times = 0; times < 3; times += 1) {
      const { certPem, keyPem } = await current.look();
      expect([certPem, keyPem]).toEqual([old.cert, old.key]);
    }
    const [warning, ...more] = log.of('warning');
    expect(more).toEqual([]);
    expect(warning?.message).toMatch(
      /^What is now in "key" is refused, .* is not the key of the certificate/,
    );
    expect(JSON.stringify(log.entries)).not.toContain('PRIVATE KEY');
  });

  test('stays where a file is gone, and is read when it comes back', async () => {
    const [old, renewed] = [await pki.issueDevice('thing'), await pki.issueDevice('thing')];
    await start(old);
    await rename(paths.key, `${paths.key}.old`);
    clock.stepWall(60_000);
    expect((await current.look()).certPem).toBe(old.cert);
    expect(log.of('warning').length).toBe(1);
    await rm(`${paths.key}.old`);
    await put(renewed);
    expect((await current.look()).certPem).toBe(renewed.cert);
  });

  test('tells what is refused, and since when, until it is mended', async () => {
    const [old, other] = [await pki.issueDevice('thing'), await pki.issueDevice('thing')];
    await start(old);
    await current.look();
    await put({ cert: other.cert });
    clock.advance(60_000);
    await current.look();
    const sinceMs = clock.nowMs();
    clock.advance(60_000);
    await put({ cert: 'rubbish' });
    clock.stepWall(60_000);
    await current.look();
    expect(current.refused).toMatchObject([{ code: 'IDENTITY_INVALID', sinceMs }]);
    expect(current.refused[0]?.message).toContain('holds no certificate');
    await put(other);
    expect((await current.look()).certPem).toBe(other.cert);
    expect(current.refused).toEqual([]);
  });

  const problem = { path: 'key', message: 'the key can be read by others', hint: 'chmod 600 key' };

  test('stays where strict and others could read the key, until they cannot any more', async () => {
    const [old, renewed] = [await pki.issueDevice('thing'), await pki.issueDevice('thing')];
    let open = false;
    await start(old, { strict: true, openToOthers: async () => (open ? [problem] : []) });
    await current.look();
    open = true;
    await put(renewed);
    expect((await current.look()).certPem).toBe(old.cert);
    expect(log.entries).toEqual([]);
    clock.stepWall(60_000);
    expect((await current.look()).certPem).toBe(old.cert);
    const [warning, ...more] = log.of('warning');
    expect(more).toEqual([]);
    expect(warning?.message).toMatch(/^What is now in "key" is refused, .* can be read by others$/);
    expect(warning?.fields['hint']).toBe('chmod 600 key');
    await current.look();
    expect(log.of('warning').length).toBe(1);
    open = false;
    expect((await current.look()).certPem).toBe(renewed.cert);
  });

  test('is taken without strict where others could read the key, with a warning', async () => {
    const [old, renewed] = [await pki.issueDevice('thing'), await pki.issueDevice('thing')];
    await start(old, { strict: false, openToOthers: async () => [problem] });
    await current.look();
    // The configuration has told of it at the start.
    expect(log.entries).toEqual([]);
    await put(renewed);
    expect((await current.look()).certPem).toBe(renewed.cert);
    expect(log.of('warning').map(({ message }) => message)).toEqual(['key: the key can be read by others']);
  });

  test('is not read again where nothing was written', async () => {
    const old = await pki.issueDevice('thing');
    await start(old);
    const first = await current.look();
    expect(await current.look()).toBe(first);
    await utimes(paths.cert, new Date(1), new Date(1));
    const second = await current.look();
    expect(second).not.toBe(first);
    expect(second).toEqual(first);
    expect(log.entries).toEqual([]);
  });
});

describe('the dates of the certificate', () => {
  test('are told from 30 days before the end, once a day', async () => {
    await start(await pki.issueDevice('thing', { notAfterMs: Date.now() + 31 * dayMs }));
    await current.look();
    expect(log.entries).toEqual([]);
    clock.advance(1.5 * dayMs);
    for (let times = 0; times < 3; times += 1) await current.look();
    clock.advance(dayMs);
    await current.look();
    expect(log.of('warning').map(({ message }) => message)).toEqual([
      'The certificate of this device expires in 29 days',
      'The certificate of this device expires in 28 days',
    ]);
    expect(log.of('warning')[0]?.fields['hint']).toContain('no restart is needed');
  });

  test('that end while the agent runs are told at once, though the coming end was told that day', async () => {
    await start(await pki.issueDevice('thing', { notAfterMs: Date.now() + dayMs / 2 }));
    await current.look();
    clock.advance(dayMs * 0.6);
    for (let times = 0; times < 3; times += 1) await current.look();
    expect(log.of('warning').map(({ message }) => message)).toEqual([
      'The certificate of this device expires in 0 days',
      'The certificate of this device has expired',
    ]);
  });

  test('that are over are said to be', async () => {
    await start(await pki.issueDevice('thing', { notAfterMs: Date.now() + 10 * dayMs }));
    clock.stepWall(11 * dayMs);
    await current.look();
    expect(log.of('warning').map(({ message }) => message)).toEqual([
      'The certificate of this device has expired',
    ]);
  });

  test('that have not begun are told, with the clock as the likely cause', async () => {
    await start(await pki.issueDevice('thing', { notBeforeMs: Date.now() + dayMs }));
    for (let times = 0; times < 3; times += 1) await current.look();
    expect(log.of('warning').map(({ message }) => message)).toEqual([
      'The certificate of this device is not valid yet',
    ]);
    expect(log.of('warning')[0]?.fields['hint']).toContain('clock of this device');
  });
});
