import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { sameSecret, type Verifier } from '../verifier.ts';
import { type Authorization, first } from './authorization.ts';
import type { Expectation } from './blob.ts';
import { type ChecksumAlgorithm, createHasher, isChecksumAlgorithm } from './checksums.ts';
import { type ChunkVerifier, decodeChunks } from './chunked.ts';
import { S3Error } from './errors.ts';

/** The body of a request, verified as it is read: reading throws when it is not what was signed. */
export interface RequestBody {
  bytes: AsyncIterable<Uint8Array>;
  /** Its checksum and MD5, for whoever stores it. */
  expected: Expectation;
}

const emptySha256 = createHash('sha256').digest('hex');
const maxXmlBytes = 2 * 1024 * 1024;
const maxObjectBytes = 5 * 1024 ** 3;
const notChecksums = new Set(['mode', 'type', 'algorithm']);

/** Prepares a body for reading. Throws S3Error for headers that contradict each other. */
export function openBody(
  request: IncomingMessage,
  authorization: Authorization,
  verifier: Verifier,
): RequestBody {
  const { headers } = request;
  const trailers = new Map<string, string>();
  const algorithm = checksumAlgorithm(headers);
  return {
    bytes: payload(request, authorization, verifier, trailers),
    expected: {
      algorithm,
      md5Base64: first(headers['content-md5']),
      checksum: () => {
        if (algorithm === undefined) return undefined;
        const name = `x-amz-checksum-${algorithm}`;
        const value = first(headers[name]) ?? trailers.get(name);
        if (value === undefined && headers['x-amz-trailer'] !== undefined) {
          throw new S3Error('MalformedTrailerError');
        }
        return value;
      },
    },
  };
}

/** Reads a document, whose checksum and MD5 are verified too. At most 2 MiB, as S3 allows. */
export async function readXml(body: RequestBody): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body.bytes) {
    size += chunk.length;
    if (size > maxXmlBytes) throw new S3Error('MalformedXML');
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  const { algorithm, checksum, md5Base64 } = body.expected;
  const md5 = createHash('md5').update(bytes).digest('base64');
  if (md5Base64 !== undefined && md5Base64 !== md5) throw new S3Error('BadDigest');
  const stated = checksum?.();
  if (algorithm !== undefined && stated !== undefined) {
    const hasher = createHasher(algorithm);
    hasher.update(bytes);
    if (hasher.digest().toString('base64') !== stated) throw new S3Error('BadDigest');
  }
  return bytes.toString();
}

/** Objects and parts need a length before their first byte. */
export function checkLength(headers: IncomingHttpHeaders): void {
  const length = first(headers['x-amz-decoded-content-length']) ?? headers['content-length'];
  if (length === undefined) {
    if (headers['transfer-encoding'] === undefined) throw new S3Error('MissingContentLength');
    throw new S3Error('NotImplemented', { details: { Header: 'Transfer-Encoding' } });
  }
  if (Number(length) <= maxObjectBytes) return;
  throw new S3Error('EntityTooLarge', { details: { ProposedSize: length, MaxSizeAllowed: maxObjectBytes } });
}

/** The algorithm of the checksum that the sender states in a header or promises in a trailer. */
function checksumAlgorithm(headers: IncomingHttpHeaders): ChecksumAlgorithm | undefined {
  const prefix = 'x-amz-checksum-';
  const trailer = first(headers['x-amz-trailer'])?.toLowerCase() ?? '';
  const names = [...Object.keys(headers), ...trailer.split(',').map((name) => name.trim())]
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .filter((name) => !notChecksums.has(name));
  const [name] = names;
  if (names.length > 1) {
    throw new S3Error('InvalidRequest', {
      message: 'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
    });
  }
  if (name === undefined || isChecksumAlgorithm(name)) return name;
  throw new S3Error('NotImplemented', { details: { Header: `${prefix}${name}` } });
}

async function* payload(
  request: IncomingMessage,
  authorization: Authorization,
  verifier: Verifier,
  trailers: Map<string, string>,
): AsyncGenerator<Uint8Array> {
  const { payloadHash } = authorization;
  // Not destroyed when reading stops half-way: the error is still to be answered on the same connection.
  const wire: AsyncIterable<Uint8Array> = request.iterator({ destroyOnReturn: false });
  if (!payloadHash.startsWith('STREAMING-')) {
    yield* verifySha256(wire, payloadHash);
    return;
  }
  const signed = payloadHash.startsWith('STREAMING-AWS4-HMAC-SHA256-PAYLOAD');
  const chunkVerifier = signed ? chainSignatures(authorization, verifier) : undefined;
  let size = 0;
  for await (const chunk of decodeChunks(wire, trailers, chunkVerifier)) {
    size += chunk.length;
    yield chunk;
  }
  const stated = first(request.headers['x-amz-decoded-content-length']);
  if (stated !== undefined && Number(stated) !== size) throw new S3Error('IncompleteBody');
}

async function* verifySha256(
  wire: AsyncIterable<Uint8Array>,
  payloadHash: string,
): AsyncGenerator<Uint8Array> {
  const sha256 = payloadHash === 'UNSIGNED-PAYLOAD' ? undefined : createHash('sha256');
  for await (const chunk of wire) {
    sha256?.update(chunk);
    yield chunk;
  }
  const computed = sha256?.digest('hex');
  if (computed === undefined || computed === payloadHash) return;
  throw new S3Error('XAmzContentSHA256Mismatch', {
    details: { ClientComputedContentSHA256: payloadHash, S3ComputedContentSHA256: computed },
  });
}

/** Each chunk's signature covers the one before it, beginning with that of the request. */
function chainSignatures(authorization: Authorization, verifier: Verifier): ChunkVerifier {
  const { timestamp } = authorization;
  let previous = authorization.signature;
  const verify = async (lines: string[], signature: string) => {
    const [algorithm = '', ...hashes] = lines;
    const text = [algorithm, timestamp, verifier.scope(timestamp), previous, ...hashes].join('\n');
    const expected = await verifier.signText(text, timestamp);
    if (!sameSecret(expected, signature)) {
      throw new S3Error('SignatureDoesNotMatch', { details: { StringToSign: text } });
    }
    previous = expected;
  };
  return {
    chunk: (hash, signature) => verify(['AWS4-HMAC-SHA256-PAYLOAD', emptySha256, hash], signature),
    trailer: (hash, signature) => verify(['AWS4-HMAC-SHA256-TRAILER', hash], signature),
  };
}
