/** One TLS connection that is made only to see whether it can be, and how long it takes. */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { AgentError } from '../core/errors.ts';
import { networkError } from './http.ts';

export interface HandshakeOptions {
  host: string;
  port: number;
  /** PEM texts of the roots that are trusted, and no others. */
  ca: string[];
  cert?: string;
  key?: string;
  /** Protocol to ask for by ALPN. */
  alpn?: string;
}

export interface Handshake {
  /** `TLSv1.3` */
  protocol: string;
  /** What the server chose by ALPN. */
  alpn: string | undefined;
  tcpMs: number;
  tlsMs: number;
}

/**
 * Connects, and hangs up.
 *
 * @throws AgentError NETWORK, with the issuer of a server's certificate that is not trusted: a proxy that looks into
 * TLS shows by its name. The signal's reason when it is aborted
 */
export async function handshake(options: HandshakeOptions, signal: AbortSignal): Promise<Handshake> {
  const { host, port } = options;
  const startedMs = performance.now();
  const tcp = await opened(
    connectTcp({ host, port }),
    'connect',
    `No TCP connection to ${host}:${port}`,
    signal,
  );
  const tcpMs = performance.now() - startedMs;
  try {
    const secure = await opened(
      overTls(tcp, options),
      'secureConnect',
      `No TLS with ${host}:${port}`,
      signal,
    );
    const tlsMs = performance.now() - startedMs - tcpMs;
    const alpn = secure.alpnProtocol === false ? undefined : (secure.alpnProtocol ?? undefined);
    return { protocol: secure.getProtocol() ?? 'TLS', alpn, tcpMs, tlsMs };
  } catch (error) {
    if (signal.aborted || !(error instanceof AgentError) || error.hint === undefined) throw error;
    const issuer = await issuerAt(options, signal).catch(() => undefined);
    if (issuer === undefined) throw error;
    throw new AgentError('NETWORK', `${error.message}; its certificate was issued by "${issuer}"`, {
      cause: error,
      hint: error.hint,
    });
  } finally {
    tcp.destroy();
  }
}

function overTls(socket: Socket, { host, ca, cert, key, alpn }: HandshakeOptions): TLSSocket {
  return connectTls({
    socket,
    host,
    ca,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(alpn === undefined ? {} : { ALPNProtocols: [alpn] }),
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
  });
}

/** Who issued the certificate that a server shows. Nothing is sent to it, and nothing it says is believed. */
async function issuerAt({ host, port }: HandshakeOptions, signal: AbortSignal): Promise<string | undefined> {
  const socket = connectTls({
    host,
    port,
    rejectUnauthorized: false,
    ...(isIP(host) === 0 ? { servername: host } : {}),
  });
  try {
    const { issuer } = (await opened(socket, 'secureConnect', '', signal)).getPeerCertificate();
    const name: unknown = issuer.CN ?? issuer.O;
    return typeof name === 'string' ? name : undefined;
  } finally {
    socket.destroy();
  }
}

function opened<T extends Socket>(socket: T, event: string, what: string, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => socket.destroy(new Error('aborted'));
    signal.addEventListener('abort', abort);
    socket.once(event, () => {
      signal.removeEventListener('abort', abort);
      resolve(socket);
    });
    socket.on('error', (error) => reject(networkError(error, what, signal)));
    socket.once('close', () => reject(networkError(new Error('the server closed it'), what, signal)));
  });
}
