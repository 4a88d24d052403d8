import type { IncomingMessage, ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { Faults } from './faults.ts';
import { type HttpAnswer, sendAnswer, serveHttps } from './https-server.ts';
import { percentDecoded } from './percent.ts';
import type { Pki } from './pki.ts';
import { remember } from './ring.ts';
import type { Sessions } from './sessions.ts';
import type { DeviceCertificate, Things } from './things.ts';

export interface RoleAlias {
  /** credentialDurationSeconds of the alias: 900 to 43200 with AWS, 3600 unless told. */
  durationSeconds?: number;
  /** False: the role is missing, or its trust policy lacks credentials.iot.amazonaws.com. */
  roleExists?: boolean;
  /** MaxSessionDuration of the role. */
  maxDurationSeconds?: number;
}

export interface CredentialsProviderOptions {
  pki: Pki;
  things: Things;
  sessions: Sessions;
  faults: Faults;
  /** Role aliases by name; may change while the server runs. */
  roleAliases: ReadonlyMap<string, RoleAlias>;
  port?: number;
}

export interface CredentialsRequest {
  path: string;
  thingName?: string;
  /** Absent while `credentials-stall` or `credentials-refuse` keeps the answer back. */
  status?: number;
}

export interface CredentialsProvider {
  readonly port: number;
  /** The newest requests, 1000 at most. */
  readonly requests: readonly CredentialsRequest[];
  close(): Promise<void>;
}

/** Starts the endpoint that trades a device certificate for temporary credentials. */
export async function startCredentialsProvider(
  options: CredentialsProviderOptions,
): Promise<CredentialsProvider> {
  const { pki, port = 0 } = options;
  const requests: CredentialsRequest[] = [];
  const listener = await serveHttps({ pki, port, mutual: true }, (request, response) =>
    handle(options, requests, request, response),
  );
  return { port: listener.port, requests, close: listener.close };
}

function handle(
  options: CredentialsProviderOptions,
  requests: CredentialsRequest[],
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { faults } = options;
  const thingName = request.headers['x-amzn-iot-thingname'];
  const entry: CredentialsRequest = {
    path: request.url ?? '',
    ...(typeof thingName === 'string' ? { thingName } : {}),
  };
  remember(requests, entry);
  if (faults.take('credentials-refuse') !== undefined) {
    request.socket.destroy();
    return;
  }
  if (faults.take('credentials-stall') !== undefined) return;
  const nowMs = Date.now() + (faults.take('credentials-skew') ?? 0) * 1000;
  const answer = refusal(faults) ?? answerTo(options, request, entry, nowMs);
  entry.status = answer.status;
  sendAnswer(response, answer, nowMs);
}

function refusal(faults: Faults): HttpAnswer | undefined {
  if (faults.take('credentials-503') !== undefined) {
    return failure(503, 'ServiceUnavailableException', 'Service Unavailable');
  }
  const status = faults.take('credentials-reject');
  return status === undefined
    ? undefined
    : failure(status, 'InternalFailureException', 'Refused by the sandbox');
}

/** The order of the checks is AWS's: authorization is looked at before the alias is. */
function answerTo(
  { things, sessions, faults, roleAliases }: CredentialsProviderOptions,
  request: IncomingMessage,
  { path, thingName }: CredentialsRequest,
  nowMs: number,
): HttpAnswer {
  const certificate = certificateOf(request, things);
  if (certificate === undefined) return denied('Certificate is invalid on this endpoint');
  const aliasName = /^\/role-aliases\/([^/?]+)\/credentials$/.exec(path)?.[1];
  if (request.method !== 'GET' || aliasName === undefined) {
    return failure(404, 'ResourceNotFoundException', 'Not Found');
  }
  if (thingName !== undefined && !certificate.things.has(thingName))
    return denied('Invalid thing name passed');
  if (!certificate.assumeRole) return denied('Access Denied');
  const alias = roleAliases.get(percentDecoded(aliasName));
  if (alias === undefined) return failure(404, 'ResourceNotFoundException', 'Role alias does not exist');
  if (alias.roleExists === false) {
    return invalid('Unable to assume the role, or the role to assume does not exist');
  }
  const durationSeconds = alias.durationSeconds ?? 3600;
  if (durationSeconds > (alias.maxDurationSeconds ?? Number.POSITIVE_INFINITY)) {
    return invalid('The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role');
  }

  const livesSeconds = faults.take('credentials-expire') ?? durationSeconds;
  const endAfter = (startMs: number) => Math.floor(startMs / 1000 + livesSeconds) * 1000;
  // A shifted clock stands for a client whose clock is wrong: that does not make its session older.
  const { accessKeyId, secretAccessKey, sessionToken } = sessions.issue(thingName, endAfter(Date.now()));
  const expiration = new Date(endAfter(nowMs)).toISOString().replace('.000Z', 'Z');
  return { status: 200, body: { credentials: { accessKeyId, secretAccessKey, sessionToken, expiration } } };
}

function certificateOf(request: IncomingMessage, things: Things): DeviceCertificate | undefined {
  return request.socket instanceof TLSSocket
    ? things.find(request.socket.getPeerCertificate().raw)
    : undefined;
}

function denied(message: string): HttpAnswer {
  return failure(403, 'AccessDeniedException', message);
}

function invalid(message: string): HttpAnswer {
  return failure(400, 'InvalidRequestException', message);
}

function failure(status: number, errorType: string, message: string): HttpAnswer {
  return { status, errorType, body: { message } };
}
