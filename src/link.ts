/**
 * Keeps the shadow in view: one connection at a time, made anew whenever it is lost, and the full document read again
 * whenever there is a reason to. A delta or an update is only such a reason; nobody acts on what it says.
 */
import { backoffMs, slow, soon } from './core/backoff.ts';
import { AgentError, toAgentError } from './core/errors.ts';
import { policyStatement } from './core/iot-policy.ts';
import type { JsonObject, JsonValue } from './core/json.ts';
import { type Ending, nextConnect, noReconnects, stableMs, stormKicks } from './core/reconnect.ts';
import { rings, type ShadowDocument } from './core/shadow.ts';
import type { Clock } from './io/clock.ts';
import { Latest } from './io/latest.ts';
import type { Logger } from './io/log.ts';
import type { MqttLink } from './io/mqtt.ts';
import { BrokerFault, LinkLost } from './io/mqtt-ends.ts';
import { type Change, isOwnToken, ShadowClient, ShadowRejection } from './io/shadow-client.ts';

export interface LinkOptions {
  connect: (signal: AbortSignal) => Promise<MqttLink>;
  /** Of AWS IoT; with the client id, for hints. */
  host: string;
  clientId: string;
  prefix: string;
  resyncSeconds: number;
  /** News by a message wait a random part of this before they ring. */
  jitterSeconds: number;
  clock: Clock;
  log: Logger;
  /** From 0 to under 1. */
  random: () => number;
  /** The desired values that are held now, by property. */
  held: () => ReadonlyMap<string, JsonValue | undefined>;
  /** A connection stands and all topics are subscribed. */
  onUp: () => void;
  onDown: () => void;
  /** A connection could not be made, was lost, or a request was refused. */
  onTrouble: (error: AgentError) => void;
  /** A message brought news; the document follows. */
  onNews: () => void;
  /** The full document; undefined where the thing has no shadow. */
  onDocument: (document: ShadowDocument | undefined) => void;
}

/** What `status` shows of the link. */
export interface LinkState {
  connected: boolean;
  /** Since when it is connected, monotonic ms. */
  connectedAtMs?: number;
  /** When the full document was last told, monotonic ms. */
  answeredAtMs?: number;
  lastError?: AgentError;
}

export class ShadowLink {
  readonly #options: LinkOptions;
  readonly #bell = new Latest(undefined);
  readonly #answered = new Latest(Number.NEGATIVE_INFINITY);
  #rung = false;
  #newsVersion: number | undefined;
  #isReading = false;
  #isHearing = false;
  #client: ShadowClient | undefined;
  #connectedAtMs: number | undefined;
  #lastError: AgentError | undefined;
  /** Why sessions keep ending; shown until one has lasted, also while one stands. */
  #storm: AgentError | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  get state(): LinkState {
    const connectedAtMs = this.#client === undefined ? undefined : this.#connectedAtMs;
    const hasLasted = connectedAtMs !== undefined && this.#options.clock.nowMs() - connectedAtMs >= stableMs;
    const error = (hasLasted ? undefined : this.#storm) ?? this.#lastError;
    return {
      connected: this.#client !== undefined,
      ...(connectedAtMs === undefined ? {} : { connectedAtMs }),
      ...(Number.isFinite(this.#answered.value) ? { answeredAtMs: this.#answered.value } : {}),
      ...(error === undefined ? {} : { lastError: error }),
    };
  }

  /** Asks for the full document, now or as soon as there is a connection. */
  ring(): void {
    this.#rung = true;
    this.#bell.set(undefined);
  }

  /** Waits for an answer that is not older than `maxAgeMs`, for `timeoutMs` at most; not at all while offline. */
  async fresh(maxAgeMs: number, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    if (this.#client === undefined || clock.nowMs() - this.#answered.value <= maxAgeMs) return;
    const { replaced } = this.#answered;
    this.ring();
    await clock.sleep(timeoutMs, AbortSignal.any([signal, replaced]));
  }

  /** Writes to the reported section. @throws AgentError SHADOW_REJECTED, MQTT, TIMEOUT, or undefined while offline */
  async report(reported: JsonObject): Promise<boolean> {
    if (this.#client === undefined) return false;
    await this.#client.report(reported);
    return true;
  }

  /** Connects, and connects again, until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#options;
    let reconnects = noReconnects;
    while (!signal.aborted) {
      this.#connectedAtMs = undefined;
      try {
        await this.#session(signal);
      } catch (error) {
        if (signal.aborted) return;
        const lost = toAgentError(error, 'MQTT', 'The connection to the broker failed');
        const ending = endingOf(lost);
        const session = { upMs: this.#connectedAtMs, endedMs: clock.nowMs(), ending };
        const next = nextConnect(reconnects, session, random());
        reconnects = next.reconnects;
        this.#fail(lost);
        const retryInSeconds = Math.round(next.waitMs / 100) / 10;
        log.warning(lost.message, { code: lost.code, hint: lost.hint, retryInSeconds });
        const isTold = ending === 'kick' && reconnects.kicks >= stormKicks;
        this.#storm = isTold ? this.#stormOf(reconnects.kicks) : undefined;
        if (next.isStorm && this.#storm !== undefined) {
          log.warning(this.#storm.message, { code: this.#storm.code, hint: this.#storm.hint });
        }
        await clock.sleep(next.waitMs, signal);
      }
    }
  }

  /** A broker that lets the client in and then ends the session has a reason that MQTT 3.1.1 cannot say. */
  #stormOf(times: number): AgentError {
    const { host, clientId, prefix } = this.#options;
    const publish = policyStatement(host, 'Publish', [`${prefix}/get`, `${prefix}/update`]);
    return new AgentError(
      'MQTT',
      `${times} fresh sessions have ended within a minute of their start, by the broker or by the network`,
      {
        hint: `where the network is sound, likely another device connects with the client id "${clientId}" (AWS IoT keeps only the newer one: give each its own), or the certificate's policy lacks ${publish}`,
      },
    );
  }

  /** One connection, from its making to its end. */
  async #session(signal: AbortSignal): Promise<void> {
    const { connect, prefix, log, clock, onUp, onDown } = this.#options;
    const link = await connect(signal);
    const lost = new AbortController();
    link.closed.then((reason) => lost.abort(reason));
    // Whatever is being waited for ends with the connection.
    const stop = () => void link.end();
    signal.addEventListener('abort', stop);
    try {
      const ended = AbortSignal.any([signal, lost.signal]);
      const client = await ShadowClient.open(link, prefix, log, (change) => this.#onChange(change, ended));
      this.#client = client;
      this.#connectedAtMs = clock.nowMs();
      this.#lastError = undefined;
      log.info('Connected to AWS IoT');
      onUp();
      await this.#watch(client, ended);
    } finally {
      if (this.#client !== undefined) onDown();
      this.#client = undefined;
      signal.removeEventListener('abort', stop);
      await link.end();
    }
  }

  #fail(error: AgentError): void {
    this.#lastError = error;
    this.#options.onTrouble(error);
  }

  #onChange(change: Change, ended: AbortSignal): void {
    const { held } = this.#options;
    if (!rings(change, held(), isOwnToken, this.#isReading)) return;
    // Accepted and delta of one update bear the same version: the second one is no further news.
    if (change.version !== undefined && change.version === this.#newsVersion) return;
    this.#newsVersion = change.version;
    if (!this.#isHearing) void this.#hear(ended);
  }

  /**
   * Acts on news, after the jitter: a fleet that hears of a release at one moment asks for it over many. What comes
   * meanwhile is read with it, and a new connection reads the document anyway.
   */
  async #hear(ended: AbortSignal): Promise<void> {
    const { clock, jitterSeconds, random, onNews } = this.#options;
    if (jitterSeconds > 0) {
      this.#isHearing = true;
      await clock.sleep(random() * jitterSeconds * 1000, ended);
      this.#isHearing = false;
      if (ended.aborted) return;
    }
    onNews();
    this.ring();
  }

  /** Reads the document at once, then on each bell and every `resyncSeconds`. One get is in flight at a time. */
  async #watch(client: ShadowClient, signal: AbortSignal): Promise<never> {
    const { clock, onDocument } = this.#options;
    for (let failures = 0; ; ) {
      this.#rung = false;
      this.#isReading = true;
      try {
        const document = await client.get();
        this.#isReading = false;
        failures = 0;
        this.#newsVersion = undefined;
        onDocument(document);
        this.#answered.set(clock.nowMs());
        this.#lastError = undefined;
      } catch (error) {
        if (!(error instanceof ShadowRejection)) throw error;
        failures += 1;
        await this.#rejected(error, failures, signal);
        this.#rung = true;
      }
      signal.throwIfAborted();
      if (!this.#rung) await this.#nextReason(signal);
      signal.throwIfAborted();
    }
  }

  async #rejected(error: ShadowRejection, failures: number, signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#options;
    const waitMs = backoffMs(error.retry === 'slow' ? slow : soon, failures, random());
    this.#fail(error);
    log.warning(error.message, {
      code: error.code,
      hint: error.hint,
      retryInSeconds: Math.round(waitMs / 100) / 10,
    });
    await clock.sleep(waitMs, signal);
  }

  async #nextReason(signal: AbortSignal): Promise<void> {
    const { clock, resyncSeconds, random } = this.#options;
    // Jitter about what is configured: a fleet that was started together must not ask together for ever.
    const resyncMs = resyncSeconds * 1000 * (0.75 + random() / 2);
    await clock.sleep(resyncMs, AbortSignal.any([signal, this.#bell.replaced]));
  }
}

function endingOf(error: AgentError): Ending {
  if (error instanceof BrokerFault) return 'fault';
  return error instanceof LinkLost ? 'kick' : 'other';
}
