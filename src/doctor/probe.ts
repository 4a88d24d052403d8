/** What the probes of `doctor` have in common: what they find out for one another, and how one of them is run. */

import type { AgentUser } from '../config/permissions.ts';
import type { AgentConfig, LoadedConfig } from '../config.ts';
import type { Desired } from '../core/artifact.ts';
import type { Finding, Policy, Result } from '../core/doctor.ts';
import { AgentError, toAgentError } from '../core/errors.ts';
import { mqttPort } from '../core/ports.ts';
import { objectUrl } from '../core/s3-request.ts';
import type { AgentStatus } from '../core/status.ts';
import { type Clock, systemClock } from '../io/clock.ts';
import type { CredentialsProvider } from '../io/credentials-provider.ts';
import type { Identity } from '../io/identity.ts';
import type { MqttLink } from '../io/mqtt.ts';
import { type ForwardProxy, type Route, routeBy } from '../io/proxy.ts';
import { defaultRoots } from '../io/runtime.ts';
import { ServerTime } from '../io/server-time.ts';

/** One server that the agent talks to. */
export interface Endpoint {
  name: 'data' | 'credentials' | 's3';
  host: string;
  port: number;
  /** The key of the configuration that names it. */
  key: string;
}

/** What has been found out so far; later probes build on it. */
export class Findings {
  readonly loaded: LoadedConfig;
  /** The file of the configuration, as it was written. */
  readonly configPath: string | undefined;
  /** The one file whose object and target are looked at; undefined: those of all. */
  readonly property: string | undefined;
  readonly clock: Clock = systemClock;
  readonly serverTime = new ServerTime(systemClock);
  /** The agent that runs on the state directory: undefined where none does, an error where it cannot be asked. */
  agent: AgentStatus | AgentError | undefined;
  /** How far the clock of this device is ahead of the network's, ms. */
  clockAheadMs: number | undefined;
  link: MqttLink | undefined;
  /** The port of the data endpoint that answers, where the configuration names none. */
  dataPort: number;
  /** The proxy that leads to a server, where one does. */
  readonly route: Route;
  credentials: CredentialsProvider | undefined;
  /** Ends what outlives the probe that began it, once all have run: S3 may refuse credentials, which are then fetched anew. */
  readonly ending = new AbortController();
  /** What the shadow wants, by property. */
  readonly desired = new Map<string, Desired>();
  /** Sizes of the desired objects, by property. */
  readonly sizes = new Map<string, number>();
  readonly #failed = new Set<string>();

  constructor(loaded: LoadedConfig, configPath?: string, property?: string) {
    this.loaded = loaded;
    this.property = property;
    this.configPath = configPath;
    this.dataPort = loaded.config?.endpoint.port ?? mqttPort;
    this.route = loaded.config === undefined ? () => undefined : routeBy(loaded.config.proxy);
  }

  /** @throws AgentError; probes that ask for it are skipped where there is none. */
  get config(): AgentConfig {
    if (this.loaded.config === undefined) throw new AgentError('CONFIG_INVALID', 'There is no configuration');
    return this.loaded.config;
  }

  /** The files whose objects and targets are looked at. @throws AgentError as `config` */
  get files(): AgentConfig['files'] {
    return this.config.files.filter(
      ({ property }) => this.property === undefined || property === this.property,
    );
  }

  get identity(): Identity {
    if (this.loaded.identity === undefined)
      throw new AgentError('IDENTITY_INVALID', 'There is no certificate');
    return this.loaded.identity;
  }

  /** The user of the agent, where that is another one than who asks: root may ask about anybody's. */
  get otherUser(): AgentUser | undefined {
    const { user } = this.loaded;
    return user?.uid === process.geteuid?.() ? undefined : user;
  }

  /** The running agent, where it could be asked. */
  get running(): AgentStatus | undefined {
    return this.agent instanceof AgentError ? undefined : this.agent;
  }

  endpoint(name: Endpoint['name']): Endpoint {
    const { endpoint, credentialEndpoint, s3 } = this.config;
    switch (name) {
      case 'data':
        return { name, host: endpoint.host, port: this.dataPort, key: 'endpoint' };
      case 'credentials':
        return { name, ...credentialEndpoint, key: 'credentialEndpoint' };
      case 's3': {
        // A bucket that is part of no host name.
        const artifact = { url: '', bucket: 'b', key: 'k', sha256: '' };
        const { hostname, port } = new URL(objectUrl(artifact, s3));
        const host = hostname.replace(/^\[|\]$/g, '');
        return { name, host, port: port === '' ? 443 : Number(port), key: 's3.endpoint' };
      }
    }
  }

  proxyOf(name: Endpoint['name']): ForwardProxy | undefined {
    const { host, port } = this.endpoint(name);
    return this.route(host, port);
  }

  rootsOf(name: Endpoint['name']): string[] {
    const { caPem, s3CaPem } = this.identity;
    if (name !== 's3') return [caPem];
    return s3CaPem === undefined ? defaultRoots() : [...defaultRoots(), s3CaPem];
  }

  fail(probe: string): void {
    this.#failed.add(probe);
  }

  /** The first of these probes that has failed or was skipped for such a reason. */
  firstFailed(probes: readonly string[]): string | undefined {
    return probes.find((probe) => this.#failed.has(probe));
  }
}

export interface Probe {
  name: string;
  /** Probes without whose success this one cannot be tried. */
  needs: readonly string[];
  /** Most that it may take; it is then a failure. */
  timeoutMs: number;
  run(found: Findings, signal: AbortSignal): Promise<Finding | Finding[]> | Finding | Finding[];
}

export function ok(message: string): Finding {
  return { verdict: 'ok', message };
}

export function skip(message: string): Finding {
  return { verdict: 'skip', message };
}

export function warn(message: string, hint: string): Finding {
  return { verdict: 'warn', message, hint };
}

export function fail(error: { message: string; hint?: string | undefined }, policy?: Policy): Finding {
  const { message, hint } = error;
  return { verdict: 'fail', message, ...(hint === undefined ? {} : { hint }), ...(policy && { policy }) };
}

/** Runs one probe within its time. Nothing that it throws is lost, and later probes learn that it failed. */
export async function runProbe(probe: Probe, found: Findings): Promise<Result[]> {
  const { name, needs, timeoutMs } = probe;
  const startedMs = found.clock.nowMs();
  const missing = found.firstFailed(needs);
  const findings =
    missing === undefined ? await inTime(probe, found) : [skip(`not tried, as "${missing}" did not succeed`)];
  const isUsable = findings.every(({ verdict }) => verdict === 'ok' || verdict === 'warn');
  if (!isUsable) found.fail(name);
  const milliseconds = Math.round(found.clock.nowMs() - startedMs);
  return findings.map((finding) => ({ probe: name, milliseconds, ...finding }));

  async function inTime(one: Probe, about: Findings): Promise<Finding[]> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), timeoutMs);
    const expired = new Promise<never>((_, reject) => {
      late.signal.addEventListener('abort', () =>
        reject(
          new AgentError('TIMEOUT', `No answer to "${one.name}" in ${timeoutMs / 1000} s`, {
            hint: 'run doctor again; where this stays, look at the link, or at a disk that hangs (dmesg)',
          }),
        ),
      );
    });
    try {
      return [await Promise.race([one.run(about, late.signal), expired])].flat();
    } catch (error) {
      return [fail(toAgentError(error, 'INSTALL', 'The probe failed'))];
    } finally {
      clearTimeout(timer);
      late.abort();
    }
  }
}
