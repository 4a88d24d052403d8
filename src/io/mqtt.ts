import type { IClientOptions } from 'mqtt';
// The whole of mqtt brings ways to connect that are not used here, such as SOCKS and WebSockets.
import Client from 'mqtt/lib/client';
import { ErrorWithSubackPacket } from 'mqtt/lib/shared';
import { type AgentError, toAgentError } from '../core/errors.ts';
import { Incoming } from '../core/mqtt-frames.ts';
import { alpnPort } from '../core/ports.ts';
import { BrokerFault, cannotConnect, closeReason } from './mqtt-ends.ts';
import type { ForwardProxy } from './proxy.ts';
import { defaultOf } from './runtime.ts';
import { openSecure } from './socket.ts';

export interface MqttOptions {
  host: string;
  port: number;
  clientId: string;
  keepAliveSeconds: number;
  /** The way there, where it is not direct. */
  proxy?: ForwardProxy | undefined;
  /** PEM texts. */
  cert: string;
  key: string;
  ca: string;
}

/** One connection to the broker. It is never mended: when it is closed, another is made. */
export interface MqttLink {
  /** The host that it was made to. */
  readonly host: string;
  /** Resolves when the broker has acknowledged (QoS 1). @throws AgentError MQTT */
  publish(topic: string, payload: string): Promise<void>;
  /** Resolves with the topics that the broker has not granted. @throws AgentError MQTT */
  subscribe(topics: string[]): Promise<string[]>;
  onMessage(handler: (topic: string, payload: Uint8Array) => void): void;
  /** The promise, as long as the connection is there; then the reason of its end. (mqtt.js leaves the rest unanswered.) */
  whileUp<T>(promise: Promise<T>): Promise<T>;
  /** Resolves with the reason when the connection is gone. */
  readonly closed: Promise<AgentError>;
  /** Disconnects, within 2 s. */
  end(): Promise<void>;
  /** Drops the connection at once; `closed` resolves with the reason. */
  drop(reason: AgentError): void;
}

const connackTimeoutMs = 20_000;
const endTimeoutMs = 2_000;
// Many times what the agent ever says at once; acknowledgements have a few bytes.
const maxWaitingBytes = 256 * 1024;

/**
 * Connects to AWS IoT over mutual TLS, with MQTT 3.1.1 and a clean session: what was missed is read from the shadow.
 * Port 443 speaks the protocol only under ALPN. Source: AWS IoT developer guide, protocols.
 *
 * @throws AgentError MQTT or NETWORK when there is no CONNACK; the signal's reason when it is aborted
 */
export async function connectMqtt(options: MqttOptions, signal: AbortSignal): Promise<MqttLink> {
  const stream = await openStream(options, signal);
  const client = new (defaultOf(Client))(() => stream, clientOptions(options));
  const link = new ClientLink(client, options);
  const abort = () => client.end(true);
  signal.addEventListener('abort', abort);
  try {
    const failed = link.closed.then((error) => {
      throw signal.aborted ? signal.reason : error;
    });
    await Promise.race([new Promise((resolve) => client.once('connect', resolve)), failed]);
    return link;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

async function openStream(options: MqttOptions, signal: AbortSignal) {
  const alpn = options.port === alpnPort ? { alpnProtocols: ['x-amzn-mqtt-ca'] } : {};
  try {
    return await openSecure({ ...options, ...alpn }, signal);
  } catch (error) {
    throw signal.aborted ? signal.reason : cannotConnect(options, error);
  }
}

function clientOptions({ clientId, keepAliveSeconds }: MqttOptions): IClientOptions {
  return {
    clientId,
    keepalive: keepAliveSeconds,
    protocolVersion: 4,
    clean: true,
    // A library that reconnects by itself does so each second, for ever, and hides it.
    reconnectPeriod: 0,
    connectTimeout: connackTimeoutMs,
    resubscribe: false,
    queueQoSZero: false,
  };
}

class ClientLink implements MqttLink {
  readonly host: string;
  readonly #client: Client;
  readonly #pending = new Set<(reason: AgentError) => void>();
  readonly closed: Promise<AgentError>;
  #close: (reason: AgentError) => void = () => undefined;
  #reason: AgentError | undefined;
  #ending: Promise<void> | undefined;

  constructor(client: Client, options: MqttOptions) {
    this.#client = client;
    this.host = options.host;
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
    let cause: Error | undefined;
    let connected = false;
    client.on('connect', () => {
      connected = true;
    });
    client.on('error', (error) => {
      cause ??= error;
      // What is no MQTT does not make the library close anything.
      this.drop(closeReason(options, connected, cause));
    });
    client.on('close', () => this.drop(closeReason(options, connected, cause)));
    this.#guard();
  }

  /**
   * Holds the broker to what it may send, and to reading what it is sent: mqtt.js keeps whatever a packet announces, up
   * to 256 MB, each message of QoS 2 until it is released, and all that the broker does not take.
   */
  #guard(): void {
    const incoming = new Incoming();
    const { stream } = this.#client;
    stream.on('data', (chunk: Uint8Array) => {
      const problem = incoming.problem(chunk, performance.now());
      if (problem !== undefined) this.drop(new BrokerFault(this.host, problem));
    });
    this.#client.on('packetsend', ({ cmd }) => {
      if (cmd === 'pingreq') incoming.pinged();
      if (stream.writableLength <= maxWaitingBytes) return;
      const waits = `${stream.writableLength} bytes wait for it, ${maxWaitingBytes} are the most`;
      this.drop(new BrokerFault(this.host, `does not read what it is sent: ${waits}`));
    });
  }

  async publish(topic: string, payload: string): Promise<void> {
    await this.whileUp(this.#client.publishAsync(topic, payload, { qos: 1 }));
  }

  async subscribe(topics: string[]): Promise<string[]> {
    const codes = this.#client.subscribeAsync(topics, { qos: 1 }).then(
      (answers) => answers.map(({ qos }): number => qos),
      (error: unknown) => this.#refusedCodes(error, topics.length),
    );
    // A SUBACK has a code for each topic, in their order; 128 is a refusal.
    const granted = await this.whileUp(codes);
    return topics.filter((_topic, index) => (granted[index] ?? 128) > 1);
  }

  /** The codes of a SUBACK that refuses a topic: mqtt.js makes an error of it. @throws what else failed */
  #refusedCodes(error: unknown, topics: number): number[] {
    if (!(error instanceof ErrorWithSubackPacket)) throw error;
    const codes = [...error.packet.granted].map(Number);
    if (codes.length === topics) return codes;
    const problem = `breaks the protocol: it answers a subscription to ${topics} topics with ${codes.length} codes`;
    const fault = new BrokerFault(this.host, problem, error);
    this.drop(fault);
    throw fault;
  }

  onMessage(handler: (topic: string, payload: Uint8Array) => void): void {
    this.#client.on('message', handler);
  }

  end(): Promise<void> {
    this.#ending ??= this.#disconnect();
    return this.#ending;
  }

  async #disconnect(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, endTimeoutMs);
    });
    // mqtt.js waits for what is not acknowledged, which on a dead link is for ever.
    await Promise.race([this.#client.endAsync().catch(() => undefined), this.closed, late]);
    clearTimeout(timer);
    this.#client.stream.destroy();
  }

  drop(reason: AgentError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#client.end(true);
    for (const reject of this.#pending) reject(reason);
    this.#close(reason);
  }

  whileUp<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#reason !== undefined) {
        // Nobody else waits for it, and mqtt.js rejects it.
        promise.catch(() => undefined);
        return reject(this.#reason);
      }
      this.#pending.add(reject);
      promise
        .then(resolve, (error: unknown) =>
          reject(toAgentError(error, 'MQTT', 'The broker did not take the packet')),
        )
        .finally(() => this.#pending.delete(reject));
    });
  }
}
