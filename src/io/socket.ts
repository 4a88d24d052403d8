/** Connections for MQTT: by TCP or through a proxy, then TLS. Each step has a limit and says what it waited for. */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { authority } from './http.ts';
import {
  cutBehind,
  type ForwardProxy,
  isNoTls,
  noTlsBehind,
  notProxy,
  proxyCut,
  proxyRefusal,
  Unreachable,
} from './proxy.ts';

export interface SecureOptions {
  host: string;
  port: number;
  proxy?: ForwardProxy | undefined;
  alpnProtocols?: string[];
  /** PEM texts; without certificate and key none is shown. */
  cert?: string;
  key?: string;
  ca: string | string[];
  limits?: SocketLimits;
}

/** How long each step may take, ms. */
export interface SocketLimits {
  tcpMs: number;
  proxyMs: number;
  tlsMs: number;
}

const usualLimits: SocketLimits = { tcpMs: 10_000, proxyMs: 10_000, tlsMs: 15_000 };
const maxProxyAnswerBytes = 16 * 1024;

/**
 * Opens a TLS connection of version 1.2 or later, with the server's chain and name checked and the client's
 * certificate shown. All addresses of a name are tried, IPv6 and IPv4, each a quarter of a second after the one before.
 *
 * @throws Unreachable why there is no connection; the signal's reason when it is aborted
 */
export async function openSecure(options: SecureOptions, signal: AbortSignal): Promise<TLSSocket> {
  const { host, port, proxy, limits = usualLimits } = options;
  const socket = await openTcp(proxy ?? { host, port }, limits, signal).catch((error: unknown) => {
    if (proxy === undefined || signal.aborted) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    const hint = 'check host and port of the proxy';
    throw new Unreachable(`the proxy cannot be reached: ${reason}`, { hint, cause: error });
  });
  try {
    if (proxy === undefined) return await startTls(socket, options, limits, signal);
    await openTunnel(socket, options, proxy, limits, signal);
    return await startTls(socket, options, limits, signal).catch((error: unknown) => {
      if (error instanceof ClosedInHandshake || isReset(error)) throw cutBehind(error);
      throw isNoTls(error) ? noTlsBehind(error) : error;
    });
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

async function openTcp(
  { host, port }: { host: string; port: number },
  { tcpMs }: SocketLimits,
  signal: AbortSignal,
): Promise<Socket> {
  signal.throwIfAborted();
  const socket = connectTcp({ host, port, autoSelectFamily: true, autoSelectFamilyAttemptTimeout: 250 });
  let isNamed = isIP(host) !== 0;
  socket.once('lookup', () => {
    isNamed = true;
  });
  const late = () => (isNamed ? new Unreachable(`no connection in ${tcpMs / 1000} s`) : noName(host, tcpMs));
  try {
    await step(socket, signal, tcpMs, late, (resolve) => {
      socket.once('connect', resolve);
    });
    socket.setNoDelay(true);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function noName(host: string, tcpMs: number): Unreachable {
  return new Unreachable(`the name service did not tell the address of ${host} in ${tcpMs / 1000} s`, {
    hint: 'check the name service of this device (its addresses in /etc/resolv.conf), and the way to it',
  });
}

/** Asks the proxy for a way to the server. Source: RFC 9110, CONNECT. */
async function openTunnel(
  socket: Socket,
  { host, port }: SecureOptions,
  proxy: ForwardProxy,
  { proxyMs }: SocketLimits,
  signal: AbortSignal,
): Promise<void> {
  const to = authority(host, port);
  const { login } = proxy;
  const lines = [`CONNECT ${to} HTTP/1.1`, `Host: ${to}`];
  if (login !== undefined) lines.push(`Proxy-Authorization: ${basic(login.user, login.password.reveal())}`);
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  const answer = await step<string>(
    socket,
    signal,
    proxyMs,
    `the proxy did not answer in ${proxyMs / 1000} s`,
    (resolve, reject) => {
      let text = '';
      let bytes = 0;
      const read = (chunk: Buffer) => {
        text = withoutInterim(text + chunk.toString('latin1'));
        bytes += chunk.length;
        if (!text.includes('\r\n\r\n') && mayBeHttp(text) && bytes < maxProxyAnswerBytes) return;
        socket.off('data', read);
        socket.pause();
        resolve(text);
      };
      socket.on('data', read);
      socket.once('close', () => reject(bytes === 0 ? proxyCut() : notProxy()));
    },
  ).catch((error: unknown) => {
    throw isReset(error) ? proxyCut(error) : error;
  });
  const status = /^HTTP\/1\.[01] (\d{3})[ \r]/.exec(answer)?.[1];
  // What comes behind an unfinished head would be taken for the server's.
  if (status === undefined || !answer.includes('\r\n\r\n')) throw notProxy();
  if (!status.startsWith('2')) throw proxyRefusal(proxy, Number(status));
  // In TLS the client speaks first.
  if (!answer.endsWith('\r\n\r\n')) throw noTlsBehind();
}

/** Without answers that another one follows. Source: RFC 9110, 15.2. */
function withoutInterim(text: string): string {
  return text.replace(/^(?:HTTP\/1\.[01] 1\d\d[ \r](?:(?!\r\n\r\n)[\s\S])*\r\n\r\n)+/, '');
}

function mayBeHttp(text: string): boolean {
  return 'HTTP/1.'.startsWith(text.slice(0, 7));
}

/** The credentials of Basic authentication. Source: RFC 7617. */
function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

class ClosedInHandshake extends Unreachable {
  constructor() {
    super('the connection was closed in the TLS handshake');
  }
}

function isReset(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ECONNRESET';
}

async function startTls(
  socket: Socket,
  { host, alpnProtocols, cert, key, ca }: SecureOptions,
  { tlsMs }: SocketLimits,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const secure = connectTls({
    socket,
    host,
    ca,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    minVersion: 'TLSv1.2',
    // An explicit `true` outranks NODE_TLS_REJECT_UNAUTHORIZED.
    rejectUnauthorized: true,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(alpnProtocols === undefined ? {} : { ALPNProtocols: alpnProtocols }),
  });
  try {
    await step(secure, signal, tlsMs, `no TLS handshake in ${tlsMs / 1000} s`, (resolve, reject) => {
      secure.once('secureConnect', () => {
        if (secure.authorized) resolve(undefined);
        else reject(secure.authorizationError ?? new Error('the server is not trusted'));
      });
      secure.once('close', () => reject(new ClosedInHandshake()));
    });
    return secure;
  } catch (error) {
    secure.destroy();
    throw error;
  }
}

type Settle<T> = (resolve: (value: T | PromiseLike<T>) => void, reject: (error: unknown) => void) => void;

/** Waits for one step; an error of the socket, the limit or the signal ends it. */
async function step<T>(
  socket: Socket,
  signal: AbortSignal,
  limitMs: number,
  late: string | (() => Unreachable),
  wait: Settle<T>,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const abort = () => reject(signal.reason);
  const end = () => reject(typeof late === 'string' ? new Unreachable(late) : late());
  const timer = setTimeout(end, limitMs);
  signal.addEventListener('abort', abort);
  // A socket without a listener would end the process; the first reason is the one that is told.
  socket.on('error', reject);
  if (signal.aborted) abort();
  try {
    wait(resolve, reject);
    return await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}
