import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type HttpAnswer, sendAnswer, serveHttps } from './https-server.ts';
import { percentDecoded } from './percent.ts';
import type { Pki } from './pki.ts';
import type { Sessions } from './sessions.ts';
import { type Reply, type ShadowService, shadowNamePattern, thingNamePattern } from './shadow-service.ts';
import { type SigV4Problem, verifySigV4 } from './sigv4.ts';

export interface DataPlaneOptions {
  pki: Pki;
  shadows: ShadowService;
  sessions: Sessions;
  port?: number;
}

export interface DataPlane {
  readonly port: number;
  close(): Promise<void>;
}

/** The developer guide signs as one, the SDKs' models as the other. */
const signingNames = ['iotdata', 'iotdevicegateway'];

/** Requests are bounded by what MQTT allows; documents are far smaller. */
const maxBodyBytes = 128 * 1024;

const errorTypes = new Map([
  [400, 'InvalidRequestException'],
  [401, 'UnauthorizedException'],
  [404, 'ResourceNotFoundException'],
  [405, 'MethodNotAllowedException'],
  [409, 'ConflictException'],
  [413, 'RequestEntityTooLargeException'],
  [415, 'UnsupportedDocumentEncodingException'],
  [429, 'ThrottlingException'],
  [500, 'InternalFailureException'],
]);

const mismatch = {
  errorType: 'InvalidSignatureException',
  message:
    'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.',
};
const unknownToken = {
  errorType: 'UnrecognizedClientException',
  message: 'The security token included in the request is invalid.',
};
const signatureErrors: Record<SigV4Problem, { errorType: string; message: string }> = {
  MissingAuthentication: {
    errorType: 'MissingAuthenticationTokenException',
    message: 'Missing Authentication Token',
  },
  IncompleteSignature: {
    errorType: 'IncompleteSignatureException',
    message: 'The Authorization header or x-amz-date is malformed.',
  },
  UnknownAccessKey: unknownToken,
  InvalidToken: unknownToken,
  ExpiredToken: {
    errorType: 'ExpiredTokenException',
    message: 'The security token included in the request is expired',
  },
  SkewedClock: {
    errorType: 'InvalidSignatureException',
    message: 'Signature expired: x-amz-date is more than 15 minutes from the time of the server.',
  },
  WrongService: {
    errorType: 'InvalidSignatureException',
    message: `Credential should be scoped to correct service: '${signingNames.join("' or '")}'.`,
  },
  BodyHashMismatch: mismatch,
  SignatureDoesNotMatch: mismatch,
};

/** Starts the IoT data-plane HTTPS API: shadows, for holders of long-term keys. */
export async function startDataPlane(options: DataPlaneOptions): Promise<DataPlane> {
  const { pki, port = 0 } = options;
  return serveHttps({ pki, port, mutual: false }, (request, response) => {
    answerTo(options, request).then(
      (answer) => sendAnswer(response, answer),
      () => response.destroy(),
    );
  });
}

async function answerTo(options: DataPlaneOptions, request: IncomingMessage): Promise<HttpAnswer> {
  const body = await readBody(request);
  if (body === undefined) return failure(413, 'The payload exceeds the maximum size allowed');
  const verified = await verifySigV4(
    {
      method: request.method ?? '',
      rawUrl: request.url ?? '',
      headers: headersOf(request),
      bodyHash: createHash('sha256').update(body).digest('hex'),
    },
    { service: signingNames, sessions: options.sessions, nowMs: Date.now() },
  );
  if (!verified.ok) {
    const { errorType, message } = signatureErrors[verified.code];
    return { status: 403, errorType, body: { message } };
  }
  // The role behind the alias may read its objects, not write shadows.
  if (verified.session.sessionToken !== undefined) {
    return { status: 403, errorType: 'ForbiddenException', body: { message: 'Forbidden' } };
  }
  return route(options.shadows, request.method ?? '', request.url ?? '', body);
}

function route(shadows: ShadowService, method: string, rawUrl: string, body: Uint8Array): HttpAnswer {
  const { pathname, searchParams } = new URL(rawUrl, 'https://data-plane.invalid');
  const [, shadowOf, namesOf] =
    /^\/(?:things\/([^/]+)\/shadow|api\/things\/shadow\/ListNamedShadowsForThing\/([^/]+))$/.exec(pathname) ??
    [];
  const thingName = percentDecoded(shadowOf ?? namesOf ?? '');
  const shadowName = searchParams.get('name') ?? undefined;
  if (shadowOf === undefined && namesOf === undefined) return failure(404, 'Not Found');
  if (!thingNamePattern.test(thingName)) return failure(400, 'Invalid thing name');
  if (shadowName !== undefined && !shadowNamePattern.test(shadowName))
    return failure(400, 'Invalid shadow name');
  if (namesOf !== undefined) {
    return method === 'GET' ? listPage(shadows, thingName, searchParams) : methodNotAllowed(method);
  }
  if (method === 'GET') return answerOf(shadows.get(thingName, shadowName));
  if (method === 'POST') return answerOf(shadows.update(thingName, shadowName, body));
  if (method === 'DELETE') return answerOf(shadows.delete(thingName, shadowName));
  return methodNotAllowed(method);
}

function listPage(shadows: ShadowService, thingName: string, query: URLSearchParams): HttpAnswer {
  const pageSize = Number(query.get('pageSize') ?? 25);
  const start = Number(query.get('nextToken') ?? 0);
  if (!Number.isInteger(pageSize) || pageSize < 1 || pageSize > 100) return failure(400, 'Invalid page size');
  if (!Number.isInteger(start) || start < 0) return failure(400, 'Invalid next token');
  const names = shadows.listNamedShadows(thingName);
  const end = start + pageSize;
  const more = end < names.length ? { nextToken: String(end) } : {};
  const timestamp = Math.floor(Date.now() / 1000);
  return { status: 200, body: { results: names.slice(start, end), timestamp, ...more } };
}

function answerOf(reply: Reply): HttpAnswer {
  return reply.ok ? { status: 200, body: reply.body } : failure(reply.code, reply.message);
}

function methodNotAllowed(method: string): HttpAnswer {
  return failure(405, `The method ${method} is not allowed`);
}

function failure(status: number, message: string): HttpAnswer {
  return { status, errorType: errorTypes.get(status) ?? 'InternalFailureException', body: { message } };
}

/** The whole body, or undefined when it is too large; the rest is read and dropped, so that the answer gets out. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= maxBodyBytes) chunks.push(chunk);
  }
  return size > maxBodyBytes ? undefined : Buffer.concat(chunks);
}

function headersOf(request: IncomingMessage): Record<string, string> {
  const single = Object.entries(request.headers).map(([name, value]): [string, string] => [
    name,
    Array.isArray(value) ? value.join(',') : (value ?? ''),
  ]);
  return Object.fromEntries(single);
}
