import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type HttpAnswer, sendAnswer, serveHttps } from './https-server.ts';
import type { Pki } from './pki.ts';
import type { Session, Sessions } from './sessions.ts';
import { type SigV4Problem, verifySigV4 } from './sigv4.ts';
import type { TlsListener } from './tls-listener.ts';

export interface SignedApiOptions {
  pki: Pki;
  sessions: Sessions;
  port?: number;
  /** Names that requests may be signed for, such as `iotdata`. */
  signingNames: readonly string[];
}

/** A request whose signature is good. */
export interface ApiRequest {
  method: string;
  url: URL;
  /** By lower-case name. */
  headers: Readonly<Record<string, string>>;
  body: Uint8Array;
  session: Session;
}

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
    message: 'Credential should be scoped to the correct service.',
  },
  BodyHashMismatch: mismatch,
  SignatureDoesNotMatch: mismatch,
};

/** Serves an API of AWS over HTTPS whose requests are signed with SigV4 in a header. */
export async function serveSignedApi(
  options: SignedApiOptions,
  answer: (request: ApiRequest) => HttpAnswer,
): Promise<TlsListener> {
  const { pki, port = 0 } = options;
  return serveHttps({ pki, port, mutual: false }, (request, response) => {
    answerTo(options, request, answer).then(
      (answered) => sendAnswer(response, answered),
      () => response.destroy(),
    );
  });
}

async function answerTo(
  { signingNames, sessions }: SignedApiOptions,
  request: IncomingMessage,
  answer: (request: ApiRequest) => HttpAnswer,
): Promise<HttpAnswer> {
  const { method = '', url: rawUrl = '' } = request;
  const headers = headersOf(request);
  const body = await readBody(request);
  if (body === undefined) return failure(413, 'The payload exceeds the maximum size allowed');
  const bodyHash = createHash('sha256').update(body).digest('hex');
  const verified = await verifySigV4(
    { method, rawUrl, headers, bodyHash },
    { service: signingNames, sessions, nowMs: Date.now() },
  );
  if (!verified.ok) {
    const { errorType, message } = signatureErrors[verified.code];
    return { status: 403, errorType, body: { message } };
  }
  const url = new URL(rawUrl, 'https://sandbox.invalid');
  return answer({ method, url, headers, body, session: verified.session });
}

/** An error as AWS's APIs answer it: its type, by the status, in a header, and a message. */
export function failure(status: number, message: string): HttpAnswer {
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
