import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** The checksums of S3's data integrity feature, by the name in `x-amz-checksum-*` (user guide: Checking object integrity). */
export const checksumAlgorithms = ['crc32', 'crc32c', 'crc64nvme', 'sha1', 'sha256'] as const;
export type ChecksumAlgorithm = (typeof checksumAlgorithms)[number];
export type ChecksumType = 'FULL_OBJECT' | 'COMPOSITE';

/** A checksum as S3 keeps it; `value` is base64, with `-parts` behind it when it is composite. */
export interface Checksum {
  algorithm: ChecksumAlgorithm;
  value: string;
  type: ChecksumType;
}

/** Takes bytes in any split; digest is called once. */
export interface Hasher {
  update(bytes: Uint8Array): void;
  digest(): Buffer;
}

/** Tells whether a word (lower case) names a checksum. */
export function isChecksumAlgorithm(name: string): name is ChecksumAlgorithm {
  return checksumAlgorithms.some((algorithm) => algorithm === name);
}

/** Starts a checksum over bytes that come in pieces. */
export function createHasher(algorithm: ChecksumAlgorithm): Hasher {
  if (algorithm === 'crc32') return new Crc32();
  if (algorithm === 'crc32c') return new Crc64(0, 0x82f63b78, 4);
  if (algorithm === 'crc64nvme') return new Crc64(0x9a6c9329, 0xac4bc9b5, 8);
  const hash = createHash(algorithm);
  return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
}

class Crc32 implements Hasher {
  #value = 0;

  update(bytes: Uint8Array): void {
    this.#value = crc32(bytes, this.#value);
  }

  digest(): Buffer {
    const digest = Buffer.alloc(4);
    digest.writeUInt32BE(this.#value);
    return digest;
  }
}

/**
 * A reflected CRC of up to 64 bits, with all ones in and out, in two halves of 32 bits, as numbers are many times
 * faster than BigInt. With a high half of 0 it is one of 32 bits.
 */
class Crc64 implements Hasher {
  readonly #tableHigh = new Int32Array(256);
  readonly #tableLow = new Int32Array(256);
  readonly #digestBytes: number;
  #high: number;
  #low = -1;

  constructor(polynomialHigh: number, polynomialLow: number, digestBytes: 4 | 8) {
    this.#digestBytes = digestBytes;
    this.#high = digestBytes === 8 ? -1 : 0;
    for (let index = 0; index < 256; index += 1) {
      let high = 0;
      let low = index;
      for (let bit = 0; bit < 8; bit += 1) {
        const carry = low & 1;
        low = (low >>> 1) | (high << 31);
        high >>>= 1;
        if (carry === 1) {
          low ^= polynomialLow;
          high ^= polynomialHigh;
        }
      }
      this.#tableHigh[index] = high;
      this.#tableLow[index] = low;
    }
  }

  update(bytes: Uint8Array): void {
    const tableHigh = this.#tableHigh;
    const tableLow = this.#tableLow;
    let high = this.#high;
    let low = this.#low;
    // An indexed loop over signed words: several times faster than for-of over unsigned ones.
    for (let position = 0; position < bytes.length; position += 1) {
      const index = (low ^ (bytes[position] ?? 0)) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ (tableLow[index] ?? 0);
      high = (high >>> 8) ^ (tableHigh[index] ?? 0);
    }
    this.#high = high;
    this.#low = low;
  }

  digest(): Buffer {
    const digest = Buffer.alloc(8);
    digest.writeUInt32BE((this.#digestBytes === 8 ? ~this.#high : 0) >>> 0, 0);
    digest.writeUInt32BE(~this.#low >>> 0, 4);
    return digest.subarray(8 - this.#digestBytes);
  }
}
