import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { type Broker, startBroker } from '../../src/sandbox/broker.ts';
import { Faults } from '../../src/sandbox/faults.ts';
import { createPki, type KeyPair, type Pki } from '../../src/sandbox/pki.ts';
import { Sessions } from '../../src/sandbox/sessions.ts';
import { ShadowService } from '../../src/sandbox/shadow-service.ts';
import { Things } from '../../src/sandbox/things.ts';

/** Topic prefix of the thing's classic shadow. */
export const prefix = '$aws/things/test-thing/shadow';

/** The parts that the servers of a sandbox share, with one registered device. */
export interface Iot {
  pki: Pki;
  things: Things;
  shadows: ShadowService;
  sessions: Sessions;
  faults: Faults;
  device: KeyPair;
}

/** Makes the parts anew; only the authority may be shared between tests, since making one takes time. */
export async function createIot(pki?: Pki): Promise<Iot> {
  const authority = pki ?? (await createPki());
  const device = await authority.issueDevice('test-thing');
  const things = new Things();
  things.register(device.cert, { things: ['test-thing'], clientIds: ['extra'] });
  const shadows = new ShadowService();
  return { pki: authority, things, shadows, sessions: new Sessions(), faults: new Faults(), device };
}

export interface Message {
  topic: string;
  body: unknown;
}

/** An MQTT client that keeps what it receives until somebody asks for it. */
export class Device {
  readonly client: MqttClient;
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>;
  readonly #messages: Message[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(client: MqttClient) {
    this.client = client;
    this.closed = new Promise((resolve) => client.once('close', resolve));
    client.on('message', (topic, payload) => {
      this.#messages.push({ topic, body: JSON.parse(payload.toString()) });
      for (const wake of [...this.#waiting]) wake();
    });
  }

  /** Takes the oldest message on a topic, waiting for it. */
  async next(topic: string): Promise<unknown> {
    for (;;) {
      const index = this.#messages.findIndex((message) => message.topic === topic);
      if (index !== -1) return this.#messages.splice(index, 1)[0]?.body;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }

  /** Messages that nobody has taken. */
  get untaken(): readonly Message[] {
    return this.#messages;
  }

  async publish(topic: string, body: unknown): Promise<void> {
    await this.client.publishAsync(topic, JSON.stringify(body), { qos: 1 });
  }

  async end(): Promise<void> {
    await this.client.endAsync(true);
  }
}

/** Connects a device once; rejects when the broker refuses it or closes the connection. */
export async function connectDevice(broker: Broker, iot: Iot, options: IClientOptions = {}): Promise<Device> {
  const client = connect(`mqtts://127.0.0.1:${broker.port}`, {
    clientId: 'test-thing',
    ca: iot.pki.caCert,
    ...iot.device,
    protocolVersion: 4,
    reconnectPeriod: 0,
    ...options,
  });
  const device = new Device(client);
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve());
    client.once('error', reject);
    client.once('close', () => reject(new Error('The broker closed the connection')));
  });
  return device;
}

/** A broker with these parts. */
export async function brokerOf(iot: Iot, port = 0): Promise<Broker> {
  return startBroker({ ...iot, port });
}

/** Bytes of a JSON value. */
export function bytes(body: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(body));
}
