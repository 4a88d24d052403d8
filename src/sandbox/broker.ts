import type { TLSSocket } from 'node:tls';
import { Aedes } from 'aedes';
import { type BrokerMessage, DeviceConnections } from './device-connections.ts';
import type { Faults } from './faults.ts';
import type { Pki } from './pki.ts';
import { linkShadowService, type MqttLink } from './shadow-mqtt.ts';
import type { ShadowService } from './shadow-service.ts';
import type { Things } from './things.ts';
import { listenTls } from './tls-listener.ts';

export type { BrokerMessage } from './device-connections.ts';

export interface BrokerOptions {
  pki: Pki;
  shadows: ShadowService;
  faults: Faults;
  /** Which certificates are registered, and for which things. */
  things: Things;
  /** 0 or absent: any free port. */
  port?: number;
  log?: (line: string) => void;
}

export interface Broker {
  readonly port: number;
  /** CONNECTs accepted so far. */
  readonly connects: number;
  /** The newest messages, 1000 at most. */
  readonly messages: readonly BrokerMessage[];
  /** Client ids that are connected. */
  sessions(): string[];
  /** Closes the connection of a client. */
  kick(clientId: string): void;
  /** Publishes at QoS 1, as the service side. */
  publish(topic: string, payload: string): Promise<void>;
  /** Stops listening and drops all connections at once. */
  close(): Promise<void>;
}

/**
 * Starts an MQTT 3.1.1 broker over mutual TLS that behaves towards devices as AWS IoT Core does: a connection whose
 * policy does not allow what it asks for is closed.
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { pki, shadows, faults, things, port = 0, log = () => undefined } = options;
  const connections = new DeviceConnections(faults, log);
  const aedes = await Aedes.createBroker({ ...connections.hooks(), maxClientsIdLength: 128 });
  watch(aedes, faults, log);
  const unlink = linkShadowService(shadows, shadowLink(aedes, connections, log), faults);

  const accept = (socket: TLSSocket): void => {
    const certificate = things.find(socket.getPeerCertificate().raw);
    if (certificate === undefined) {
      log('A client with a certificate that is not registered was refused');
      socket.destroy();
    } else {
      connections.admit(aedes.handle(socket), certificate);
    }
  };
  const alpnProtocols = ['x-amzn-mqtt-ca', 'mqtt'];
  const listener = await listenTls({ pki, port, mutual: true, alpnProtocols }, accept).catch((error) => {
    // Its timers would keep the program running.
    aedes.close();
    throw error;
  });
  return {
    port: listener.port,
    get connects() {
      return connections.connects;
    },
    messages: connections.messages,
    sessions: () => connections.ids(),
    kick: (clientId) => connections.kick(clientId),
    publish: (topic, payload) => publish(aedes, topic, payload),
    close: async () => {
      unlink();
      await listener.close();
      await new Promise<void>((resolve) => {
        aedes.close(resolve);
      });
    },
  };
}

function watch(aedes: Aedes, faults: Faults, log: (line: string) => void): void {
  aedes.on('clientReady', (client) => {
    const afterMs = faults.take('mqtt-kick');
    if (afterMs !== undefined) setTimeout(() => client.conn.destroy(), afterMs).unref();
  });
  aedes.on('clientError', (client, error) => log(`${client.id} was disconnected: ${error.message}`));
  aedes.on('connectionError', (_client, error) => log(`A client was refused: ${error.message}`));
}

function shadowLink(aedes: Aedes, connections: DeviceConnections, log: (line: string) => void): MqttLink {
  return {
    publish: (topic, payload) => {
      publish(aedes, topic, payload).catch((error: unknown) =>
        log(`Cannot publish on ${topic}: ${String(error)}`),
      );
    },
    onPublish: (handler) => {
      aedes.on('publish', (packet, client) => {
        // AWS: the service ignores a last will, other subscribers see it (device-shadow-comms-app).
        if (client === null || !connections.receive(client, packet)) return;
        handler(packet.topic, Buffer.from(packet.payload));
      });
    },
  };
}

async function publish(aedes: Aedes, topic: string, payload: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    aedes.publish(
      { cmd: 'publish', topic, payload: Buffer.from(payload), qos: 1, dup: false, retain: false },
      (error) => (error ? reject(error) : resolve()),
    );
  });
}
