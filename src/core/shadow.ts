import * as v from 'valibot';
import { isJsonObject, type JsonObject, type JsonValue, jsonEqual, member } from './json.ts';

/** `$aws/things/…/shadow`, or `…/shadow/name/…` of a named shadow. Source: AWS IoT developer guide, reserved-topics. */
export function shadowPrefix(thingName: string, shadowName?: string): string {
  const classic = `$aws/things/${thingName}/shadow`;
  return shadowName === undefined ? classic : `${classic}/name/${shadowName}`;
}

/** The five topics that the agent listens to. */
export function shadowTopics(prefix: string): string[] {
  return ['get/accepted', 'get/rejected', 'update/accepted', 'update/rejected', 'update/delta'].map(
    (topic) => `${prefix}/${topic}`,
  );
}

// AWS allows 8 levels in a document; deeper input is no shadow document, and would only exhaust the stack.
const maxDepth = 32;
const maxPayloadBytes = 256 * 1024;

const jsonObject = v.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'is no object',
);
const section = v.optional(jsonObject);

/** An object with these members among others; valibot's own takes a list for one, too. */
function object<const T extends v.ObjectEntries>(entries: T) {
  return v.pipe(
    v.custom<unknown>((value) => !Array.isArray(value)),
    v.looseObject(entries),
  );
}

const clientToken = v.optional(v.string());
const documentSchema = object({
  state: object({ desired: section, reported: section }),
  clientToken,
});
const version = v.optional(v.number());
const acceptedSchema = object({
  state: v.nullish(object({ desired: v.nullish(jsonObject) })),
  version,
  clientToken,
});
const deltaSchema = object({ state: jsonObject, version, clientToken });
const rejectionSchema = object({
  code: v.number(),
  message: v.optional(v.string(), ''),
  clientToken,
});

/** The two sections of a shadow document; a missing one is empty. */
export interface ShadowDocument {
  desired: JsonObject;
  reported: JsonObject;
}

/** A message of the shadow service, read from its topic and payload. */
export type ShadowMessage =
  | { kind: 'get/accepted'; clientToken: string | undefined; document: ShadowDocument }
  | UpdateAccepted
  | {
      kind: 'get/rejected' | 'update/rejected';
      clientToken: string | undefined;
      code: number;
      message: string;
    }
  | UpdateDelta;

/** Somebody's update; `desired` is what it says of that section, null where it clears the section. */
export interface UpdateAccepted {
  kind: 'update/accepted';
  clientToken: string | undefined;
  version: number | undefined;
  desired: JsonObject | null | undefined;
}

/** What desired has and reported has not, after an update. */
export interface UpdateDelta {
  kind: 'update/delta';
  clientToken: string | undefined;
  version: number | undefined;
  state: JsonObject;
}

/**
 * Reads one message of the shadow service.
 *
 * @throws Error with a short reason when the payload is not what the topic promises; such a message is dropped.
 */
export function parseShadowMessage(prefix: string, topic: string, payload: Uint8Array): ShadowMessage {
  const kind = topic.startsWith(`${prefix}/`) ? topic.slice(prefix.length + 1) : '';
  const json = parseJson(payload);
  switch (kind) {
    case 'get/accepted': {
      const { state, clientToken } = check(documentSchema, json);
      return {
        kind,
        clientToken,
        document: { desired: state.desired ?? {}, reported: state.reported ?? {} },
      };
    }
    case 'update/accepted': {
      const { state, version, clientToken } = check(acceptedSchema, json);
      return { kind, clientToken, version, desired: state === null ? null : state?.desired };
    }
    case 'get/rejected':
    case 'update/rejected': {
      const { code, message, clientToken } = check(rejectionSchema, json);
      return { kind, clientToken, code, message };
    }
    case 'update/delta': {
      const { state, version, clientToken } = check(deltaSchema, json);
      return { kind, clientToken, version, state };
    }
    default:
      throw new Error('unexpected topic');
  }
}

function parseJson(payload: Uint8Array): unknown {
  if (payload.length > maxPayloadBytes) throw new Error('payload is too large');
  const text = new TextDecoder('utf-8', { fatal: true }).decode(payload);
  if (nesting(text) > maxDepth) throw new Error('JSON is nested too deeply');
  return JSON.parse(text);
}

/** Deepest bracket nesting of a JSON text, counted before it is parsed. */
function nesting(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const char = text[index];
    if (char === '"') inString = !inString;
    else if (inString && char === '\\') index += 1;
    else if (!inString && (char === '[' || char === '{')) deepest = Math.max(deepest, ++depth);
    else if (!inString && (char === ']' || char === '}')) depth -= 1;
  }
  return deepest;
}

function check<T>(schema: v.GenericSchema<unknown, T>, json: unknown): T {
  const parsed = v.safeParse(schema, json);
  if (!parsed.success) throw new Error('not a document of this topic');
  return parsed.output;
}

/**
 * Tells whether a message is news, so that the full document must be read.
 *
 * A delta rings, but for one that answers a report of ours and repeats what we hold: as long as the file is not
 * current each report causes one, and asking again for each would never end.
 * What is withdrawn, or goes back to what is reported, causes no delta; the accepted update of whoever wrote it tells.
 * While the document is being read (`isReading`), what is held may be about to change, so its equal is news as well.
 */
export function rings(
  message: UpdateAccepted | UpdateDelta,
  held: ReadonlyMap<string, JsonValue | undefined>,
  isOwnToken: (token: string) => boolean,
  isReading = false,
): boolean {
  const news = message.kind === 'update/delta' ? message.state : message.desired;
  if (news === undefined) return false;
  if (news === null) return true;
  const properties = [...held.keys()].filter((property) => Object.hasOwn(news, property));
  if (properties.length === 0) return false;
  if (isReading) return true;
  const own = message.clientToken !== undefined && isOwnToken(message.clientToken);
  if (message.kind === 'update/delta' && !own) return true;
  return properties.some((property) => !covers(held.get(property), news[property]));
}

/** Whether each leaf of `part` stands in `whole` with the same value, null for what is not there. */
function covers(whole: JsonValue | undefined, part: JsonValue | undefined): boolean {
  if (part === null) return whole === undefined;
  if (!isJsonObject(whole) || !isJsonObject(part)) return jsonEqual(whole, part);
  return Object.keys(part).every((key) => covers(member(whole, key), part[key]));
}

/**
 * The smallest update that turns `seen` into `wanted`, or undefined when nothing is to be said.
 *
 * Keys that `wanted` lacks become null, at every depth; arrays are replaced whole. Keys at the top that `wanted`
 * does not name belong to others and are left alone. Source: developer guide, device-shadow-document.
 */
export function reportedPatch(wanted: JsonObject, seen: JsonObject): JsonObject | undefined {
  const entries = Object.keys(wanted).flatMap((key) =>
    change(key, storable(member(wanted, key)), member(seen, key)),
  );
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** A value as a shadow can hold it: without nulls, which only delete. */
function storable(value: JsonValue | undefined): JsonValue | undefined {
  if (value === null) return undefined;
  if (!isJsonObject(value)) return value;
  const kept = Object.entries(value).flatMap(([key, inner]) => {
    const stored = storable(inner);
    return stored === undefined ? [] : [[key, stored] as const];
  });
  return Object.fromEntries(kept);
}

function change(
  key: string,
  wanted: JsonValue | undefined,
  seen: JsonValue | undefined,
): Array<[string, JsonValue]> {
  if (wanted === undefined) return seen === undefined ? [] : [[key, null]];
  if (jsonEqual(wanted, seen)) return [];
  if (!isJsonObject(wanted) || !isJsonObject(seen)) return [[key, wanted]];
  const keys = new Set([...Object.keys(wanted), ...Object.keys(seen)]);
  const inner = [...keys].flatMap((name) => change(name, member(wanted, name), member(seen, name)));
  return [[key, Object.fromEntries(inner)]];
}

/** What the reported section is after an accepted update: objects merge, null deletes, all else replaces. */
export function mergeReported(seen: JsonObject, patch: JsonObject): JsonObject {
  const merged = new Map(Object.entries(seen));
  for (const [key, value] of Object.entries(patch)) {
    const old = merged.get(key);
    if (value === null) merged.delete(key);
    else if (isJsonObject(value)) merged.set(key, mergeReported(isJsonObject(old) ? old : {}, value));
    else merged.set(key, value);
  }
  return Object.fromEntries(merged);
}
