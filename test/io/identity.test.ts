import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createHash, createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Problem } from '../../src/core/errors.ts';
import { type Identity, readIdentity } from '../../src/io/identity.ts';
import { createPki, type KeyPair, type Pki } from '../../src/sandbox/pki.ts';

let dir: string;
let pki: Pki;
let device: KeyPair;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shadow-agent-identity-'));
  pki = await createPki();
  device = await pki.issueDevice('test-thing');
});

afterAll(() => rm(dir, { recursive: true, force: true }));

async function put(name: string, content: string | Uint8Array): Promise<string> {
  await writeFile(join(dir, name), content);
  return join(dir, name);
}

async function read(files: { cert?: string; key?: string; ca?: string } = {}) {
  const cert = await put('cert.pem', files.cert ?? device.cert);
  const key = await put('key.pem', files.key ?? device.key);
  const ca = await put('ca.pem', files.ca ?? pki.caCert);
  return readIdentity({ cert, key, ca });
}

async function identityOf(files: { cert?: string; key?: string; ca?: string } = {}): Promise<Identity> {
  const result = await read(files);
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.identity;
}

async function problemOf(files: { cert?: string; key?: string; ca?: string }): Promise<Problem | undefined> {
  const result = await read(files);
  if (result.ok) throw new Error('the identity was accepted');
  expect(result.problems).toHaveLength(1);
  return result.problems[0];
}

function sec1(pem: string): string {
  return createPrivateKey(pem).export({ type: 'sec1', format: 'pem' }).toString();
}

describe('a certificate, its key and a root that belong together', () => {
  test('are read, with the dates and the fingerprint of the certificate', async () => {
    const identity = await identityOf();
    const { raw, validFrom, validTo } = new X509Certificate(device.cert);
    expect(identity.fingerprint).toBe(createHash('sha256').update(raw).digest('hex'));
    expect(identity.notBeforeMs).toBe(Date.parse(validFrom));
    expect(identity.notAfterMs).toBe(Date.parse(validTo));
    expect(identity.notAfterMs).toBeGreaterThan(identity.notBeforeMs);
    expect(identity.s3CaPem).toBeUndefined();
  });

  test('are accepted after the certificate has expired: the clock may be wrong', async () => {
    const old = await pki.issueDevice('old', {
      notBeforeMs: Date.UTC(2001, 0),
      notAfterMs: Date.UTC(2002, 0),
    });
    expect((await identityOf({ cert: old.cert, key: old.key })).notAfterMs).toBe(Date.UTC(2002, 0));
  });

  test('may have a chain behind the certificate, and several roots', async () => {
    const identity = await identityOf({ cert: device.cert + pki.caCert, ca: pki.caCert + pki.server.cert });
    expect(identity.certPem.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(identity.caPem.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(identity.fingerprint).toBe((await identityOf()).fingerprint);
  });

  test.each([
    ['SEC1', () => sec1(device.key)],
    [
      'SEC1 behind its parameters',
      () =>
        `-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n${sec1(device.key)}`,
    ],
    ['CRLF', () => device.key.replaceAll('\n', '\r\n')],
    ['a key without a last line break', () => device.key.trimEnd()],
    ['a key beside its certificate in one file', () => device.cert + device.key],
    ['a key behind words', () => `Bag Attributes\n  friendlyName: x\n${device.key}`],
  ])('may be written as %s', async (_name, key) => {
    expect((await identityOf({ key: key() })).keyPem).toContain('PRIVATE KEY-----');
  });

  test('may bring further roots for S3', async () => {
    await identityOf();
    const at = (name: string) => join(dir, name);
    const result = await readIdentity({
      cert: at('cert.pem'),
      key: at('key.pem'),
      ca: at('ca.pem'),
      s3Ca: at('ca.pem'),
    });
    expect(result.ok && result.identity.s3CaPem).toContain('BEGIN CERTIFICATE');
  });
});

describe('a problem of the identity', () => {
  const garbled = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';

  test('is a key of another certificate', async () => {
    const other = await pki.issueDevice('other');
    const problem = await problemOf({ key: other.key });
    expect(problem?.path).toBe('key');
    expect(problem?.message).toContain('is not the key of the certificate');
  });

  test('is an own certificate that stands behind its chain', async () => {
    const problem = await problemOf({ cert: pki.caCert + device.cert });
    expect(problem?.hint).toContain('stands first');
  });

  test.each([
    ['PKCS#8', { type: 'pkcs8', cipher: 'aes-256-cbc' }],
    ['the traditional form', { type: 'pkcs1', cipher: 'aes-256-cbc' }],
  ] as const)('is a key that is encrypted in %s', async (_name, { type, cipher }) => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = privateKey.export({ type, cipher, passphrase: 'secret', format: 'pem' }).toString();
    const problem = await problemOf({ key });
    expect(problem?.message).toContain('is encrypted');
    expect(problem?.hint).toContain('openssl pkey');
  });

  test.each([
    ['an empty certificate', { cert: '' }, 'cert', 'holds no certificate'],
    ['a certificate of rubbish', { cert: garbled }, 'cert', 'holds a certificate that cannot be read'],
    [
      'a chain with rubbish in it',
      () => ({ cert: device.cert + garbled }),
      'cert',
      '(number 2) that cannot be read',
    ],
    [
      'a certificate that is cut short',
      () => ({ cert: device.cert.slice(0, 300) }),
      'cert',
      'holds no certificate',
    ],
    [
      'a certificate request',
      { cert: garbled.replaceAll('CERTIFICATE', 'CERTIFICATE REQUEST') },
      'cert',
      'holds no certificate, but a certificate request',
    ],
    [
      'a key of rubbish',
      { key: garbled.replaceAll('CERTIFICATE', 'PRIVATE KEY') },
      'key',
      'that cannot be read',
    ],
    [
      'a public key',
      { key: garbled.replaceAll('CERTIFICATE', 'PUBLIC KEY') },
      'key',
      'holds no private key, but a public key',
    ],
    ['an HTML page for the roots', { ca: '<html></html>' }, 'ca', 'holds no certificate'],
  ])('is %s', async (_name, files, path, message) => {
    const problem = await problemOf(typeof files === 'function' ? files() : files);
    expect(problem?.path).toBe(path);
    expect(problem?.message).toContain(message);
    expect(problem?.hint).not.toBe('');
  });

  test('is each file that cannot be read, all at once', async () => {
    const key = await put('binary.pem', new Uint8Array([0xff, 0xfe, 0x00]));
    const result = await readIdentity({ cert: join(dir, 'none.pem'), key, ca: dir });
    expect(result.ok ? [] : result.problems.map(({ path, message }) => [path, message])).toEqual([
      ['cert', `${join(dir, 'none.pem')} does not exist`],
      ['key', `${key} is no UTF-8 text`],
      ['ca', `${dir} is a directory`],
    ]);
  });

  test('never shows anything of the key', async () => {
    const broken = device.key.replace(/\n(.{8})/, '\nAAAAAAAA');
    const result = await read({ key: broken, ca: broken });
    const told = JSON.stringify(result);
    for (const line of broken.trim().split('\n').slice(1, -1)) expect(told).not.toContain(line);
    expect(result.ok).toBe(false);
  });
});
