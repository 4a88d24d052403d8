import { createHash } from 'node:crypto';
import { S3Error } from './errors.ts';

/** Checks the signatures of `STREAMING-AWS4-HMAC-SHA256-PAYLOAD[-TRAILER]`. */
export interface ChunkVerifier {
  chunk(sha256Hex: string, signature: string): Promise<void>;
  trailer(sha256Hex: string, signature: string): Promise<void>;
}

const maxLineBytes = 8 * 1024;
const maxTrailers = 16;

/**
 * Unwraps an `aws-chunked` body: lines of `hex-size[;chunk-signature=...]`, each with that many bytes behind it, until
 * a chunk of size 0 and perhaps trailers, which are put into `trailers` (lower case).
 * Source: API Reference, Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks.
 */
export async function* decodeChunks(
  source: AsyncIterable<Uint8Array>,
  trailers: Map<string, string>,
  verifier?: ChunkVerifier,
): AsyncGenerator<Uint8Array> {
  const reader = new Reader(source);
  try {
    yield* readChunks(reader, verifier);
    await readTrailers(reader, trailers, verifier);
  } finally {
    await reader.close();
  }
}

async function* readChunks(reader: Reader, verifier: ChunkVerifier | undefined): AsyncGenerator<Uint8Array> {
  for (;;) {
    const header = /^([0-9a-f]{1,13})(?:;chunk-signature=([0-9a-f]{64}))?$/i.exec(await reader.line());
    if (header?.[1] === undefined || (verifier !== undefined && header[2] === undefined)) throw incomplete();
    const size = Number.parseInt(header[1], 16);
    const sha256 = createHash('sha256');
    for (let left = size; left > 0; ) {
      const bytes = await reader.some(left);
      if (verifier !== undefined) sha256.update(bytes);
      left -= bytes.length;
      yield bytes;
    }
    await verifier?.chunk(sha256.digest('hex'), header[2] ?? '');
    if (size === 0) return;
    if ((await reader.line()) !== '') throw incomplete();
  }
}

async function readTrailers(
  reader: Reader,
  trailers: Map<string, string>,
  verifier: ChunkVerifier | undefined,
): Promise<void> {
  const sha256 = createHash('sha256');
  let signature: string | undefined;
  for (let count = 0; count <= maxTrailers; count += 1) {
    const line = await reader.line();
    if (line === '') {
      if (verifier === undefined || trailers.size === 0) return;
      return await verifier.trailer(sha256.digest('hex'), signature ?? '');
    }
    const colon = line.indexOf(':');
    if (colon < 1) throw incomplete();
    const name = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (name === 'x-amz-trailer-signature') {
      signature = value;
    } else {
      trailers.set(name, value);
      sha256.update(`${name}:${value}\n`);
    }
  }
  throw incomplete();
}

function incomplete(): S3Error {
  return new S3Error('IncompleteBody');
}

/** Lines and runs of bytes from chunks of any size. */
class Reader {
  readonly #source: AsyncIterator<Uint8Array>;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Between 1 and `max` bytes. */
  async some(max: number): Promise<Buffer> {
    if (this.#buffer.length === 0 && !(await this.#more())) throw incomplete();
    const bytes = this.#buffer.subarray(0, max);
    this.#buffer = this.#buffer.subarray(bytes.length);
    return bytes;
  }

  /** A line without its CRLF. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.#buffer.indexOf('\n');
      if (end >= 0) {
        const line = this.#buffer.subarray(0, end).toString('latin1');
        this.#buffer = this.#buffer.subarray(end + 1);
        return line.replace(/\r$/, '');
      }
      if (this.#buffer.length > maxLineBytes) throw incomplete();
      if (!(await this.#more())) throw incomplete();
    }
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }

  async #more(): Promise<boolean> {
    const next = await this.#source.next();
    if (next.done === true) return false;
    const { buffer, byteOffset, byteLength } = next.value;
    const bytes = Buffer.from(buffer, byteOffset, byteLength);
    this.#buffer = this.#buffer.length === 0 ? bytes : Buffer.concat([this.#buffer, bytes]);
    return true;
  }
}
