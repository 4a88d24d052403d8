import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Faults } from '../faults.ts';
import { remember } from '../ring.ts';
import type { Session, Sessions } from '../sessions.ts';
import { type Address, parseAddress } from './address.ts';
import { authenticate, expiredToken } from './authenticate.ts';
import { type Authorization, parseAuthorization } from './authorization.ts';
import { openBody } from './body.ts';
import { S3Error, type S3ErrorCode } from './errors.ts';
import { misread, withoutETag } from './misread.ts';
import type { Reply } from './operation.ts';
import { route } from './route.ts';
import { sendFile } from './send.ts';
import type { ObjectStore } from './store.ts';
import { writeXml } from './xml.ts';

/** A request as S3 saw it; `status` is 0 until it is answered, `bytesSent` grows while the body is sent. */
export interface RequestRecord {
  method: string;
  bucket: string | undefined;
  key: string | undefined;
  versionId: string | undefined;
  range: string | undefined;
  ifMatch: string | undefined;
  ifNoneMatch: string | undefined;
  checksumMode: string | undefined;
  accessKeyId: string | undefined;
  status: number;
  bytesSent: number;
  code?: S3ErrorCode;
}

export interface HandlerOptions {
  sessions: Sessions;
  faults: Faults;
  region: string;
  store: ObjectStore;
  log: (line: string) => void;
  now: () => number;
}

/** One request and all that is found out about it on its way. */
interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  record: RequestRecord;
  expectsContinue: boolean;
  requestId: string;
  /** Aborts when the connection closes or the answer is out. */
  closed: AbortSignal;
  /** Wall-clock milliseconds, shifted by s3-skew. */
  nowMs: number;
  /** Whether a thing asks: faults and restrictions are for things. */
  device: boolean;
}

const maxDrainBytes = 8 * 1024 * 1024;

/** Answers requests: address, session, faults, signature, permission, operation, reply. */
export class Handler {
  readonly requests: RequestRecord[] = [];
  readonly #options: HandlerOptions;

  constructor(options: HandlerOptions) {
    this.#options = options;
  }

  /** Answers one request; never rejects. `expectsContinue`: the client waits for 100 before it sends the body. */
  async serve(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): Promise<void> {
    const closed = new AbortController();
    response.once('close', () => closed.abort());
    const exchange: Exchange = {
      closed: closed.signal,
      request,
      response,
      record: this.#record(request),
      expectsContinue,
      requestId: randomBytes(8).toString('hex').toUpperCase(),
      nowMs: this.#options.now(),
      device: false,
    };
    // A client that goes away is no error of the server's; those who read or write hear of it by themselves.
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    try {
      const reply = await this.#answer(exchange);
      if (reply !== undefined) await this.#send(exchange, reply);
    } catch (error) {
      await this.#fail(exchange, error);
    }
  }

  /** Yields nothing when a fault has closed the connection. */
  async #answer(exchange: Exchange): Promise<Reply | undefined> {
    const { sessions, faults, store } = this.#options;
    const { request, record } = exchange;
    const address = parseAddress(request.url ?? '', request.headers.host ?? '');
    Object.assign(record, {
      bucket: address.bucket,
      key: address.key,
      versionId: address.query.get('versionId'),
    });
    const authorization = parseAuthorization(request.headers, address.query);
    record.accessKeyId = authorization.accessKeyId;
    const session = sessions.find(authorization.accessKeyId);
    exchange.device = session?.thingName !== undefined;
    if (exchange.device) {
      if (faults.take('s3-refuse') !== undefined) {
        request.socket.destroy();
        return undefined;
      }
      exchange.nowMs += (faults.take('s3-skew') ?? 0) * 1000;
    }
    const verifier = await this.#authenticate(exchange, address, authorization, session);
    if (exchange.device) this.#restrict(exchange, address, authorization);
    const headers = exchange.device ? misread(request.headers, this.#options.faults) : request.headers;
    this.#checkRegion(address, authorization);
    const operation = route(record.method, address);
    if (exchange.expectsContinue) {
      exchange.response.writeContinue();
      exchange.expectsContinue = false;
    }
    const reply = await operation({
      store,
      method: record.method,
      headers,
      query: address.query,
      bucket: address.bucket ?? '',
      key: address.key ?? '',
      body: openBody(request, authorization, verifier),
    });
    return headers['if-match'] === request.headers['if-match'] ? reply : withoutETag(reply);
  }

  async #authenticate(
    { request, record, nowMs }: Exchange,
    address: Address,
    authorization: Authorization,
    session: Session | undefined,
  ) {
    const { store, region, now } = this.#options;
    // One server stands for all regional endpoints: a request that is signed for the bucket's own region is at home.
    const bucketRegion = store.findBucket(address.bucket ?? '')?.region ?? region;
    const { verifier } = await authenticate({
      method: record.method,
      headers: request.headers,
      address,
      authorization,
      session,
      regions: [region, bucketRegion],
      nowMs,
      // A shifted clock stands for a client whose clock is wrong: that does not make its session older.
      sessionNowMs: now(),
    });
    return verifier;
  }

  /** What only things meet: faults, and a policy that lets them read. */
  #restrict({ record }: Exchange, address: Address, authorization: Authorization): void {
    const { faults, store } = this.#options;
    if (faults.take('s3-503') !== undefined) throw new S3Error('SlowDown');
    if (faults.take('s3-expire') !== undefined) throw expiredToken(authorization.securityToken);
    if (faults.take('s3-invalid-token') !== undefined) throw new S3Error('InvalidToken');
    if (faults.take('s3-token-refresh') !== undefined) throw new S3Error('TokenRefreshRequired');
    const port = faults.take('s3-redirect');
    if (port !== undefined) throw temporaryRedirect(address, port);
    const path = `${address.bucket ?? ''}/${address.key ?? ''}`;
    const denied = [...store.denied].some((prefix) => path.startsWith(prefix));
    if (denied || !['GET', 'HEAD'].includes(record.method)) throw new S3Error('AccessDenied');
  }

  #checkRegion({ bucket }: Address, authorization: Authorization): void {
    const found = bucket === undefined ? undefined : this.#options.store.findBucket(bucket);
    if (found === undefined || found.region === authorization.region) return;
    throw new S3Error('PermanentRedirect', {
      details: { Endpoint: `${found.name}.s3.${found.region}.amazonaws.com`, Bucket: found.name },
      headers: { 'x-amz-bucket-region': found.region },
    });
  }

  async #send(exchange: Exchange, reply: Reply): Promise<void> {
    const { request, response, record, device } = exchange;
    record.status = reply.status;
    const text = reply.xml === undefined ? undefined : Buffer.from(reply.xml);
    const hasBody = request.method !== 'HEAD' && reply.status !== 304 && reply.status !== 204;
    const headers = {
      'x-amz-request-id': exchange.requestId,
      'x-amz-id-2': randomBytes(56).toString('base64'),
      Date: new Date(exchange.nowMs).toUTCString(),
      ...(text === undefined ? {} : { 'Content-Type': 'application/xml' }),
      ...(reply.file === undefined && hasBody ? { 'Content-Length': String(text?.length ?? 0) } : {}),
      ...reply.headers,
      Server: 'AmazonS3',
    };
    if (reply.file !== undefined) {
      const sent = (bytes: number) => {
        record.bytesSent += bytes;
      };
      await sendFile(response, reply.status, headers, reply.file, {
        faults: device ? this.#options.faults : undefined,
        signal: exchange.closed,
        sent,
      });
      return;
    }
    response.writeHead(reply.status, headers);
    if (hasBody) record.bytesSent = text?.length ?? 0;
    response.end(hasBody ? text : undefined);
  }

  async #fail(exchange: Exchange, thrown: unknown): Promise<void> {
    const { request, response, record, device } = exchange;
    if (request.destroyed && !request.complete) return;
    const error = this.#translate(thrown, device);
    record.code = error.code;
    if (error.code === 'InternalError') {
      this.#options.log(`S3 cannot serve ${record.method} ${record.bucket}/${record.key}: ${String(thrown)}`);
    }
    if (response.headersSent) {
      request.socket.destroy();
      return;
    }
    const whole = await settleBody(exchange);
    await this.#send(exchange, {
      status: error.status,
      headers: { ...error.headers, ...(whole ? {} : { Connection: 'close' }) },
      xml: writeXml('Error', errorTree(error, exchange), { namespaced: false }),
    });
  }

  /** Who may not list the bucket is not told which keys are missing (API Reference, GetObject). */
  #translate(thrown: unknown, device: boolean): S3Error {
    if (!(thrown instanceof S3Error)) return new S3Error('InternalError');
    if (thrown.code === 'NoSuchKey' && device && this.#options.store.hideMissing) {
      return new S3Error('AccessDenied');
    }
    return thrown;
  }

  #record({ method = 'GET', headers }: IncomingMessage): RequestRecord {
    const record: RequestRecord = {
      method,
      bucket: undefined,
      key: undefined,
      versionId: undefined,
      range: headers.range,
      ifMatch: headers['if-match'],
      ifNoneMatch: headers['if-none-match'],
      checksumMode: headers['x-amz-checksum-mode']?.toString(),
      accessKeyId: undefined,
      status: 0,
      bytesSent: 0,
    };
    remember(this.requests, record);
    return record;
  }
}

/** Source: S3 user guide, RESTRedirect. */
function temporaryRedirect({ bucket = '', canonicalPath }: Address, port: number): S3Error {
  const path = canonicalPath.startsWith(`/${bucket}/`) ? canonicalPath : `/${bucket}${canonicalPath}`;
  return new S3Error('TemporaryRedirect', {
    details: { Bucket: bucket, Endpoint: `localhost:${port}` },
    headers: { Location: `https://localhost:${port}${path}` },
  });
}

function errorTree(error: S3Error, { requestId }: Exchange) {
  const hostId = randomBytes(56).toString('base64');
  return { Code: error.code, Message: error.message, ...error.details, RequestId: requestId, HostId: hostId };
}

/**
 * Takes in what is left of a request body, so that the client, which reads no answer before it has sent all, gets it.
 * False when that would be long, or the client waits to be asked: the connection then ends with the answer.
 */
async function settleBody({ request, expectsContinue }: Exchange): Promise<boolean> {
  if (request.complete) return true;
  if (expectsContinue || Number(request.headers['content-length'] ?? 0) > maxDrainBytes) return false;
  try {
    for await (const _ of request.iterator({ destroyOnReturn: false }));
    return true;
  } catch {
    return false;
  }
}
