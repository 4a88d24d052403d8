/** The only file that knows which runtime this is: Bun, Deno or Node. */
import { getCACertificates, rootCertificates } from 'node:tls';
import { serverOf } from './http.ts';
import {
  cutBehind,
  type ForwardProxy,
  isNoTls,
  noTlsBehind,
  notProxy,
  proxyRefusal,
  type Route,
  Unreachable,
} from './proxy.ts';

/** Certificates of one kind of server. PEM texts. */
export interface TlsIdentity {
  /** Trusted in the place of the bundled roots (Deno can only add them). */
  ca?: string[];
  cert?: string;
  key?: string;
}

/** How one fetch is to be made. */
export interface FetchOptions {
  headers: Headers;
  signal: AbortSignal;
  /** Where the connection may come from and goes back to. */
  pool?: Pool;
}

/** Connections for requests to one server that follow each other closely. Deno has none: each request has its own. */
export class Pool {
  #session: Bun.FetchSession | undefined;

  /** What a fetch takes besides. The certificates are parsed once. */
  options({ tls, ...rest }: BunFetchRequestInit): BunFetchRequestInit {
    this.#session ??= new Bun.FetchSession({ tls });
    return { ...rest, keepalive: true, session: this.#session };
  }

  /** Ends connections that are idle. */
  close(): void {
    this.#session?.close();
  }
}

/** A GET over one kind of connection. */
export interface Fetch {
  (url: string, options: FetchOptions): Promise<Response>;
  /** The proxy on the way; absent where there never is one. */
  route?: Route;
}

interface DenoNamespace {
  createHttpClient(options: {
    caCerts?: string[];
    cert?: string;
    key?: string;
    proxy?: { url: string; basicAuth?: { username: string; password: string } };
    poolMaxIdlePerHost: number;
  }): object;
}

const deno: DenoNamespace | undefined = Reflect.get(globalThis, 'Deno');

/**
 * Makes a fetch for one kind of server: own roots and client certificate, no pooled connection (a half-open one
 * would hang) but of a given pool, redirects handed back, bodies as they are on the wire, and the proxy that the route says, whatever the
 * environment does. Certificates that may be replaced are asked for at each request.
 *
 * Bodies: Bun decodes Content-Encoding unless `decompress` is false, Deno unless Accept-Encoding says identity; both
 * are set, the header after signing, as it must not be signed.
 */
export function createFetch(
  tls: TlsIdentity | (() => Promise<TlsIdentity>),
  route: Route = () => undefined,
): Fetch {
  const transport = deno === undefined ? bunTransport : denoTransport(deno);
  const get = async (url: string, { headers, signal, pool }: FetchOptions) => {
    headers.set('accept-encoding', 'identity');
    const identity = typeof tls === 'function' ? await tls() : tls;
    const { host, port } = serverOf(new URL(url));
    const proxy = route(host, port);
    const options = transport(identity, proxy);
    try {
      return await fetch(url, {
        ...(pool === undefined || deno !== undefined ? options : pool.options(options)),
        headers,
        signal,
        redirect: 'manual',
      });
    } catch (error) {
      throw proxy === undefined || signal.aborted ? error : proxyError(error, proxy);
    }
  };
  return Object.assign(get, { route });
}

/** What a fetch takes besides, in the words of the runtime. */
type Transport = (tls: TlsIdentity, proxy: ForwardProxy | undefined) => object;

const bunTransport: Transport = (tls, proxy): BunFetchRequestInit => ({
  decompress: false,
  keepalive: false,
  timeout: false,
  // Outranks BUN_CONFIG_VERBOSE_FETCH, which prints the session token.
  verbose: false,
  // Both outrank HTTPS_PROXY and NO_PROXY of the environment.
  proxy: proxy === undefined ? false : { url: urlOf(proxy), respectNoProxy: false },
  // An explicit `true` outranks NODE_TLS_REJECT_UNAUTHORIZED.
  tls: { ...tls, rejectUnauthorized: true },
});

function urlOf({ host, port, login }: ForwardProxy): string {
  const user = login === undefined ? '' : `${quoted(login.user)}:${quoted(login.password.reveal())}@`;
  return `http://${user}${host.includes(':') ? `[${host}]` : host}:${port}`;
}

const quoted = encodeURIComponent;

/** Deno's clients read the environment when they are made, and again at each request; the configuration has read it. */
const proxyVariables = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY'];

function denoTransport({ createHttpClient }: DenoNamespace): Transport {
  for (const name of proxyVariables) {
    delete process.env[name];
    delete process.env[name.toLowerCase()];
  }
  const clients = new Map<ForwardProxy | undefined, { tls: TlsIdentity; client: object }>();
  return (tls, proxy) => {
    const kept = clients.get(proxy);
    if (kept?.tls === tls) return { client: kept.client };
    const { ca, cert, key } = tls;
    const client = createHttpClient({
      ...(ca === undefined ? {} : { caCerts: ca }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
      ...(proxy === undefined ? {} : { proxy: denoProxy(proxy) }),
      poolMaxIdlePerHost: 0,
    });
    clients.set(proxy, { tls, client });
    return { client };
  };
}

function denoProxy(proxy: ForwardProxy) {
  const { login, ...rest } = proxy;
  const basicAuth =
    login === undefined ? {} : { basicAuth: { username: login.user, password: login.password.reveal() } };
  return { url: urlOf(rest), ...basicAuth };
}

/** Tells what the proxy refused, and that it was the proxy that could not be reached. */
function proxyError(error: unknown, proxy: ForwardProxy): unknown {
  if (!(error instanceof Error)) return error;
  const code = 'code' in error ? error.code : undefined;
  if (code === 'ERR_PROXY_TUNNEL' && 'status' in error) return proxyRefusal(proxy, Number(error.status));
  if (code === 'Malformed_HTTP_Response') return notProxy(error);
  if (code === 'ResponseHeadersTooLarge') return endless(error);
  if (isNoTls(error)) return noTlsBehind(error);
  if (code === 'ECONNRESET' || code === 'ConnectionClosed') return cutBehind(error);
  if (typeof code !== 'string' || !/^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|E(?:HOST|NET)UNREACH)$/.test(code))
    return error;
  return new Unreachable(`the proxy cannot be reached: ${code}`, {
    hint: 'check host and port of the proxy',
    cause: error,
  });
}

/** Whose head it is, the runtime does not say. */
function endless(cause: Error): Unreachable {
  return new Unreachable('the headers of the answer, of the proxy or behind it, have no end', {
    hint: 'check host and port of the proxy',
    cause,
  });
}

/** How this program is started, without its arguments: the executable itself, or a runtime with the sources. */
export function ownCommand(): string[] {
  const { execPath, argv } = process;
  const [, script = ''] = argv;
  // Where the sources lie in a compiled executable.
  if (script.startsWith('/$bunfs/')) return [execPath];
  return deno === undefined ? [execPath, script] : [execPath, 'run', '-A', script];
}

/** The roots that this runtime trusts by itself: its own and the system's. PEM texts. */
export function defaultRoots(): string[] {
  return [...new Set([...rootCertificates, ...getCACertificates('system')])];
}

/** What a CommonJS module exports by default, where Bun gives that itself, and Deno, as Node, the module. */
export function defaultOf<T extends abstract new (...args: never[]) => unknown>(
  imported: T | { default: T },
): T {
  return typeof imported === 'function' ? imported : imported.default;
}
