import { afterEach, describe, expect, test } from 'bun:test';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { createPki, type KeyPair, openPki, type Pki } from '../../src/sandbox/pki.ts';
import { listenTls } from '../../src/sandbox/tls-listener.ts';

const dayMs = 24 * 3_600_000;
const closers: Array<() => Promise<unknown>> = [];

afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function directory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'pki-'));
  closers.push(() => rm(dir, { recursive: true }));
  return dir;
}

/** Connects with mutual TLS; resolves with a byte that the server sends, or rejects. */
async function shakeHands(pki: Pki, servername: string, device: KeyPair | undefined, ca = pki.caCert) {
  const listener = await listenTls({ pki, mutual: true, alpnProtocols: ['x-amzn-mqtt-ca'] }, (socket) => {
    socket.end('!');
  });
  closers.push(listener.close);
  return new Promise<string>((resolve, reject) => {
    const { port } = listener;
    const socket = connect({ host: '127.0.0.1', port, servername, ca, ...device, rejectUnauthorized: true });
    socket.once('data', (data) => resolve(data.toString()));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  });
}

describe('createPki()', () => {
  test('makes a server certificate for loopback and for the given names', async () => {
    const pki = await createPki({ serverNames: ['s3.us-east-1.amazonaws.test', '127.0.0.2'] });
    const server = new X509Certificate(pki.server.cert);
    for (const name of ['localhost', 's3.us-east-1.amazonaws.test']) {
      expect(server.checkHost(name)).toBeDefined();
    }
    for (const address of ['127.0.0.1', '::1', '127.0.0.2']) expect(server.checkIP(address)).toBe(address);
    expect(server.checkHost('elsewhere.test')).toBeUndefined();
    expect(server.verify(new X509Certificate(pki.caCert).publicKey)).toBe(true);
    expect(server.checkPrivateKey(createPrivateKey(pki.server.key))).toBe(true);
  });

  test('issues a device certificate that a server of the same authority accepts', async () => {
    const pki = await createPki();
    const device = await pki.issueDevice('test-thing');
    expect(new X509Certificate(device.cert).subject).toBe('CN=test-thing');
    expect(await shakeHands(pki, 'localhost', device)).toBe('!');
  });

  test.each([
    ['of another authority', async () => (await createPki()).issueDevice('test-thing')],
    [
      'that has expired',
      async (pki: Pki) =>
        pki.issueDevice('test-thing', {
          notBeforeMs: Date.now() - 2 * dayMs,
          notAfterMs: Date.now() - dayMs,
        }),
    ],
    ['that is missing', async () => undefined],
    ['that is for servers', async (pki: Pki) => pki.issueServer(['localhost'])],
  ])('a server refuses a device certificate %s', async (_name, issue) => {
    const pki = await createPki();
    await expect(shakeHands(pki, 'localhost', await issue(pki))).rejects.toThrow();
  });

  test('a client refuses the server of another authority, and of another name', async () => {
    const pki = await createPki();
    const device = await pki.issueDevice('test-thing');
    const stranger = await createPki();
    await expect(shakeHands(pki, 'localhost', device, stranger.caCert)).rejects.toThrow();
    await expect(shakeHands(pki, 'elsewhere.test', device)).rejects.toThrow();
  });
});

describe('openPki()', () => {
  test('writes what it makes, keys for the owner only, and loads it the next time', async () => {
    const dir = await directory();
    const made = await openPki(dir, { serverNames: ['sandbox.test'] });
    const loaded = await openPki(dir, { serverNames: ['sandbox.test'] });
    expect(loaded.caCert).toBe(made.caCert);
    expect(loaded.server).toEqual(made.server);
    for (const name of ['ca.key', 'server.key'])
      expect((await stat(join(dir, name))).mode & 0o777).toBe(0o600);
    const device = await loaded.issueDevice('test-thing');
    expect(await shakeHands(made, 'localhost', device)).toBe('!');
  });

  test('makes a new server certificate when a name is missing, and keeps the authority', async () => {
    const dir = await directory();
    const before = await openPki(dir);
    const after = await openPki(dir, { serverNames: ['sandbox.test'] });
    expect(after.caCert).toBe(before.caCert);
    expect(new X509Certificate(after.server.cert).checkHost('sandbox.test')).toBe('sandbox.test');
  });

  test('makes a new server certificate when the stored one has expired', async () => {
    const dir = await directory();
    const pki = await openPki(dir);
    const names = ['127.0.0.1', '::1', 'localhost', '*.localhost'];
    const expired = await pki.issueServer(names, { notAfterMs: Date.now() - 1000 });
    await writeFile(join(dir, 'server.pem'), expired.cert);
    await writeFile(join(dir, 'server.key'), expired.key);
    const opened = await openPki(dir);
    expect(opened.caCert).toBe(pki.caCert);
    expect(Date.parse(new X509Certificate(opened.server.cert).validTo)).toBeGreaterThan(Date.now());
  });

  test.each(['ca.pem', 'ca.key'])('starts anew when %s is rubbish', async (name) => {
    const dir = await directory();
    const before = await openPki(dir);
    await writeFile(join(dir, name), 'rubbish');
    const after = await openPki(dir);
    expect(after.caCert).not.toBe(before.caCert);
    expect(await readFile(join(dir, 'ca.pem'), 'utf8')).toBe(after.caCert);
    expect(new X509Certificate(after.server.cert).verify(new X509Certificate(after.caCert).publicKey)).toBe(
      true,
    );
  });
});
