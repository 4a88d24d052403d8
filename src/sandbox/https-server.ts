import { randomUUID } from 'node:crypto';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { JsonObject } from '../core/json.ts';
import { listenTls, type TlsListener, type TlsListenerOptions } from './tls-listener.ts';

/**
 * Serves HTTP/1.1 over TLS. The TLS listener is our own, since request sockets of an `https` server do not tell the
 * client's certificate on every runtime.
 */
export async function serveHttps(
  options: Omit<TlsListenerOptions, 'alpnProtocols'>,
  onRequest: RequestListener,
): Promise<TlsListener> {
  const http = createServer(onRequest);
  return listenTls({ ...options, alpnProtocols: ['http/1.1', 'x-amzn-http-ca'] }, (socket) => {
    http.emit('connection', socket);
  });
}

/** An answer as AWS IoT's HTTPS endpoints give it: errors name their type in a header. */
export interface HttpAnswer {
  status: number;
  errorType?: string;
  body: JsonObject;
}

/** Sends an answer with a request id and, unless told, the date of now. */
export function sendAnswer(
  response: ServerResponse,
  { status, errorType, body }: HttpAnswer,
  nowMs = Date.now(),
): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    date: new Date(nowMs).toUTCString(),
    'x-amzn-RequestId': randomUUID(),
    ...(errorType === undefined ? {} : { 'x-amzn-ErrorType': errorType }),
  });
  response.end(text);
}
