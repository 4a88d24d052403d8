import { randomBytes } from 'node:crypto';
import { outageHint, quotaHint } from '../core/connection-hints.ts';
import { AgentError } from '../core/errors.ts';
import { type IotAction, policyStatement } from '../core/iot-policy.ts';
import type { JsonObject } from '../core/json.ts';
import { quoted } from '../core/secrets.ts';
import {
  parseShadowMessage,
  type ShadowDocument,
  type ShadowMessage,
  shadowTopics,
  type UpdateAccepted,
  type UpdateDelta,
} from '../core/shadow.ts';
import type { Logger } from './log.ts';
import type { MqttLink } from './mqtt.ts';
import { BrokerFault, LinkLost } from './mqtt-ends.ts';
import { Seldom } from './seldom.ts';

type Answer = Exclude<ShadowMessage, UpdateDelta>;
/** A message that tells of a change of the shadow, whoever made it. */
export type Change = UpdateAccepted | UpdateDelta;

// The service answers within a second; on the poorest link a packet is repeated for some.
const answerTimeoutMs = 20_000;

// One prefix for the life of the process: a delta that answers a report of an earlier connection is ours as well.
const tokenPrefix = `sa-${randomBytes(8).toString('hex')}-`;
let tokenCount = 0;

/** Tells whether a client token was made by this process. */
export function isOwnToken(token: string): boolean {
  return token.startsWith(tokenPrefix);
}

/** The shadow of one thing, over one connection. */
export class ShadowClient {
  readonly #link: MqttLink;
  readonly #prefix: string;
  readonly #log: Logger;
  readonly #waiting = new Map<string, (answer: Answer) => void>();
  readonly #onChange: (change: Change) => void;
  readonly #dropped: Seldom;

  private constructor(link: MqttLink, prefix: string, log: Logger, onChange: (change: Change) => void) {
    this.#link = link;
    this.#prefix = prefix;
    this.#log = log;
    this.#onChange = onChange;
    this.#dropped = new Seldom(log);
  }

  /**
   * Subscribes to all that the agent listens to. Answers are not retained, so this comes before every request.
   * Source: AWS IoT developer guide, device-shadow-comms-device.
   *
   * @throws AgentError MQTT, TIMEOUT
   */
  static async open(
    link: MqttLink,
    prefix: string,
    log: Logger,
    onChange: (change: Change) => void,
  ): Promise<ShadowClient> {
    const client = new ShadowClient(link, prefix, log, onChange);
    link.onMessage((topic, payload) => client.#receive(topic, payload));
    await client.#subscribe(shadowTopics(prefix));
    return client;
  }

  /** AWS IoT ends the connection of a client that may not subscribe; other brokers say so in the SUBACK. */
  async #subscribe(topics: string[]): Promise<void> {
    let refused: string[];
    try {
      const hint = `the broker lets the agent in and then falls silent: if this comes each time, check that ${this.#link.host} is the data endpoint of AWS IoT`;
      refused = await this.#orDeaf('the subscription', this.#link.subscribe(topics), hint);
    } catch (error) {
      if (!(error instanceof LinkLost) || error instanceof BrokerFault) throw error;
      const hint = `if this comes each time, ${this.#lacks('Subscribe', this.#answers())}`;
      throw new LinkLost(`${error.message}, when the shadow's topics were subscribed`, {
        cause: error,
        hint,
      });
    }
    if (refused.length === 0) return;
    throw new AgentError('MQTT', `The broker refused the subscription to ${refused.join(', ')}`, {
      hint: this.#lacks('Subscribe', refused),
    });
  }

  /** What the service sends, as a policy names it. */
  #answers(): string[] {
    return [`${this.#prefix}/get/*`, `${this.#prefix}/update/*`];
  }

  #lacks(action: IotAction, names: readonly string[]): string {
    return `the certificate's policy lacks ${policyStatement(this.#link.host, action, names)}`;
  }

  /**
   * Reads the full document.
   *
   * @returns undefined where the thing has no shadow yet (404)
   * @throws AgentError SHADOW_REJECTED, MQTT, TIMEOUT
   */
  async get(): Promise<ShadowDocument | undefined> {
    const answer = await this.#request('get', {});
    if (answer.kind === 'get/accepted') return answer.document;
    if (answer.kind === 'get/rejected' && answer.code === 404) return undefined;
    throw rejection('get', answer);
  }

  /**
   * Writes to the reported section; null deletes.
   *
   * @throws AgentError SHADOW_REJECTED (`rejectedCode` tells which), MQTT, TIMEOUT
   */
  async report(reported: JsonObject): Promise<void> {
    const answer = await this.#request('update', { state: { reported } });
    if (answer.kind !== 'update/accepted') throw rejection('update', answer);
  }

  async #request(verb: 'get' | 'update', body: JsonObject): Promise<Answer> {
    tokenCount += 1;
    const clientToken = `${tokenPrefix}${tokenCount}`;
    const answer = new Promise<Answer>((resolve) => this.#waiting.set(clientToken, resolve));
    const answered = this.#link.whileUp(answer);
    // The connection may end while the request is still being sent.
    answered.catch(() => undefined);
    try {
      const request = JSON.stringify({ ...body, clientToken });
      await this.#orDeaf(`"${verb}"`, this.#link.publish(`${this.#prefix}/${verb}`, request));
      return await this.#orDeaf(`"${verb}"`, answered);
    } finally {
      this.#waiting.delete(clientToken);
    }
  }

  /** A connection on which nothing is answered is no better than none. */
  async #orDeaf<T>(
    what: string,
    answer: Promise<T>,
    hint = `if this comes each time, ${this.#lacks('Receive', this.#answers())}`,
  ): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const error = new AgentError('TIMEOUT', `The shadow service did not answer ${what}`, { hint });
        reject(error);
        this.#link.drop(error);
      }, answerTimeoutMs);
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #receive(topic: string, payload: Uint8Array): void {
    let message: ShadowMessage;
    try {
      message = parseShadowMessage(this.#prefix, topic, payload);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const fields = { topic, bytes: payload.length, reason: quoted(reason, 100) };
      this.#dropped.warning('Dropped a message that is no shadow document', fields);
      return;
    }
    this.#log.debug('Received', { topic, bytes: payload.length });
    if (message.kind === 'update/delta' || message.kind === 'update/accepted') this.#onChange(message);
    if (message.kind === 'update/delta' || message.clientToken === undefined) return;
    // An answer without a token of ours is another client's.
    this.#waiting.get(message.clientToken)?.(message);
  }
}

/** The shadow service refused a request; `rejectedCode` is its own. */
export class ShadowRejection extends AgentError {
  readonly rejectedCode: number;

  constructor(verb: string, rejectedCode: number, message: string) {
    super(
      'SHADOW_REJECTED',
      `The shadow service rejected "${verb}": ${rejectedCode} ${quoted(message, 200)}`,
      {
        retry: [409, 429, 500].includes(rejectedCode) ? 'soon' : 'slow',
        hint: rejectionHint(rejectedCode),
      },
    );
    this.rejectedCode = rejectedCode;
  }
}

const service = 'the shadow service';

/** Source: AWS IoT developer guide, device-shadow-error-messages. */
function rejectionHint(code: number): string {
  if (code === 401 || code === 403)
    return "the certificate's policy must allow it, and must be attached to it";
  if (code === 409) return 'somebody else wrote the shadow at that moment: the agent tries again by itself';
  if (code === 429) return quotaHint(service);
  return code >= 500
    ? outageHint(service)
    : 'check "thingName" and "shadowName", and the size of the shadow (8 KB)';
}

function rejection(verb: string, answer: Answer): AgentError {
  return 'code' in answer
    ? new ShadowRejection(verb, answer.code, answer.message)
    : new AgentError('MQTT', `The shadow service answered "${verb}" with ${answer.kind}`);
}
