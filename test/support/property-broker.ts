import { AgentError } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';
import type { MqttLink } from '../../src/io/mqtt.ts';
import { LinkLost } from '../../src/io/mqtt-ends.ts';
import type { ShadowService } from '../../src/sandbox/shadow-service.ts';
import type { ClockView, VirtualClock } from './property-clock.ts';

/** What becomes of one message on its way. Messages of different delays overtake one another. */
export interface Fate {
  delayMs: number;
  /** How often the agent gets it. */
  copies: 1 | 2;
  /** A request is carried out once more, later. */
  repeated?: boolean;
  /** The message is gone; the connection too, soon after, when somebody waits for it. */
  lost: boolean;
  /** A request is not carried out but refused. */
  reject?: number | undefined;
}

export interface ConnectFate {
  delayMs: number;
  refused: boolean;
}

export interface BrokerOptions {
  clock: VirtualClock;
  /** The clock of those who wait for a connection. */
  waiting: ClockView;
  service: ShadowService;
  thing: string;
  /** `topic` is what comes behind the shadow's prefix. */
  fate: (topic: string) => Fate;
  connectFate: () => ConnectFate;
}

type Verb = 'get' | 'update';

/** An MQTT broker in memory, with the shadow service behind it and a fate for each message. */
export class FaultyBroker {
  readonly #options: BrokerOptions;
  readonly #prefix: string;
  #link: MemoryLink | undefined;
  readonly counts = { connects: 0, get: 0, update: 0, faults: 0 };
  /** What the agent must never do, and did. */
  readonly violations: string[] = [];

  constructor(options: BrokerOptions) {
    this.#options = options;
    this.#prefix = `$aws/things/${options.thing}/shadow`;
    options.service.onMessage(({ topic, body }) => this.#send(topic, body));
  }

  /** Whether the agent waits for the answer to a get. */
  get awaitsGet(): boolean {
    return this.#link?.outstanding.has('get') === true;
  }

  readonly connect = async (signal: AbortSignal): Promise<MqttLink> => {
    const { delayMs, refused } = this.#options.connectFate();
    this.counts.connects += 1;
    await this.#options.waiting.sleep(delayMs, signal);
    signal.throwIfAborted();
    if (refused) throw new AgentError('NETWORK', 'Cannot connect to the broker');
    if (this.#link?.isUp === true) this.violations.push('two connections at once');
    const link = new MemoryLink((verb, payload) => this.#request(link, verb, payload), this.#prefix);
    this.#link = link;
    return link;
  };

  /** Ends the connection, if there is one. */
  cut(): void {
    this.#link?.drop(new LinkLost('The connection to the broker was lost'));
  }

  /** Sends something that the service did not say. */
  noise(topic: string, payload: Uint8Array): void {
    this.#link?.receive(`${this.#prefix}/${topic}`, payload);
  }

  /** @returns whether the broker took the packet, so that it is acknowledged */
  #request(link: MemoryLink, verb: Verb, payload: string): boolean {
    this.counts[verb] += 1;
    const request = JSON.parse(payload);
    if (Object.hasOwn(request.state ?? {}, 'desired')) this.violations.push(`wrote desired: ${payload}`);
    if (link.outstanding.has(verb)) this.violations.push(`two ${verb} requests in flight`);
    link.outstanding.set(verb, request.clientToken);
    const { delayMs, repeated, lost, reject } = this.#fate(verb);
    if (lost) {
      this.#loseSoon(link, delayMs);
      return false;
    }
    // What is on its way arrives, whatever becomes of the connection.
    const serve = () => this.#serve(link, verb, request, payload, reject);
    this.#options.clock.after(delayMs, serve);
    if (repeated === true) this.#options.clock.after(2 * delayMs, serve);
    return true;
  }

  #serve(link: MemoryLink, verb: Verb, request: JsonObject, payload: string, reject?: number): void {
    const { service, thing } = this.#options;
    const clientToken = String(request['clientToken']);
    if (reject !== undefined) {
      this.#send(`${this.#prefix}/${verb}/rejected`, { code: reject, message: 'refused', clientToken }, link);
      return;
    }
    const bytes = Buffer.from(payload);
    const reply =
      verb === 'get' ? service.get(thing, undefined, bytes) : service.update(thing, undefined, bytes);
    const { ok, ...rejection } = reply;
    if (!reply.ok) this.#send(`${this.#prefix}/${verb}/rejected`, { ...rejection }, link);
    else if (verb === 'get') this.#send(`${this.#prefix}/get/accepted`, reply.body, link);
  }

  #send(topic: string, body: JsonObject, link = this.#link): void {
    if (link === undefined || !link.topics.has(topic)) return;
    const { delayMs, copies, lost } = this.#fate(topic.slice(this.#prefix.length + 1));
    const payload = Buffer.from(JSON.stringify(body));
    if (lost) {
      if (link.waitsFor(topic, body['clientToken'])) this.#loseSoon(link, delayMs);
      return;
    }
    for (let copy = 1; copy <= copies; copy += 1) {
      this.#options.clock.after(delayMs * copy, () => link.answer(topic, body['clientToken'], payload));
    }
  }

  #loseSoon(link: MemoryLink, delayMs: number): void {
    const reason = new LinkLost('The connection to the broker was lost');
    this.#options.clock.after(delayMs, () => link.drop(reason));
  }

  #fate(topic: string): Fate {
    const fate = this.#options.fate(topic);
    if (fate.lost || fate.copies > 1 || fate.repeated === true || fate.reject !== undefined)
      this.counts.faults += 1;
    return fate;
  }
}

/** One connection, as mqtt.js gives it to the agent. */
class MemoryLink implements MqttLink {
  readonly host = 'localhost';
  readonly topics = new Set<string>();
  /** Tokens of the requests that are not answered yet. */
  readonly outstanding = new Map<Verb, string>();
  readonly closed: Promise<AgentError>;
  readonly #request: (verb: Verb, payload: string) => boolean;
  readonly #prefix: string;
  readonly #pending = new Set<(reason: AgentError) => void>();
  #close: (reason: AgentError) => void = () => undefined;
  #reason: AgentError | undefined;
  #handler: (topic: string, payload: Uint8Array) => void = () => undefined;

  constructor(request: (verb: Verb, payload: string) => boolean, prefix: string) {
    this.#request = request;
    this.#prefix = prefix;
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  get isUp(): boolean {
    return this.#reason === undefined;
  }

  publish(topic: string, payload: string): Promise<void> {
    if (this.#reason !== undefined) return Promise.reject(this.#reason);
    const verb = topic === `${this.#prefix}/get` ? 'get' : 'update';
    return this.whileUp(this.#request(verb, payload) ? Promise.resolve() : new Promise(() => undefined));
  }

  async subscribe(topics: string[]): Promise<string[]> {
    for (const topic of topics) this.topics.add(topic);
    return [];
  }

  onMessage(handler: (topic: string, payload: Uint8Array) => void): void {
    this.#handler = handler;
  }

  whileUp<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#reason !== undefined) return reject(this.#reason);
      this.#pending.add(reject);
      promise.then(resolve, reject).finally(() => this.#pending.delete(reject));
    });
  }

  async end(): Promise<void> {
    this.drop(new AgentError('MQTT', 'The connection was ended'));
  }

  drop(reason: AgentError): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.outstanding.clear();
    for (const reject of this.#pending) reject(reason);
    this.#close(reason);
  }

  waitsFor(topic: string, clientToken: unknown): boolean {
    const verb = topic.startsWith(`${this.#prefix}/get/`) ? 'get' : 'update';
    return (
      !topic.endsWith('/delta') && clientToken !== undefined && this.outstanding.get(verb) === clientToken
    );
  }

  answer(topic: string, clientToken: unknown, payload: Uint8Array): void {
    if (this.#reason !== undefined) return;
    if (this.waitsFor(topic, clientToken)) {
      this.outstanding.delete(topic.startsWith(`${this.#prefix}/get/`) ? 'get' : 'update');
    }
    this.receive(topic, payload);
  }

  receive(topic: string, payload: Uint8Array): void {
    if (this.#reason === undefined) this.#handler(topic, payload);
  }
}
