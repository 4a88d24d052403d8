import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sha256 } from '@aws-crypto/sha256-js';
import { S3Client } from '@aws-sdk/client-s3';
import { SignatureV4 } from '@smithy/signature-v4';
import { Faults } from '../../src/sandbox/faults.ts';
import { createPki } from '../../src/sandbox/pki.ts';
import { type ObjectCreated, type S3Server, startS3 } from '../../src/sandbox/s3/server.ts';
import { type Session, Sessions } from '../../src/sandbox/sessions.ts';

export const bucket = '123456789012-iot-test-files';
export const region = 'us-east-1';

export interface RawResponse {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
  /** Whether the body ended as it should. */
  complete: boolean;
}

export interface RawRequest {
  method?: string;
  /** As it goes on the wire, encoded. */
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** Keep the connection until this many body bytes are there, then leave. */
  leaveAfterBytes?: number;
}

export interface S3Fixture {
  s3: S3Server;
  faults: Faults;
  sessions: Sessions;
  operator: Session;
  device: Session;
  events: ObjectCreated[];
  logged: string[];
  dir: string;
  /** An unmodified SDK client that tries once. */
  client(session: Session): S3Client;
  /** A request as it stands: no signing, no path folding. */
  raw(request: RawRequest): Promise<RawResponse>;
  /** Signs a raw request in its headers. */
  sign(request: RawRequest, session: Session, options?: SignOptions): Promise<RawRequest>;
  close(): Promise<void>;
}

export interface SignOptions {
  dateMs?: number;
  region?: string;
  service?: string;
  payloadHash?: string;
}

/** Starts S3 with one bucket, an operator's keys and a thing's session. */
export async function startS3Fixture(): Promise<S3Fixture> {
  const pki = await createPki();
  const dir = await mkdtemp(join(tmpdir(), 's3-test-'));
  const faults = new Faults();
  const sessions = new Sessions();
  const operator = sessions.addLongTerm('AKIAOPERATOR00000000', 'operator-secret');
  const device = sessions.issue('test-thing', Date.now() + 3_600_000);
  const events: ObjectCreated[] = [];
  const logged: string[] = [];
  const s3 = await startS3({
    sessions,
    faults,
    region,
    tls: pki.server,
    dir,
    onObjectCreated: (event) => void events.push(event),
    log: (line) => void logged.push(line),
  });
  s3.store.createBucket(bucket);
  return {
    ...{ s3, faults, sessions, operator, device, events, logged, dir },
    client: (session) => createClient(s3, session, pki.caCert),
    raw: (request) => sendRaw(request, s3.port, pki.caCert),
    sign: (request, session, options = {}) => signRaw(request, session, s3.port, options),
    close: async () => {
      await s3.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function createClient(s3: S3Server, session: Session, ca: string): S3Client {
  return new S3Client({
    endpoint: s3.url,
    region,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: {
      accessKeyId: session.accessKeyId,
      secretAccessKey: session.secretAccessKey,
      ...(session.sessionToken === undefined ? {} : { sessionToken: session.sessionToken }),
    },
    requestHandler: { httpsAgent: { ca } },
    // Requests that expect a 100 go through an agent of the SDK's own, which does not know our CA.
    expectContinueHeader: false,
  });
}

function sendRaw(request: RawRequest, port: number, ca: string): Promise<RawResponse> {
  const options: RequestOptions = {
    host: '127.0.0.1',
    port,
    ca,
    servername: 'localhost',
    method: request.method ?? 'GET',
    path: request.path,
    headers: request.headers ?? {},
    agent: false,
  };
  return new Promise((resolve, reject) => {
    const outgoing = httpsRequest(options, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      const settle = () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks),
          complete: response.complete,
        });
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size < (request.leaveAfterBytes ?? Number.POSITIVE_INFINITY)) return;
        settle();
        outgoing.destroy();
      });
      response.on('error', settle);
      response.on('end', settle);
    });
    outgoing.on('error', reject);
    outgoing.end(request.body);
  });
}

async function signRaw(
  request: RawRequest,
  session: Session,
  port: number,
  options: SignOptions,
): Promise<RawRequest> {
  const signer = new SignatureV4({
    credentials: session,
    region: options.region ?? region,
    service: options.service ?? 's3',
    sha256: Sha256,
    uriEscapePath: false,
  });
  const [path = '', query = ''] = request.path.split('?');
  const body = request.body ?? '';
  const signed = await signer.sign(
    {
      method: request.method ?? 'GET',
      protocol: 'https:',
      hostname: '127.0.0.1',
      path,
      query: Object.fromEntries(new URLSearchParams(query)),
      headers: {
        host: `127.0.0.1:${port}`,
        ...request.headers,
        ...(options.payloadHash === undefined ? {} : { 'x-amz-content-sha256': options.payloadHash }),
      },
      body,
    },
    { signingDate: new Date(options.dateMs ?? Date.now()) },
  );
  return { ...request, headers: signed.headers };
}

/** The text of an element of an error answer. */
export function xmlField(response: RawResponse, name: string): string | undefined {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(response.body.toString())?.[1];
}
