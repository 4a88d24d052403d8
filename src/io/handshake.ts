/** One TLS connection that is made only to see whether it can be, and how long it takes. */
import { isIP } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Place } from '../core/connection-hints.ts';
import { AgentError } from '../core/errors.ts';
import { authority, networkError } from './http.ts';
import { through } from './proxy.ts';
import { openSecure, type SecureOptions } from './socket.ts';

export interface Handshake {
  /** `TLSv1.3` */
  protocol: string;
  /** What the server chose by ALPN. */
  alpn: string | undefined;
  milliseconds: number;
}

const limits = { tcpMs: 8_000, proxyMs: 8_000, tlsMs: 8_000 };

/**
 * Connects, and hangs up.
 *
 * @throws AgentError NETWORK, with the issuer of a server's certificate that is not trusted: what looks into TLS on the
 * way shows by its name. The signal's reason when it is aborted
 */
export async function handshake(
  options: SecureOptions,
  place: Place,
  signal: AbortSignal,
): Promise<Handshake> {
  const { host, port, proxy } = options;
  const startedMs = performance.now();
  try {
    const socket = await openSecure({ ...options, limits }, signal);
    const milliseconds = performance.now() - startedMs;
    const alpn = socket.alpnProtocol === false ? undefined : (socket.alpnProtocol ?? undefined);
    const protocol = socket.getProtocol() ?? 'TLS';
    socket.destroy();
    return { protocol, alpn, milliseconds };
  } catch (error) {
    const what = `No connection to ${authority(host, port)}${through(proxy)}`;
    const told = networkError(error, what, signal, 'NETWORK', place);
    // Behind a proxy the second look would need a tunnel of its own.
    if (!(told instanceof AgentError) || told.hint === undefined || proxy !== undefined) throw told;
    const issuer = await issuerAt(options, signal);
    if (issuer === undefined) throw told;
    throw new AgentError('NETWORK', `${told.message}; its certificate was issued by "${issuer}"`, {
      cause: told,
      hint: told.hint,
    });
  }
}

/** Who issued the certificate that a server shows. Nothing is sent to it, and nothing it says is believed. */
function issuerAt({ host, port }: SecureOptions, signal: AbortSignal): Promise<string | undefined> {
  const socket = connectTls({
    host,
    port,
    rejectUnauthorized: false,
    ...(isIP(host) === 0 ? { servername: host } : {}),
  });
  const issuer = new Promise<string | undefined>((resolve) => {
    socket.once('secureConnect', () => {
      const { CN, O } = socket.getPeerCertificate().issuer;
      const name: unknown = CN ?? O;
      resolve(typeof name === 'string' ? name : undefined);
    });
    socket.on('error', () => resolve(undefined));
    socket.once('close', () => resolve(undefined));
    signal.addEventListener('abort', () => resolve(undefined));
  });
  return issuer.finally(() => socket.destroy());
}
