import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import type { Problem } from '../core/errors.ts';
import { readTextFile } from './text-file.ts';

/** The device's certificate, its key and whom it trusts, as PEM; read and checked once at start. */
export interface Identity {
  /** The device's own certificate first, its chain behind it. */
  certPem: string;
  keyPem: string;
  caPem: string;
  /** Roots to add for S3, where `s3.ca` names them. */
  s3CaPem?: string;
  /** The certificate's validity; only reported, for the clock of a device may be wrong. */
  notBeforeMs: number;
  notAfterMs: number;
  /** SHA-256 of the certificate, 64 lower-case hex digits. */
  fingerprint: string;
}

/** Absolute paths; one that the configuration lacks is not looked at, and there is no identity then. */
export interface IdentityPaths {
  cert?: string;
  key?: string;
  ca?: string;
  s3Ca?: string;
}

export type ReadIdentity = { ok: true; identity: Identity } | { ok: false; problems: Problem[] };

type Found<T> = { value: T } | { problem: Problem } | undefined;

interface Certificates {
  pem: string;
  first: X509Certificate;
}

interface PrivateKey {
  pem: string;
  key: KeyObject;
}

/** Reads the PEM files and checks that they belong together; lists every problem, and never shows a key. */
export async function readIdentity(paths: IdentityPaths): Promise<ReadIdentity> {
  const [cert, key, ca, s3Ca] = await Promise.all([
    readPem('cert', paths.cert, parseCertificates),
    readPem('key', paths.key, parsePrivateKey),
    readPem('ca', paths.ca, parseCertificates),
    readPem('s3.ca', paths.s3Ca, parseCertificates),
  ]);
  const problems = [cert, key, ca, s3Ca].flatMap((found) =>
    found !== undefined && 'problem' in found ? [found.problem] : [],
  );
  const [certificate, privateKey, roots, s3Roots] = [soundOf(cert), soundOf(key), soundOf(ca), soundOf(s3Ca)];
  if (
    certificate !== undefined &&
    privateKey !== undefined &&
    !certificate.first.checkPrivateKey(privateKey.key)
  ) {
    problems.push({
      path: 'key',
      message: `${paths.key} is not the key of the certificate ${paths.cert}`,
      hint: "take both from one `aws iot create-keys-and-certificate`; the device's certificate stands first in its file",
    });
  }
  if (problems.length > 0 || certificate === undefined || privateKey === undefined || roots === undefined) {
    return { ok: false, problems };
  }
  return {
    ok: true,
    identity: {
      certPem: certificate.pem,
      keyPem: privateKey.pem,
      caPem: roots.pem,
      ...(s3Roots === undefined ? {} : { s3CaPem: s3Roots.pem }),
      notBeforeMs: Date.parse(certificate.first.validFrom),
      notAfterMs: Date.parse(certificate.first.validTo),
      fingerprint: certificate.first.fingerprint256.replaceAll(':', '').toLowerCase(),
    },
  };
}

function soundOf<T>(found: Found<T>): T | undefined {
  return found !== undefined && 'value' in found ? found.value : undefined;
}

/** What a PEM text holds, or what is wrong with it: "holds …", "is …". */
type PemParser<T> = (pem: string) => { value: T } | { message: string; hint: string };

async function readPem<T>(name: string, path: string | undefined, parse: PemParser<T>): Promise<Found<T>> {
  if (path === undefined) return undefined;
  const file = await readTextFile(path);
  const parsed = file.ok ? parse(file.text) : file;
  if ('value' in parsed) return parsed;
  return { problem: { path: name, message: `${path} ${parsed.message}`, hint: parsed.hint } };
}

const certificateHint = 'it must be PEM: -----BEGIN CERTIFICATE----- and what follows, complete';

function parseCertificates(pem: string): ReturnType<PemParser<Certificates>> {
  const blocks = pemBlocks(pem).filter(({ label }) => label === 'CERTIFICATE');
  const certificates: X509Certificate[] = [];
  for (const [index, { text }] of blocks.entries()) {
    try {
      certificates.push(new X509Certificate(text));
    } catch {
      const which = blocks.length === 1 ? 'a certificate' : `a certificate (number ${index + 1})`;
      return { message: `holds ${which} that cannot be read`, hint: certificateHint };
    }
  }
  const first = certificates[0];
  return first === undefined
    ? { message: `holds no certificate${insteadOf(pem)}`, hint: certificateHint }
    : { value: { pem: joined(blocks), first } };
}

function parsePrivateKey(pem: string): ReturnType<PemParser<PrivateKey>> {
  const blocks = pemBlocks(pem).filter(({ label }) => label.endsWith('PRIVATE KEY'));
  const block = blocks[0];
  if (block === undefined) {
    return {
      message: `holds no private key${insteadOf(pem)}`,
      hint: 'it must be PEM: -----BEGIN … PRIVATE KEY----- and what follows, complete',
    };
  }
  if (block.label.startsWith('ENCRYPTED') || /^Proc-Type:.*ENCRYPTED/m.test(block.text)) {
    return {
      message: 'is encrypted, and nobody is there to type the passphrase',
      hint: 'write a plain one with `openssl pkey -in KEY -out PLAIN`, readable only for the agent',
    };
  }
  try {
    return { value: { pem: joined([block]), key: createPrivateKey(block.text) } };
  } catch {
    // The error is not passed on: what it quotes of the key is not known.
    return { message: 'holds a private key that cannot be read', hint: 'copy it again; it may be cut short' };
  }
}

interface PemBlock {
  label: string;
  text: string;
}

function pemBlocks(pem: string): PemBlock[] {
  return [...pem.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g)].map(
    ([text, label = '']) => ({
      label,
      text,
    }),
  );
}

function joined(blocks: readonly PemBlock[]): string {
  return blocks.map(({ text }) => `${text}\n`).join('');
}

function insteadOf(pem: string): string {
  const label = pemBlocks(pem)[0]?.label;
  return label === undefined ? '' : `, but a ${label.toLowerCase()}`;
}
