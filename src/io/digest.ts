import { createHash } from 'node:crypto';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';

export type DigestEngine = 'native' | 'noble';

/** A SHA-256 that grows with each chunk; `hex()` is that of all so far, and more may follow. */
export interface Digest {
  update(chunk: Uint8Array): void;
  hex(): string;
}

/** `native` is the runtime's own code; `noble` is pure TypeScript, ten times slower, for where that has none. */
export function createDigest(engine: DigestEngine): Digest {
  if (engine === 'noble') {
    const hash = sha256.create();
    return { update: (chunk) => hash.update(chunk), hex: () => bytesToHex(hash.clone().digest()) };
  }
  const hash = createHash('sha256');
  return { update: (chunk) => hash.update(chunk), hex: () => hash.copy().digest('hex') };
}
