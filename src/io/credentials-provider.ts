import { credentialsPlace } from '../core/connection-hints.ts';
import { type Credentials, parseCredentials, providerHint, providerMessage } from '../core/credentials.ts';
import { AgentError } from '../core/errors.ts';
import { protect } from '../core/secrets.ts';
import type { Clock } from './clock.ts';
import { authority, networkError, readText } from './http.ts';
import { silenceHint, through } from './proxy.ts';
import type { Fetch } from './runtime.ts';
import { ServerTime } from './server-time.ts';

// The connection may be half-open or the service deaf: the whole exchange has this long.
const timeoutMs = 20_000;
const swallowed =
  'check "credentialEndpoint", and what on the way may swallow the answer (a firewall, a proxy)';
const maxAnswerBytes = 64 * 1024;
// A provider that is down costs no request its timeout while what it gave before is still good.
const refreshAgainMs = 30_000;

export interface ProviderOptions {
  endpoint: { host: string; port: number; path: string; roleAlias: string };
  thingName: string;
  /** Carries the device's certificate and the CA of AWS IoT. */
  fetch: Fetch;
  clock: Clock;
  /** Shared with S3, so that what one learns of AWS's time serves both. */
  serverTime?: ServerTime;
  /** Ends a refresh that is under way when the agent stops. */
  signal: AbortSignal;
}

/**
 * The device's certificate traded for temporary credentials, which are kept until they near their end. Callers that
 * come while one exchange is under way share it; a failed one is never kept, and what is still valid is used on for half
 * a minute before it is tried again.
 * Source: AWS IoT developer guide, authorizing-direct-aws.
 */
export class CredentialsProvider {
  readonly #options: ProviderOptions;
  readonly #serverTime: ServerTime;
  #cached: Credentials | undefined;
  #pending: Promise<Credentials> | undefined;
  #failedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ProviderOptions) {
    this.#options = options;
    this.#serverTime = options.serverTime ?? new ServerTime(options.clock);
  }

  /** @throws AgentError CREDENTIALS (slow for 4xx) or TIMEOUT; the signal's reason when it is aborted. */
  async get(signal: AbortSignal): Promise<Credentials> {
    const cached = this.#cached;
    const { clock } = this.#options;
    if (cached !== undefined && clock.nowMs() < cached.refreshAtMs) return cached;
    try {
      return await settleOrAbort(this.#refresh(), signal);
    } catch (error) {
      const nowMs = clock.nowMs();
      if (signal.aborted || cached === undefined || nowMs >= cached.expiresAtMs) throw error;
      // Others have shared the failure, or S3 has refused these meanwhile.
      if (cached.accessKeyId !== this.#cached?.accessKeyId) throw error;
      this.#cached = { ...cached, refreshAtMs: Math.min(nowMs + refreshAgainMs, cached.expiresAtMs) };
      return cached;
    }
  }

  /** Forgets credentials that S3 refused, unless newer ones have come meanwhile. */
  drop(accessKeyId: string): void {
    if (this.#cached?.accessKeyId === accessKeyId) this.#cached = undefined;
  }

  /** Gets credentials ready while something else is waited for; a failure will show at `get`, and is not asked for again at once. */
  warm(): void {
    if (this.#options.clock.nowMs() - this.#failedAtMs < refreshAgainMs) return;
    this.get(this.#options.signal).catch(() => undefined);
  }

  #refresh(): Promise<Credentials> {
    this.#pending ??= this.#fetch()
      .then((credentials) => {
        this.#cached = credentials;
        return credentials;
      })
      .catch((error: unknown) => {
        this.#failedAtMs = this.#options.clock.nowMs();
        throw error;
      })
      .finally(() => {
        this.#pending = undefined;
      });
    return this.#pending;
  }

  async #fetch(): Promise<Credentials> {
    const { endpoint, thingName, fetch, clock, signal } = this.#options;
    const proxy = fetch.route?.(endpoint.host, endpoint.port);
    const what = `Cannot fetch credentials for role alias "${endpoint.roleAlias}" from ${endpoint.host}${through(proxy)}`;
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      const response = await fetch(`https://${authority(endpoint.host, endpoint.port)}${endpoint.path}`, {
        headers: new Headers({ 'x-amzn-iot-thingname': thingName }),
        signal: AbortSignal.any([deadline, signal]),
      });
      this.#serverTime.learn(response.headers.get('date'));
      const text = await readText(response, maxAnswerBytes);
      if (response.status !== 200) throw this.#refused(what, response.status, text);
      const credentials = parseCredentials(text, this.#serverTime.nowMs(), clock.nowMs());
      protect(credentials.secretAccessKey.reveal());
      protect(credentials.sessionToken.reveal());
      return credentials;
    } catch (error) {
      if (deadline.aborted) {
        const message = `${what}: no answer in ${timeoutMs / 1000} s`;
        throw new AgentError('TIMEOUT', message, { cause: error, hint: swallowed, ...silenceHint(proxy) });
      }
      throw networkError(error, what, signal, 'CREDENTIALS', credentialsPlace);
    }
  }

  #refused(what: string, status: number, text: string): AgentError {
    const message = providerMessage(text);
    const { endpoint, thingName } = this.#options;
    return new AgentError('CREDENTIALS', `${what}: HTTP ${status}${message === '' ? '' : ` "${message}"`}`, {
      retry: status >= 500 || status === 429 ? 'soon' : 'slow',
      hint: providerHint(status, message, endpoint.roleAlias, thingName),
    });
  }
}

/** The promise, unless the signal is aborted first; then its reason. */
function settleOrAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
