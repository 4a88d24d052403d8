import { isIP } from 'node:net';
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { AgentError } from '../core/errors.ts';

export interface MqttOptions {
  host: string;
  port: number;
  clientId: string;
  keepAliveSeconds: number;
  /** PEM texts. */
  cert: string;
  key: string;
  ca: string;
}

/** One connection to the broker. It is never mended: when it is closed, another is made. */
export interface MqttLink {
  /** Resolves when the broker has acknowledged (QoS 1). @throws AgentError MQTT */
  publish(topic: string, payload: string): Promise<void>;
  /** Resolves when every topic is granted. @throws AgentError MQTT naming those that are not */
  subscribe(topics: string[]): Promise<void>;
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

const connectTimeoutMs = 20_000;
const endTimeoutMs = 2_000;

/**
 * Connects to AWS IoT over mutual TLS, with MQTT 3.1.1 and a clean session: what was missed is read from the shadow.
 * Port 443 speaks the protocol only under ALPN. Source: AWS IoT developer guide, protocols.
 *
 * @throws AgentError MQTT or NETWORK when there is no CONNACK; the signal's reason when it is aborted
 */
export async function connectMqtt(options: MqttOptions, signal: AbortSignal): Promise<MqttLink> {
  signal.throwIfAborted();
  const { host, port } = options;
  const client = connect(clientOptions(options));
  const link = new ClientLink(client, `${host}:${port}`);
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

function clientOptions({
  host,
  port,
  clientId,
  keepAliveSeconds,
  cert,
  key,
  ca,
}: MqttOptions): IClientOptions {
  const tls = { cert, key, ca, rejectUnauthorized: true, minVersion: 'TLSv1.2' };
  return {
    ...tls,
    protocol: 'mqtts',
    host,
    port,
    clientId,
    keepalive: keepAliveSeconds,
    protocolVersion: 4,
    clean: true,
    // A library that reconnects by itself does so each second, for ever, and hides it.
    reconnectPeriod: 0,
    connectTimeout: connectTimeoutMs,
    resubscribe: false,
    queueQoSZero: false,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(port === 443 ? { ALPNProtocols: ['x-amzn-mqtt-ca'] } : {}),
  };
}

class ClientLink implements MqttLink {
  readonly #client: MqttClient;
  readonly #pending = new Set<(reason: AgentError) => void>();
  readonly closed: Promise<AgentError>;
  #close: (reason: AgentError) => void = () => undefined;
  #reason: AgentError | undefined;
  #ending: Promise<void> | undefined;

  constructor(client: MqttClient, where: string) {
    this.#client = client;
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
    });
    client.on('close', () => this.drop(closeReason(where, connected, cause)));
  }

  async publish(topic: string, payload: string): Promise<void> {
    await this.whileUp(this.#client.publishAsync(topic, payload, { qos: 1 }));
  }

  async subscribe(topics: string[]): Promise<void> {
    const granted = await this.whileUp(this.#client.subscribeAsync(topics, { qos: 1 }));
    const refused = granted.filter(({ qos }) => qos > 1).map(({ topic }) => topic);
    if (refused.length > 0 || granted.length < topics.length) {
      throw new AgentError(
        'MQTT',
        `The broker refused the subscription to ${refused.join(', ') || 'some topics'}`,
        {
          hint: "allow iot:Subscribe on these topic filters in the certificate's policy",
        },
      );
    }
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
      if (this.#reason !== undefined) return reject(this.#reason);
      this.#pending.add(reject);
      promise
        .then(resolve, (error: unknown) => {
          reject(
            new AgentError('MQTT', `The broker did not take the packet: ${String(error)}`, { cause: error }),
          );
        })
        .finally(() => this.#pending.delete(reject));
    });
  }
}

const connackReasons: Record<number, string> = {
  1: 'it does not speak MQTT 3.1.1',
  2: 'it refuses the client id',
  3: 'it is not available',
  4: 'bad user name or password',
  5: 'not authorised',
};

function closeReason(where: string, connected: boolean, cause: Error | undefined): AgentError {
  const code = cause !== undefined && 'code' in cause ? cause.code : undefined;
  if (typeof code === 'number' && code > 0 && code < 6) {
    return new AgentError('MQTT', `The broker ${where} refuses the connection: ${connackReasons[code]}`, {
      hint: "allow iot:Connect for this client id in the certificate's policy, and attach the policy",
      cause,
    });
  }
  if (connected) {
    const why = cause === undefined ? 'it closed it' : cause.message;
    return new AgentError('MQTT', `The connection to the broker ${where} was lost: ${why}`, { cause });
  }
  const why = cause === undefined ? 'it closed the connection before its CONNACK' : reasonOf(cause);
  return new AgentError('NETWORK', `Cannot connect to the broker ${where}: ${why}`, {
    cause,
    ...hintFor(cause),
  });
}

function reasonOf(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return error.message.includes(code) ? error.message : `${code} ${error.message}`;
}

function hintFor(cause: Error | undefined): { hint?: string } {
  if (cause === undefined) {
    return {
      hint: 'check that the certificate is active and that its policy allows iot:Connect with this client id',
    };
  }
  const text = reasonOf(cause);
  if (/expired|not.yet.valid/i.test(text)) {
    return { hint: 'check the clock of this device, then the dates of the certificate' };
  }
  if (/certificate|self.signed|issuer|altname|hostname/i.test(text)) {
    return { hint: 'the server is not the one that "ca" vouches for: check "endpoint" and "ca"' };
  }
  return {};
}
