import { EventEmitter } from 'node:events';
import type { AedesOptions, AuthenticateError, Client } from 'aedes';
import * as v from 'valibot';
import { allows, type DevicePolicy, devicePolicy } from './device-policy.ts';
import type { Faults } from './faults.ts';
import { remember } from './ring.ts';
import type { DeviceCertificate } from './things.ts';

export interface BrokerMessage {
  /** Seen from the broker: `in` was published by the client, `out` was delivered to it. */
  direction: 'in' | 'out';
  clientId: string;
  topic: string;
  payload: string;
}

/** The members of a PUBLISH, or of a last will, that are looked at. */
export interface Publication {
  topic: string;
  payload: string | Buffer;
  qos: number;
  retain: boolean;
}

/** What is known of one connection; the policy is there once its CONNECT is accepted. */
interface Peer {
  certificate: DeviceCertificate;
  policy?: DevicePolicy;
}

/** The limits of AWS IoT Core. Source: developer guide, limits-iot and mqtt. */
const maxPayloadBytes = 128 * 1024;
const maxFiltersPerSubscribe = 8;
const minKeepAliveSeconds = 30;
const maxKeepAliveSeconds = 1200;

const returnCodeNotAuthorized = 5;
const noPolicy: DevicePolicy = { publish: [], subscribe: [], receive: [] };
const subscribePacket = v.object({ cmd: v.literal('subscribe'), subscriptions: v.array(v.unknown()) });

/** The connections of one broker and the rules of AWS IoT Core for them, as the hooks that aedes asks. */
export class DeviceConnections {
  /** The newest messages, 1000 at most. */
  readonly messages: BrokerMessage[] = [];
  /** CONNECTs accepted so far. */
  connects = 0;
  readonly #peers = new WeakMap<Client, Peer>();
  readonly #wills = new WeakSet<object>();
  readonly #connected = new Map<string, Client>();
  readonly #faults: Faults;
  readonly #log: (line: string) => void;

  constructor(faults: Faults, log: (line: string) => void) {
    this.#faults = faults;
    this.#log = log;
  }

  /** Takes up a connection whose certificate is known, before its CONNECT. */
  admit(client: Client, certificate: DeviceCertificate): void {
    this.#peers.set(client, { certificate });
    limitFilters(client);
  }

  /** Client ids that are connected. */
  ids(): string[] {
    return [...this.#connected.keys()];
  }

  /** Closes the connection of a client. */
  kick(clientId: string): void {
    this.#connected.get(clientId)?.conn.destroy();
  }

  /** Keeps a message of a client for `messages`; false when it is the last will of one that is gone. */
  receive(client: Client, packet: Publication): boolean {
    remember(this.messages, messageOf('in', client, packet));
    return !this.#wills.has(packet);
  }

  /** An error that aedes is given closes the connection, which is what AWS does to MQTT 3.1.1. */
  hooks(): AedesOptions {
    return {
      preConnect: (_client, packet, done) => {
        if (this.#faults.take('mqtt-refuse') !== undefined) {
          return done(new Error('Refused by mqtt-refuse'), false);
        }
        packet.keepalive = keepAliveSeconds(packet.keepalive ?? 0);
        if (packet.will) this.#wills.add(packet.will);
        done(null, true);
      },
      authenticate: (client, _username, _password, done) => {
        if (this.#accept(client)) done(null, true);
        else done(notAuthorized(client.id), false);
      },
      authorizePublish: (client, packet, done) => {
        done(client === null ? null : publishError(this.#policyOf(client), packet));
      },
      authorizeSubscribe: (client, subscription, done) => {
        done(subscribeError(this.#policyOf(client), subscription.topic, subscription.qos), subscription);
      },
      authorizeForward: (client, packet) => {
        if (!allows(this.#policyOf(client).receive, packet.topic)) return null;
        remember(this.messages, messageOf('out', client, packet));
        return packet;
      },
    };
  }

  /** Lists the client before its CONNACK goes out, so that whoever is connected is listed. */
  #accept(client: Client): boolean {
    const peer = this.#peers.get(client);
    const policy = peer === undefined ? undefined : policyFor(peer.certificate, client.id);
    if (peer === undefined || policy === undefined) return false;
    peer.policy = policy;
    this.connects += 1;
    this.#connected.set(client.id, client);
    this.#log(`${client.id} connected`);
    client.conn.once('close', () => {
      if (this.#connected.get(client.id) === client) this.#connected.delete(client.id);
      this.#log(`${client.id} disconnected`);
    });
    return true;
  }

  #policyOf(client: Client): DevicePolicy {
    return this.#peers.get(client)?.policy ?? noPolicy;
  }
}

/** AWS: 0 and more than 1200 mean 1200, less than 30 means 30; the broker waits one and a half times as long. */
export function keepAliveSeconds(asked: number): number {
  if (asked === 0 || asked > maxKeepAliveSeconds) return maxKeepAliveSeconds;
  return Math.max(asked, minKeepAliveSeconds);
}

/**
 * `iot:Connection.Thing.ThingName` is the client id where a thing of that name is attached to the certificate; a
 * client id that was registered besides may use the shadows of all its things.
 */
function policyFor(certificate: DeviceCertificate, clientId: string): DevicePolicy | undefined {
  const { things, clientIds, policy } = certificate;
  if (things.has(clientId)) return { ...devicePolicy([clientId]), ...policy };
  return clientIds.has(clientId) ? { ...devicePolicy(things), ...policy } : undefined;
}

function publishError(policy: DevicePolicy, { topic, payload, qos, retain }: Publication): Error | null {
  if (qos > 1) return new Error(`QoS ${qos} is not supported`);
  if (retain) return new Error(`RETAIN is not permitted on ${topic}`);
  if (Buffer.byteLength(payload) > maxPayloadBytes) {
    return new Error(`The payload on ${topic} is larger than ${maxPayloadBytes} bytes`);
  }
  return allows(policy.publish, topic) ? null : new Error(`The policy does not allow to publish on ${topic}`);
}

function subscribeError(policy: DevicePolicy, filter: string, qos: number): Error | null {
  if (qos > 1) return new Error(`QoS ${qos} is not supported`);
  return allows(policy.subscribe, filter)
    ? null
    : new Error(`The policy does not allow to subscribe to ${filter}`);
}

function messageOf(direction: 'in' | 'out', client: Client, packet: Publication): BrokerMessage {
  return { direction, clientId: client.id, topic: packet.topic, payload: packet.payload.toString() };
}

function notAuthorized(clientId: string): AuthenticateError {
  const error = new Error(`The policy does not allow to connect as ${clientId}`);
  return Object.assign(error, { returnCode: returnCodeNotAuthorized });
}

/** Aedes asks about each filter alone, so the limit for a whole packet is watched at its parser. */
function limitFilters(client: Client): void {
  const parser: unknown = Reflect.get(client, '_parser');
  if (!(parser instanceof EventEmitter)) throw new Error('This version of aedes has no parser to watch');
  parser.prependListener('packet', (packet: unknown) => {
    const subscribe = v.safeParse(subscribePacket, packet);
    if (!subscribe.success || subscribe.output.subscriptions.length <= maxFiltersPerSubscribe) return;
    client.conn.destroy();
  });
}
