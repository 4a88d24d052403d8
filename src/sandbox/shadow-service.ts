import * as v from 'valibot';
import type { JsonObject, JsonValue } from '../core/json.ts';
import { shadowPrefix } from '../core/shadow.ts';
import {
  applyUpdate,
  deltaOf,
  documentBytes,
  messages,
  parseRequest,
  parseUpdate,
  type Rejection,
  type ShadowDocument,
  type ShadowLimits,
  type ShadowRequest,
  stamp,
} from './shadow-document.ts';

/** The answer to a shadow request: the body of `accepted`, or a rejection. */
export type Reply = { ok: true; body: JsonObject } | Rejection;

/** What the service publishes over MQTT because a shadow changed. */
export interface ShadowMessage {
  topic: string;
  body: JsonObject;
}

export interface ShadowServiceOptions {
  /** Wall-clock milliseconds. */
  now?: () => number;
  limits?: ShadowLimits;
}

/** Names of things and shadows. Source: AWS IoT data-plane API, ThingName and ShadowName. */
export const thingNamePattern = /^[a-zA-Z0-9:_-]{1,128}$/;
export const shadowNamePattern = /^[$a-zA-Z0-9:_-]{1,64}$/;

/** AWS: 8 KB, adjustable; the depth is the one of the current quotas page. */
const defaultLimits: ShadowLimits = { maxBytes: 8192, maxDepth: 8 };

/** A deleted shadow that is made again within this time goes on with its versions (device-shadow-data-flow). */
const versionMemoryMs = 48 * 3_600_000;

interface Tombstone {
  version: number;
  deletedAtMs: number;
}

const documentSchema = v.object({
  state: v.record(v.string(), v.any()),
  metadata: v.record(v.string(), v.any()),
  version: v.number(),
});
const snapshotSchema = v.object({
  documents: v.array(v.tuple([v.string(), documentSchema])),
  tombstones: v.array(v.tuple([v.string(), v.object({ version: v.number(), deletedAtMs: v.number() })])),
});

/**
 * The Device Shadow service without its transports. Requests are answered with a reply; whatever way an update or
 * a delete came, its `accepted`, `delta` and `documents` go to the listeners. Things need not be registered, as with
 * AWS. Shadows are stored under the topic prefix that names them.
 */
export class ShadowService {
  readonly #now: () => number;
  readonly #limits: ShadowLimits;
  readonly #documents = new Map<string, ShadowDocument>();
  readonly #tombstones = new Map<string, Tombstone>();
  readonly #listeners = new Set<(message: ShadowMessage) => void>();

  constructor({ now = Date.now, limits = defaultLimits }: ShadowServiceOptions = {}) {
    this.#now = now;
    this.#limits = limits;
  }

  /** Hands every message of an accepted update or delete to the listener, until the returned function is called. */
  onMessage(listener: (message: ShadowMessage) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The document with its delta, or 404. */
  get(thingName: string, shadowName?: string, payload?: Uint8Array): Reply {
    const request = parseRequest(payload);
    if (!request.ok) return request;
    const document = this.#documents.get(shadowPrefix(thingName, shadowName));
    if (document === undefined) return missing(request, thingName, shadowName);
    const delta = deltaOf(document);
    const state = delta === undefined ? document.state : { ...document.state, delta: delta.state };
    return { ok: true, body: this.#body(request, { ...document, state }) };
  }

  /** Merges a request into the document, or makes the document. */
  update(thingName: string, shadowName: string | undefined, payload: Uint8Array): Reply {
    const request = parseUpdate(payload, this.#limits);
    if (!request.ok) return request;
    const prefix = shadowPrefix(thingName, shadowName);
    const previous = this.#documents.get(prefix);
    const conflict = conflictOf(previous, request.version);
    if (conflict !== undefined) return { ...tokenIn(request), ok: false, ...conflict };

    const timestamp = this.#epochSeconds();
    const current = applyUpdate(previous, request.state, this.#nextVersion(prefix), timestamp);
    if (documentBytes(current) > this.#limits.maxBytes) {
      return { ...tokenIn(request), ok: false, code: 413, message: messages.tooLarge };
    }
    this.#documents.set(prefix, current);
    this.#tombstones.delete(prefix);

    const { version } = current;
    const accepted = this.#body(request, {
      state: request.state,
      metadata: stamp(request.state, timestamp),
      version,
    });
    this.#emit(`${prefix}/update/accepted`, accepted);
    const delta = deltaOf(current);
    if (delta !== undefined) this.#emit(`${prefix}/update/delta`, this.#body(request, { version, ...delta }));
    const documents = { previous: previous === undefined ? null : { ...previous }, current: { ...current } };
    this.#emit(`${prefix}/update/documents`, this.#body(request, documents));
    return { ok: true, body: accepted };
  }

  /** Removes the document; the delete counts as one version. */
  delete(thingName: string, shadowName?: string, payload?: Uint8Array): Reply {
    const request = parseRequest(payload);
    if (!request.ok) return request;
    const prefix = shadowPrefix(thingName, shadowName);
    const document = this.#documents.get(prefix);
    if (document === undefined) return missing(request, thingName, shadowName);
    this.#documents.delete(prefix);
    this.#tombstones.set(prefix, { version: document.version + 1, deletedAtMs: this.#now() });
    const body = this.#body(request, { version: document.version });
    this.#emit(`${prefix}/delete/accepted`, body);
    return { ok: true, body };
  }

  /** Names of the named shadows that a thing has, sorted. */
  listNamedShadows(thingName: string): string[] {
    const prefix = shadowPrefix(thingName, '');
    return [...this.#documents.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length))
      .sort();
  }

  /** All shadows as JSON text for `restore`. */
  snapshot(): string {
    return JSON.stringify({ documents: [...this.#documents], tombstones: [...this.#tombstones] });
  }

  /** Replaces all shadows by a snapshot; throws, and changes nothing, when the text is none. */
  restore(snapshot: string): void {
    const { documents, tombstones } = v.parse(snapshotSchema, JSON.parse(snapshot));
    this.#documents.clear();
    this.#tombstones.clear();
    for (const [prefix, document] of documents) this.#documents.set(prefix, document);
    for (const [prefix, tombstone] of tombstones) this.#tombstones.set(prefix, tombstone);
  }

  #nextVersion(prefix: string): number {
    const document = this.#documents.get(prefix);
    if (document !== undefined) return document.version + 1;
    const tombstone = this.#tombstones.get(prefix);
    if (tombstone === undefined || this.#now() - tombstone.deletedAtMs >= versionMemoryMs) return 1;
    return tombstone.version + 1;
  }

  #body(request: ShadowRequest, members: Record<string, JsonValue>): JsonObject {
    return { ...members, timestamp: this.#epochSeconds(), ...tokenIn(request) };
  }

  #emit(topic: string, body: JsonObject): void {
    for (const listener of this.#listeners) listener({ topic, body });
  }

  #epochSeconds(): number {
    return Math.floor(this.#now() / 1000);
  }
}

function tokenIn({ clientToken }: ShadowRequest): { clientToken?: string } {
  return clientToken === undefined ? {} : { clientToken };
}

/** `version` names the current version. For a shadow that is not there, Greengrass's shadow manager takes 1 only. */
function conflictOf(stored: ShadowDocument | undefined, version: number | undefined) {
  if (version === undefined || version === (stored?.version ?? 1)) return undefined;
  return stored === undefined
    ? { code: 400, message: messages.invalidVersion }
    : { code: 409, message: messages.conflict };
}

function missing(request: ShadowRequest, thingName: string, shadowName: string | undefined): Rejection {
  const name = shadowName === undefined ? thingName : `${thingName}~${shadowName}`;
  return { ...tokenIn(request), ok: false, code: 404, message: `No shadow exists with name: '${name}'` };
}
