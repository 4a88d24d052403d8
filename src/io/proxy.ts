import { BlockList, isIP } from 'node:net';
import type { Secret } from '../core/credentials.ts';
import { protectLogin } from '../core/secrets.ts';

/** A forward proxy that carries TLS by HTTP CONNECT. */
export interface ForwardProxy {
  host: string;
  port: number;
  /** For Basic authentication. */
  login?: { user: string; password: Secret };
}

/** Which proxy leads to which servers. */
export interface ProxyRules {
  proxy?: ForwardProxy;
  /** Hosts that are reached without it: entries of NO_PROXY. */
  except: readonly string[];
  /** The variable of the environment that they are from. */
  variable?: string;
}

/** The proxy that leads to a server; undefined where it is reached directly. */
export type Route = (host: string, port: number) => ForwardProxy | undefined;

/** Parts the text of NO_PROXY into its entries. */
export function parseNoProxy(text: string): string[] {
  return text.split(/[\s,]+/).filter((entry) => entry !== '');
}

/** The route by these rules; from now on the password is kept out of the log. */
export function routeBy({ proxy, except }: ProxyRules): Route {
  if (proxy?.login !== undefined) protectLogin(proxy.login.user, proxy.login.password.reveal());
  return (host, port) => (except.some((entry) => isExcepted(entry, host, port)) ? undefined : proxy);
}

/**
 * `*`, a host with what lies below it (`.` or `*.` in front and a dot behind change nothing), an address or a CIDR block,
 * in brackets or not; each may end in a port. Source: curl(1), NO_PROXY.
 */
function isExcepted(entry: string, host: string, port: number): boolean {
  const [, place = '', ofPort] = /^(.*?)(?::(\d+))?$/.exec(isIP(entry) === 6 ? `[${entry}]` : entry) ?? [];
  if (ofPort !== undefined && Number(ofPort) !== port) return false;
  if (place === '*') return true;
  const name = place.toLowerCase().replace(/[[\]]|^\*?\.|\.$/g, '');
  const family = isIP(host);
  if (family !== 0) return isInBlock(name, host, family === 4 ? 'ipv4' : 'ipv6');
  return name !== '' && (host === name || host.endsWith(`.${name}`));
}

function isInBlock(block: string, host: string, family: 'ipv4' | 'ipv6'): boolean {
  const longest = family === 'ipv4' ? 32 : 128;
  const [address = '', bits = String(longest)] = block.split('/');
  if (isIP(address) !== isIP(host) || !/^\d{1,3}$/.test(bits) || Number(bits) > longest) return false;
  const list = new BlockList();
  list.addSubnet(address, Number(bits), family);
  return list.check(host, family);
}

/** A server could not be reached; the message is what comes behind "Cannot connect to …: ". */
export class Unreachable extends Error {
  readonly hint?: string;

  constructor(message: string, options: { hint?: string | undefined; cause?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

/** ` through the proxy host:port`, behind what names a server. */
export function through(proxy: ForwardProxy | undefined): string {
  return proxy === undefined ? '' : ` through the proxy ${placeOf(proxy)}`;
}

function placeOf({ host, port }: ForwardProxy): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/** What to do about an answer that does not come; nothing is known where no proxy is on the way. */
export function silenceHint(proxy: ForwardProxy | undefined): { hint?: string } {
  if (proxy === undefined) return {};
  const to = 'allows CONNECT to this host and port, and reaches it';
  return { hint: `the proxy ${placeOf(proxy)} or what lies behind it is silent: check whether it ${to}` };
}

/** A proxy that ends the connection in the place of an answer to CONNECT. */
export function proxyCut(cause?: unknown): Unreachable {
  const hint = 'check whether the proxy allows CONNECT to this host and port, and reaches it';
  return new Unreachable('the proxy closed the connection without an answer', { hint, cause });
}

/** The end of a connection of which it is not known whether the tunnel stood, or that ended right behind it. */
export function cutBehind(cause: unknown): Unreachable {
  return new Unreachable('the connection was closed, by the proxy or behind it: ECONNRESET', {
    hint: 'check whether the proxy allows CONNECT to this host and port, and reaches it',
    cause,
  });
}

/** Whether what came in the place of a TLS handshake was something else, in the words of OpenSSL and of the runtime. */
export function isNoTls(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? String(error.code) : '';
  return /WRONG_VERSION_NUMBER|ERR_SSL_(?:HTTP_REQUEST|UNEXPECTED_MESSAGE|PACKET_LENGTH|BAD_)|EPROTO/.test(
    code,
  );
}

/** What comes behind the proxy's answer is not the server's. */
export function noTlsBehind(cause?: unknown): Unreachable {
  return new Unreachable('what comes through the proxy is no TLS', {
    hint: 'check whether the proxy allows CONNECT to this host and port, and leaves what it carries as it is',
    cause,
  });
}

/** What answers in the proxy's place speaks something else, or does not come to an end. */
export function notProxy(cause?: unknown): Unreachable {
  return new Unreachable('what answers is no HTTP proxy', {
    hint: 'check host and port of the proxy',
    cause,
  });
}

/** What a proxy's answer to CONNECT means where it is no 2xx. */
export function proxyRefusal(proxy: ForwardProxy, status: number): Unreachable {
  const hint =
    // tinyproxy says 401 of a wrong password.
    status === 407 || status === 401
      ? `the proxy wants ${proxy.login === undefined ? 'a user and password' : 'another user or password'}: set them in "proxy", in front of the host and an @, as user:password`
      : status === 403
        ? 'let the proxy allow CONNECT to this host and port'
        : 'check whether the proxy reaches this host and port';
  return new Unreachable(`the proxy answers ${status}`, { hint });
}
