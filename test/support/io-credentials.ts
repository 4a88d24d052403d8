import type { Clock } from '../../src/io/clock.ts';
import { CredentialsProvider } from '../../src/io/credentials-provider.ts';
import type { Fetch } from '../../src/io/runtime.ts';
import { ServerTime } from '../../src/io/server-time.ts';

export const hourMs = 3_600_000;

export interface ProviderParts {
  fetch: Fetch;
  clock: Clock;
  /** The end of the agent. */
  signal: AbortSignal;
  port?: number;
}

/** A provider for role alias "alias" and thing "test-thing" on loopback. */
export function providerOf({ fetch, clock, signal, port = 443 }: ProviderParts): CredentialsProvider {
  const path = '/role-aliases/alias/credentials';
  const endpoint = { host: '127.0.0.1', port, path, roleAlias: 'alias' };
  const serverTime = new ServerTime(clock);
  return new CredentialsProvider({ endpoint, thingName: 'test-thing', fetch, clock, serverTime, signal });
}

/** An answer with credentials that live so long by the clock of the server. */
export function credentialsAnswer(id: string, lifeMs: number, serverMs: number): Response {
  const expiration = new Date(serverMs + lifeMs).toISOString();
  const credentials = {
    accessKeyId: id,
    secretAccessKey: `secret-${id}`,
    sessionToken: `token-${id}`,
    expiration,
  };
  return Response.json({ credentials }, { headers: { date: new Date(serverMs).toUTCString() } });
}

/** Numbers its answers, and counts how often it was asked. */
export class CredentialsSource {
  count = 0;
  /** Answers for the requests to come, one each; then fresh credentials for an hour. */
  script: Array<(signal: AbortSignal) => Promise<Response> | Response> = [];
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  readonly fetch: Fetch = async (_url, { signal }) => {
    this.count += 1;
    const scripted = await this.script.shift()?.(signal);
    return scripted ?? credentialsAnswer(`ASIA${this.count}`, hourMs, this.#clock.wallMs());
  };
}
