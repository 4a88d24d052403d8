import { connect, type IClientOptions } from 'mqtt';
import type { JsonObject } from '../core/json.ts';
import { shadowPrefix } from '../core/shadow.ts';
import type { Faults } from './faults.ts';
import { parseRequest } from './shadow-document.ts';
import { type Reply, type ShadowService, shadowNamePattern, thingNamePattern } from './shadow-service.ts';

/** What the shadow service needs of a broker: publish at QoS 1, and see what clients publish. */
export interface MqttLink {
  publish(topic: string, payload: string): void;
  /** Calls the handler for every message of a client on a shadow request topic; never for the service's own. */
  onPublish(handler: (topic: string, payload: Uint8Array) => void): void;
}

interface RequestTopic {
  thingName: string;
  shadowName?: string;
  operation: string;
}

const requestFilters = [shadowPrefix('+'), shadowPrefix('+', '+')].flatMap((prefix) =>
  ['get', 'update', 'delete'].map((operation) => `${prefix}/${operation}`),
);

/** Texts of the codes that `shadow-reject` is used with. Source: device-shadow-error-messages. */
const rejectionTexts = new Map([
  [401, 'Unauthorized'],
  [403, 'Forbidden'],
  [404, 'Thing not found'],
  [409, 'Version conflict'],
  [413, 'The payload exceeds the maximum size allowed'],
  [429, 'Too many requests'],
]);

/** Connects the shadow service with a broker; the returned function takes it off again. */
export function linkShadowService(shadows: ShadowService, link: MqttLink, faults: Faults): () => void {
  link.onPublish((topic, payload) => {
    const request = parseRequestTopic(topic);
    if (request === undefined || faults.take('shadow-drop') !== undefined) return;
    const reply = injectedRejection(faults, payload) ?? perform(shadows, request, payload);
    // What an update or delete causes comes through onMessage, as it does for requests over HTTPS.
    if (reply.ok && request.operation !== 'get') return;
    const outcome = reply.ok ? 'accepted' : 'rejected';
    link.publish(`${topic}/${outcome}`, JSON.stringify(reply.ok ? reply.body : rejectionBody(reply)));
  });
  return shadows.onMessage(({ topic, body }) => link.publish(topic, JSON.stringify(body)));
}

/**
 * Attaches the shadow service as an ordinary client to any broker that lets it use all shadow topics. With `clean:
 * false` among the options, the broker keeps requests while the service is away.
 *
 * @throws Error when the broker cannot be reached or refuses the service
 */
export async function attachShadowService(
  url: string,
  options: IClientOptions,
  shadows: ShadowService,
  faults: Faults,
): Promise<{ close(): Promise<void> }> {
  const client = connect(url, { ...options, protocolVersion: 4 });
  // The client mends a lost connection by itself; an error that nobody listens to would end the process.
  client.on('error', () => undefined);
  // The handlers stand before CONNACK: what the broker has kept comes right behind it.
  const unlink = linkShadowService(
    shadows,
    {
      publish: (topic, payload) => {
        client.publish(topic, payload, { qos: 1 });
      },
      onPublish: (handler) => {
        client.on('message', handler);
      },
    },
    faults,
  );
  try {
    await new Promise<void>((resolve, reject) => {
      client.once('connect', () => resolve());
      client.once('error', reject);
      client.once('close', () => reject(new Error(`The broker ${url} closed the connection`)));
    });
    await client.subscribeAsync(requestFilters, { qos: 1 });
  } catch (error) {
    unlink();
    await client.endAsync(true);
    throw error;
  }
  return {
    close: async () => {
      unlink();
      await client.endAsync();
    },
  };
}

function parseRequestTopic(topic: string): RequestTopic | undefined {
  const match = /^\$aws\/things\/([^/]+)\/shadow(?:\/name\/([^/]+))?\/(get|update|delete)$/.exec(topic);
  const [, thingName, shadowName, operation] = match ?? [];
  if (thingName === undefined || operation === undefined || !thingNamePattern.test(thingName))
    return undefined;
  if (shadowName === undefined) return { thingName, operation };
  return shadowNamePattern.test(shadowName) ? { thingName, shadowName, operation } : undefined;
}

function perform(shadows: ShadowService, request: RequestTopic, payload: Uint8Array): Reply {
  const { thingName, shadowName, operation } = request;
  if (operation === 'get') return shadows.get(thingName, shadowName, payload);
  if (operation === 'delete') return shadows.delete(thingName, shadowName, payload);
  return shadows.update(thingName, shadowName, payload);
}

function injectedRejection(faults: Faults, payload: Uint8Array): Reply | undefined {
  const code = faults.take('shadow-reject');
  if (code === undefined) return undefined;
  const message = rejectionTexts.get(code) ?? 'Internal service failure';
  return { ...parseRequest(payload), ok: false, code, message };
}

function rejectionBody({ code, message, clientToken }: Extract<Reply, { ok: false }>): JsonObject {
  return { code, message, ...(clientToken === undefined ? {} : { clientToken }) };
}
