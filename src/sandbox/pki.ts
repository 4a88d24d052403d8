import './reflect.ts';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Extension, X509Certificate } from '@peculiar/x509';

// Not a static import: those of CommonJS modules, as this package's container, may run before reflect.ts does.
const x509 = await import('@peculiar/x509');

/** A certificate and its private key (PKCS#8), both PEM. */
export interface KeyPair {
  cert: string;
  key: string;
}

export interface IssueOptions {
  /** Wall-clock milliseconds; an hour ago unless told, so that a client's slow clock does no harm. */
  notBeforeMs?: number;
  /** Wall-clock milliseconds; a year from now unless told. */
  notAfterMs?: number;
}

export interface PkiOptions {
  /** Names and addresses of the server certificate besides 127.0.0.1, ::1, localhost and *.localhost. */
  serverNames?: readonly string[];
}

/** The certificate authority of one sandbox and the certificate of its servers. */
export interface Pki {
  caCert: string;
  server: KeyPair;
  /** Issues a client certificate, as AWS IoT does for a device. */
  issueDevice(commonName: string, options?: IssueOptions): Promise<KeyPair>;
  /** Issues a server certificate for host names and addresses. */
  issueServer(names: readonly string[], options?: IssueOptions): Promise<KeyPair>;
}

interface Authority {
  certificate: X509Certificate;
  key: CryptoKey;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const loopbackNames = ['127.0.0.1', '::1', 'localhost', '*.localhost'];
const hourMs = 3_600_000;
const yearMs = 365 * 24 * hourMs;

/** Makes a fresh authority in memory, with a server certificate. */
export async function createPki(options: PkiOptions = {}): Promise<Pki> {
  const authority = await createAuthority();
  return pkiOf(authority, await issue(authority, serverProfile(namesOf(options))));
}

/**
 * Loads `ca.pem`, `ca.key`, `server.pem` and `server.key` from a directory. What is missing, broken, expired or,
 * for the server, lacks a wanted name is made anew and written; a new authority also means a new server certificate.
 */
export async function openPki(dir: string, options: PkiOptions = {}): Promise<Pki> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const kept = await loadAuthority(await loadPair(dir, 'ca'));
  const authority = kept ?? (await createAuthority());
  if (kept === undefined) await savePair(dir, 'ca', await pairOf(authority.certificate, authority.key));

  const names = namesOf(options);
  const keptServer = await loadPair(dir, 'server');
  if (keptServer !== undefined && (await servesStill(authority, keptServer, names))) {
    return pkiOf(authority, keptServer);
  }
  const server = await issue(authority, serverProfile(names));
  await savePair(dir, 'server', server);
  return pkiOf(authority, server);
}

function pkiOf(authority: Authority, server: KeyPair): Pki {
  return {
    caCert: pemOf(authority.certificate),
    server,
    issueDevice: (commonName, options = {}) => issue(authority, deviceProfile(commonName), options),
    issueServer: (names, options = {}) => issue(authority, serverProfile(names), options),
  };
}

function namesOf(options: PkiOptions): string[] {
  return [...new Set([...loopbackNames, ...(options.serverNames ?? [])])];
}

async function createAuthority(): Promise<Authority> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [`shadow-agent sandbox CA ${randomBytes(4).toString('hex')}`] }],
    keys,
    notBefore: new Date(Date.now() - hourMs),
    notAfter: new Date(Date.now() + 10 * yearMs),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate, key: keys.privateKey };
}

interface Profile {
  commonName: string;
  extensions: Extension[];
}

function deviceProfile(commonName: string): Profile {
  return { commonName, extensions: [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth])] };
}

function serverProfile(names: readonly string[]): Profile {
  const general = names.map((value) => ({
    type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const),
    value,
  }));
  return {
    commonName: 'shadow-agent sandbox',
    extensions: [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(general),
    ],
  };
}

async function issue(authority: Authority, profile: Profile, options: IssueOptions = {}): Promise<KeyPair> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [profile.commonName] }],
    issuer: authority.certificate.subjectName,
    publicKey: keys.publicKey,
    signingKey: authority.key,
    signingAlgorithm: algorithm,
    notBefore: new Date(options.notBeforeMs ?? Date.now() - hourMs),
    notAfter: new Date(options.notAfterMs ?? Date.now() + yearMs),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      ...profile.extensions,
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
    ],
  });
  return pairOf(certificate, keys.privateKey);
}

async function generateKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

async function pairOf(certificate: X509Certificate, key: CryptoKey): Promise<KeyPair> {
  const pkcs8 = await crypto.subtle.exportKey('pkcs8', key);
  return {
    cert: pemOf(certificate),
    key: `${x509.PemConverter.encode(pkcs8, x509.PemConverter.PrivateKeyTag)}\n`,
  };
}

function pemOf(certificate: X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

async function loadPair(dir: string, name: string): Promise<KeyPair | undefined> {
  try {
    const [cert, key] = await Promise.all([
      readFile(join(dir, `${name}.pem`), 'utf8'),
      readFile(join(dir, `${name}.key`), 'utf8'),
    ]);
    return { cert, key };
  } catch {
    return undefined;
  }
}

async function savePair(dir: string, name: string, pair: KeyPair): Promise<void> {
  await replaceFile(join(dir, `${name}.key`), pair.key, 0o600);
  await replaceFile(join(dir, `${name}.pem`), pair.cert, 0o644);
}

async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  const staged = `${path}.${randomBytes(4).toString('hex')}`;
  await writeFile(staged, text, { mode, flag: 'wx' });
  await rename(staged, path);
}

/** The stored authority, or undefined when there is none, it cannot be read, is expired or has another's key. */
async function loadAuthority(pair: KeyPair | undefined): Promise<Authority | undefined> {
  if (pair === undefined) return undefined;
  try {
    const certificate = new x509.X509Certificate(pair.cert);
    const key = await importKey(pair.key);
    return isCurrent(certificate) && (await isKeyOf(certificate, key)) ? { certificate, key } : undefined;
  } catch {
    return undefined;
  }
}

/** Tells whether a stored server certificate is of this authority, current, of this key and has all names. */
async function servesStill(authority: Authority, pair: KeyPair, names: readonly string[]): Promise<boolean> {
  try {
    const certificate = new x509.X509Certificate(pair.cert);
    const held = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
    const values = new Set(held.map((name) => name.value));
    return (
      isCurrent(certificate) &&
      names.every((name) => values.has(name)) &&
      (await certificate.verify({ publicKey: authority.certificate.publicKey, signatureOnly: true })) &&
      (await isKeyOf(certificate, await importKey(pair.key)))
    );
  } catch {
    return false;
  }
}

/** A certificate of which less than a day is left counts as expired: a sandbox may run that long. */
function isCurrent(certificate: X509Certificate): boolean {
  return (
    certificate.notBefore.getTime() <= Date.now() && certificate.notAfter.getTime() > Date.now() + 24 * hourMs
  );
}

async function importKey(pem: string): Promise<CryptoKey> {
  return crypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), algorithm, true, ['sign']);
}

async function isKeyOf(certificate: X509Certificate, key: CryptoKey): Promise<boolean> {
  const probe = new TextEncoder().encode('probe');
  const signature = await crypto.subtle.sign(algorithm, key, probe);
  const publicKey = await certificate.publicKey.export(algorithm, ['verify']);
  return crypto.subtle.verify(algorithm, publicKey, signature, probe);
}
