import type { AgentError } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';
import type { MqttLink } from '../../src/io/mqtt.ts';

/** What the agent published: every request of it carries a client token. */
export interface Published {
  topic: string;
  body: JsonObject & { clientToken: string };
}

/** A connection to the broker that is all in memory; the test plays the shadow service. */
export class FakeLink implements MqttLink {
  readonly host = 'abc-ats.iot.us-east-1.amazonaws.com';
  readonly published: Published[] = [];
  readonly subscribed: string[] = [];
  listenedBeforeSubscribe = false;
  subscribeError: AgentError | undefined;
  publishError: AgentError | undefined;
  /** The SUBACK never comes. */
  subscribeNever = false;
  /** The broker never acknowledges. */
  publishNever = false;
  /** Answers a request as soon as it is published. */
  answer: ((request: Published['body']) => void) | undefined;
  dropped: AgentError | undefined;
  readonly closed: Promise<AgentError>;
  #close: (reason: AgentError) => void = () => undefined;
  #handler: ((topic: string, payload: Uint8Array) => void) | undefined;

  constructor() {
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
  }

  publish(topic: string, payload: string): Promise<void> {
    if (this.publishError !== undefined) return Promise.reject(this.publishError);
    const { clientToken, ...rest } = JSON.parse(payload);
    const body = { ...rest, clientToken: String(clientToken) };
    this.published.push({ topic, body });
    if (this.publishNever) return this.whileUp(new Promise(() => undefined));
    this.answer?.(body);
    return this.whileUp(Promise.resolve());
  }

  /** Topics that the SUBACK does not grant. */
  refused: string[] = [];

  async subscribe(topics: string[]): Promise<string[]> {
    this.listenedBeforeSubscribe = this.#handler !== undefined;
    if (this.subscribeError !== undefined) throw this.subscribeError;
    if (this.subscribeNever) await this.whileUp(new Promise(() => undefined));
    this.subscribed.push(...topics);
    return this.refused;
  }

  onMessage(handler: (topic: string, payload: Uint8Array) => void): void {
    this.#handler = handler;
  }

  whileUp<T>(promise: Promise<T>): Promise<T> {
    const lost = this.closed.then((reason) => Promise.reject(reason));
    return Promise.race([lost, promise]);
  }

  /** How often it was ended. */
  ends = 0;

  async end(): Promise<void> {
    this.ends += 1;
  }

  drop(reason: AgentError): void {
    this.dropped = reason;
    this.#close(reason);
  }

  get lastToken(): string {
    return this.published.at(-1)?.body.clientToken ?? '';
  }

  /** The service sends a message on a topic of the test thing's classic shadow. */
  receive(topic: string, body: unknown): void {
    this.receiveRaw(`$aws/things/test-thing/shadow/${topic}`, Buffer.from(JSON.stringify(body)));
  }

  receiveRaw(topic: string, payload: Uint8Array): void {
    this.#handler?.(topic, payload);
  }
}
