import { AwsV4Signer } from 'aws4fetch';
import { type Artifact, sourceOf } from '../core/artifact.ts';
import { s3Place } from '../core/connection-hints.ts';
import type { Credentials } from '../core/credentials.ts';
import { AgentError } from '../core/errors.ts';
import { type Remedy, refuse, type S3Refusal } from '../core/s3-errors.ts';
import { objectUrl, parseContentRange, parseS3Error, type S3Address } from '../core/s3-request.ts';
import { type SignatureTexts, sequenceMetadata, signatureMetadata } from '../core/signature.ts';
import type { Clock } from './clock.ts';
import type { CredentialsProvider } from './credentials-provider.ts';
import { AnswerDeadline, type AnswerLimits } from './deadline.ts';
import { networkError, readText, serverOf } from './http.ts';
import { silenceHint, through } from './proxy.ts';
import type { Fetch, Pool } from './runtime.ts';
import { ServerTime } from './server-time.ts';

const maxErrorBytes = 16 * 1024;

/** A GET of one object: from `offset` on, only if it still is (`ifMatch`) or no longer is (`ifNoneMatch`) that ETag. */
export interface ObjectRequest {
  artifact: Artifact;
  offset: number;
  /** Bytes that are wanted; all that there are without it. */
  length?: number | undefined;
  ifMatch?: string | undefined;
  ifNoneMatch?: string | undefined;
  /** Connections that requests for the same object may use one after the other; else each has its own. */
  pool?: Pool;
  /** Called when bytes have come that wait for their turn: the body is silent, the connection is not. */
  onAhead?: () => void;
}

/** What S3 answered. `full` and `rest` carry a body, which the caller reads or cancels. */
export type ObjectAnswer =
  | {
      kind: 'full' | 'rest';
      body: ReadableStream<Uint8Array<ArrayBuffer>>;
      /** Where the body starts in the object, as the answer says. */
      first: number;
      /** Bytes of the whole object; undefined where S3 does not tell. */
      size: number | undefined;
      etag: string | undefined;
      /** What the object's metadata say of its signature, unchecked. */
      signature: SignatureTexts;
    }
  /** 304, 412 and 416. */
  | { kind: 'unchanged' | 'changed' | 'past-end' };

/** One GET; downloads depend on no more than this. */
export type GetObject = (request: ObjectRequest, signal: AbortSignal) => Promise<ObjectAnswer>;

export interface S3Options {
  address: S3Address;
  credentials: CredentialsProvider;
  fetch: Fetch;
  clock: Clock;
  serverTime?: ServerTime;
  /** How long S3 may take to answer. */
  limits?: AnswerLimits;
}

/**
 * A GET of an object, signed with the device's temporary credentials. What S3 itself tells how to mend is mended at
 * once, each kind once for a request: ended credentials are replaced, the time of S3 is learned, and a bucket is asked
 * for where it lives, which is remembered.
 *
 * @throws AgentError S3, S3_DENIED, S3_NOT_FOUND, NETWORK, TIMEOUT, or what the credentials provider throws
 */
export function createGetObject(options: S3Options): GetObject {
  const { address, credentials, clock, serverTime = new ServerTime(clock) } = options;
  const regions = new Map<string, string>();
  // A bucket is elsewhere for a while only: known to the requests of one pool.
  const redirects = new WeakMap<object, Partial<S3Address>>();
  return async (request, signal) => {
    const { bucket } = request.artifact;
    const mended = new Set<Remedy['mend']>();
    const family = request.pool ?? request;
    for (;;) {
      const region = regions.get(bucket) ?? address.region;
      const used = await credentials.get(signal);
      const attempt = { ...request, address: { ...address, region, ...redirects.get(family) } };
      const answer = await send(options.fetch, serverTime, options.limits, attempt, used, signal);
      if (!('error' in answer)) return answer;
      const { remedy } = answer;
      if (remedy === undefined || mended.has(remedy.mend)) throw answer.error;
      mended.add(remedy.mend);
      if (remedy.mend === 'session') credentials.drop(used.accessKeyId);
      if (remedy.mend === 'time') serverTime.learn(remedy.serverTime);
      if (remedy.mend === 'region') regions.set(bucket, remedy.region);
      if (remedy.mend === 'redirect') redirects.set(family, remedy.address);
    }
  };
}

type Attempt = ObjectRequest & { address: S3Address };

async function send(
  fetch: Fetch,
  serverTime: ServerTime,
  limits: AnswerLimits | undefined,
  attempt: Attempt,
  credentials: Credentials,
  signal: AbortSignal,
): Promise<ObjectAnswer | S3Refusal> {
  const { url, headers } = await sign(attempt, credentials, serverTime.nowMs());
  const server = serverOf(url);
  const proxy = fetch.route?.(server.host, server.port);
  const what = `Cannot get the object ${sourceOf(attempt.artifact)}${through(proxy)}`;
  const deadline = new AnswerDeadline(proxy ?? server, limits);
  try {
    const both = AbortSignal.any([signal, deadline.signal]);
    const { pool } = attempt;
    const options = { headers, signal: both, ...(pool === undefined ? {} : { pool }) };
    const response = await fetch(url.href, options);
    serverTime.learn(response.headers.get('date'));
    return answerOf(response) ?? (await refusalOf(response, attempt, what));
  } catch (error) {
    if (deadline.reason !== undefined && !signal.aborted) {
      throw new AgentError('TIMEOUT', `${what}: ${deadline.reason}`, {
        cause: error,
        hint: 'check "s3.endpoint" and the link, and what on the way may swallow the answer',
        ...silenceHint(proxy),
      });
    }
    throw networkError(error, what, signal, 'NETWORK', s3Place);
  } finally {
    deadline.clear();
  }
}

async function sign(
  { artifact, address, offset, length, ifMatch, ifNoneMatch }: Attempt,
  credentials: Credentials,
  nowMs: number,
): Promise<{ url: URL; headers: Headers }> {
  const headers = new Headers();
  const last = length === undefined ? '' : offset + length - 1;
  if (offset > 0 || length !== undefined) headers.set('range', `bytes=${offset}-${last}`);
  if (ifMatch !== undefined) headers.set('if-match', ifMatch);
  if (ifNoneMatch !== undefined) headers.set('if-none-match', ifNoneMatch);
  const signed = await new AwsV4Signer({
    url: objectUrl(artifact, address),
    headers,
    accessKeyId: credentials.accessKeyId,
    secretAccessKey: credentials.secretAccessKey.reveal(),
    sessionToken: credentials.sessionToken.reveal(),
    service: 's3',
    region: address.region,
    datetime: new Date(nowMs).toISOString().replace(/[-:]|\.\d{3}/g, ''),
  }).sign();
  return { url: signed.url, headers: signed.headers };
}

async function refusalOf(
  response: Response,
  { artifact, address }: Attempt,
  what: string,
): Promise<S3Refusal> {
  return refuse({
    what,
    status: response.status,
    body: parseS3Error(await readText(response, maxErrorBytes)),
    bucketRegion: response.headers.get('x-amz-bucket-region'),
    location: response.headers.get('location'),
    date: response.headers.get('date'),
    bucket: artifact.bucket,
    address,
  });
}

function answerOf(response: Response): ObjectAnswer | undefined {
  const etag = response.headers.get('etag') ?? undefined;
  const signature = {
    signature: response.headers.get(`x-amz-meta-${signatureMetadata}`),
    sequence: response.headers.get(`x-amz-meta-${sequenceMetadata}`),
  };
  const body: ReadableStream<Uint8Array<ArrayBuffer>> = response.body ?? new Blob().stream();
  switch (response.status) {
    case 200: {
      const length = response.headers.get('content-length');
      const size = /^\d{1,15}$/.test(length ?? '') ? Number(length) : undefined;
      return { kind: 'full', body, first: 0, size, etag, signature };
    }
    case 206: {
      const range = parseContentRange(response.headers.get('content-range'));
      // Without a usable range nothing is known of where these bytes belong.
      return { kind: 'rest', body, first: range?.first ?? -1, size: range?.size, etag, signature };
    }
    case 304:
      return { kind: 'unchanged' };
    case 412:
      return discard(response, { kind: 'changed' });
    case 416:
      return discard(response, { kind: 'past-end' });
    default:
      return undefined;
  }
}

function discard(response: Response, answer: ObjectAnswer): ObjectAnswer {
  response.body?.cancel().catch(() => undefined);
  return answer;
}
