/** The only file that knows which runtime this is: Bun, Deno or Node. */
import { getCACertificates, rootCertificates } from 'node:tls';

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
}

/** A GET over one kind of connection. */
export type Fetch = (url: string, options: FetchOptions) => Promise<Response>;

interface DenoNamespace {
  createHttpClient(options: {
    caCerts?: string[];
    cert?: string;
    key?: string;
    poolMaxIdlePerHost: number;
  }): object;
}

const deno: DenoNamespace | undefined = Reflect.get(globalThis, 'Deno');

/**
 * Makes a fetch for one kind of server: own roots and client certificate, never a pooled connection (a half-open one
 * would hang), redirects handed back, bodies as they are on the wire.
 *
 * Bodies: Bun decodes Content-Encoding unless `decompress` is false, Deno unless Accept-Encoding says identity; both
 * are set, the header after signing, as it must not be signed.
 */
export function createFetch(tls: TlsIdentity): Fetch {
  const transport = deno === undefined ? bunTransport(tls) : { client: denoClient(deno, tls) };
  return (url, { headers, signal }) => {
    headers.set('accept-encoding', 'identity');
    return fetch(url, { ...transport, headers, signal, redirect: 'manual' });
  };
}

function bunTransport(tls: TlsIdentity): BunFetchRequestInit {
  return {
    decompress: false,
    keepalive: false,
    timeout: false,
    proxy: false,
    // An explicit `true` outranks NODE_TLS_REJECT_UNAUTHORIZED.
    tls: { ...tls, rejectUnauthorized: true },
  };
}

function denoClient({ createHttpClient }: DenoNamespace, { ca, cert, key }: TlsIdentity): object {
  return createHttpClient({
    ...(ca === undefined ? {} : { caCerts: ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
    poolMaxIdlePerHost: 0,
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
