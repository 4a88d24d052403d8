import { AwsV4Signer } from 'aws4fetch';
import type { Artifact } from '../core/artifact.ts';
import type { Credentials } from '../core/credentials.ts';
import { AgentError, type AgentErrorOptions, type ErrorCode } from '../core/errors.ts';
import {
  objectUrl,
  parseContentRange,
  parseS3Error,
  type S3Address,
  type S3ErrorBody,
} from '../core/s3-request.ts';
import type { Clock } from './clock.ts';
import type { CredentialsProvider } from './credentials-provider.ts';
import { networkError, readText } from './http.ts';
import type { Fetch } from './runtime.ts';

const headerTimeoutMs = 30_000;
const maxErrorBytes = 16 * 1024;

/** A GET of one object: from `offset` on, only if it still is (`ifMatch`) or no longer is (`ifNoneMatch`) that ETag. */
export interface ObjectRequest {
  artifact: Artifact;
  offset: number;
  ifMatch?: string | undefined;
  ifNoneMatch?: string | undefined;
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
}

/**
 * A GET of an object, signed with the device's temporary credentials. Where S3 says that these have ended, they are
 * dropped and the request is made once more with new ones.
 *
 * @throws AgentError S3, S3_DENIED, S3_NOT_FOUND, NETWORK, TIMEOUT, or what the credentials provider throws
 */
export function createGetObject(options: S3Options): GetObject {
  return async (request, signal) => {
    const credentials = await options.credentials.get(signal);
    try {
      return await send(options, request, credentials, signal);
    } catch (error) {
      if (!(error instanceof SessionEnded)) throw error;
      options.credentials.drop(credentials.accessKeyId);
      return send(options, request, await options.credentials.get(signal), signal);
    }
  };
}

/** S3 no longer takes the credentials; new ones may help. */
class SessionEnded extends AgentError {}

async function send(
  { address, fetch, clock }: S3Options,
  request: ObjectRequest,
  credentials: Credentials,
  signal: AbortSignal,
): Promise<ObjectAnswer> {
  const { artifact } = request;
  const what = `Cannot get the object of bucket ${artifact.bucket}`;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), headerTimeoutMs);
  try {
    const { url, headers } = await sign(
      objectUrl(artifact, address),
      address.region,
      request,
      credentials,
      clock,
    );
    const response = await fetch(url, { headers, signal: AbortSignal.any([signal, late.signal]) });
    const answer = answerOf(response);
    if (answer === undefined) throw await errorOf(response, what);
    return answer;
  } catch (error) {
    if (late.signal.aborted && !signal.aborted) {
      throw new AgentError('TIMEOUT', `${what}: no answer in ${headerTimeoutMs / 1000} s`, { cause: error });
    }
    throw networkError(error, what, signal);
  } finally {
    clearTimeout(timer);
  }
}

async function sign(
  url: string,
  region: string,
  { offset, ifMatch, ifNoneMatch }: ObjectRequest,
  credentials: Credentials,
  clock: Clock,
): Promise<{ url: string; headers: Headers }> {
  const headers = new Headers();
  if (offset > 0) headers.set('range', `bytes=${offset}-`);
  if (ifMatch !== undefined) headers.set('if-match', ifMatch);
  if (ifNoneMatch !== undefined) headers.set('if-none-match', ifNoneMatch);
  const signed = await new AwsV4Signer({
    url,
    headers,
    accessKeyId: credentials.accessKeyId,
    secretAccessKey: credentials.secretAccessKey.reveal(),
    sessionToken: credentials.sessionToken.reveal(),
    service: 's3',
    region,
    datetime: new Date(clock.wallMs()).toISOString().replace(/[-:]|\.\d{3}/g, ''),
  }).sign();
  return { url: signed.url.href, headers: signed.headers };
}

function answerOf(response: Response): ObjectAnswer | undefined {
  const etag = response.headers.get('etag') ?? undefined;
  const body: ReadableStream<Uint8Array<ArrayBuffer>> = response.body ?? new Blob().stream();
  switch (response.status) {
    case 200: {
      const length = response.headers.get('content-length');
      const size = /^\d{1,15}$/.test(length ?? '') ? Number(length) : undefined;
      return { kind: 'full', body, first: 0, size, etag };
    }
    case 206: {
      const range = parseContentRange(response.headers.get('content-range'));
      // Without a usable range nothing is known of where these bytes belong.
      return { kind: 'rest', body, first: range?.first ?? -1, size: range?.size, etag };
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

const endedSession = new Set(['ExpiredToken', 'InvalidToken', 'TokenRefreshRequired', 'InvalidAccessKeyId']);

async function errorOf(response: Response, what: string): Promise<AgentError> {
  const body = parseS3Error(await readText(response, maxErrorBytes));
  const { status } = response;
  const said = body.code === '' ? `HTTP ${status}` : `HTTP ${status} ${body.code}`;
  if (endedSession.has(body.code)) {
    return new SessionEnded('S3', `${what}: ${said}`, {
      retry: 'slow',
      hint: 'check the role behind the alias',
    });
  }
  const { code, options } = classify(status, body, response.headers.get('x-amz-bucket-region'));
  return new AgentError(code, `${what}: ${said}${body.message === '' ? '' : ` (${body.message})`}`, options);
}

/** Class and hint of an error answer. Source: S3 API reference, ErrorResponses. */
function classify(
  status: number,
  body: S3ErrorBody,
  bucketRegion: string | null,
): { code: ErrorCode; options: AgentErrorOptions } {
  const region = bucketRegion ?? body.region;
  if (body.code === 'RequestTimeTooSkewed') {
    return { code: 'S3', options: { retry: 'slow', hint: 'set the clock of this device (NTP)' } };
  }
  if (status >= 300 && status < 400) {
    const hint = region === undefined ? 'check "s3.region"' : `set "s3.region" to "${region}"`;
    return { code: 'S3', options: { retry: 'slow', hint } };
  }
  if (body.code === 'AuthorizationHeaderMalformed' && region !== undefined) {
    return { code: 'S3', options: { retry: 'slow', hint: `set "s3.region" to "${region}"` } };
  }
  if (status === 403 || status === 401) {
    return {
      code: 'S3_DENIED',
      options: {
        hint: 'allow s3:GetObject (s3:GetObjectVersion with a versionId) on the key to the role behind the alias; or the object is not uploaded yet',
      },
    };
  }
  if (status === 404 || body.code === 'MethodNotAllowed') {
    return {
      code: 'S3_NOT_FOUND',
      options: { hint: 'upload the object, or correct "url" in the desired state' },
    };
  }
  const passing = status >= 500 || status === 429 || body.code === 'RequestTimeout';
  return { code: 'S3', options: { retry: passing ? 'soon' : 'slow' } };
}
