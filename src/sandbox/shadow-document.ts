import { isJsonObject, type JsonObject, type JsonValue, jsonEqual, member } from '../core/json.ts';

/** A stored shadow: `state` and `metadata` hold the sections desired and reported, where they are not empty. */
export interface ShadowDocument {
  state: JsonObject;
  metadata: JsonObject;
  version: number;
}

/** A refused request. Source of codes and texts: AWS IoT developer guide, device-shadow-error-messages. */
export interface Rejection {
  ok: false;
  code: number;
  message: string;
  clientToken?: string;
}

/** A request whose members are checked; `state` is there for updates only. */
export interface ShadowRequest {
  ok: true;
  clientToken?: string;
}

export interface UpdateRequest extends ShadowRequest {
  state: JsonObject | null;
  version?: number;
}

export interface ShadowLimits {
  /** Of the serialized desired and reported sections together; metadata does not count. */
  maxBytes: number;
  /** Levels of a section: the section itself is level 1, a key of it level 2. */
  maxDepth: number;
}

/** AWS's text says 6 whatever the limit in force is. */
export const messages = {
  invalidJson: 'Invalid JSON',
  missingState: 'Missing required node: state',
  stateType: 'State node must be an object',
  desiredType: 'Desired node must be an object',
  reportedType: 'Reported node must be an object',
  invalidVersion: 'Invalid version',
  invalidClientToken: 'Invalid clientToken',
  tooDeep: 'JSON contains too many levels of nesting; maximum is 6',
  invalidNode: 'State contains an invalid node',
  conflict: 'Version conflict',
  tooLarge: 'The payload exceeds the maximum size allowed',
  encoding: 'Unsupported documented encoding; supported encoding is UTF-8',
} as const;

const maxClientTokenBytes = 64;

/** Reads a get or delete request: all of the payload but the client token is ignored, an empty one is usual. */
export function parseRequest(payload: Uint8Array | undefined): ShadowRequest | Rejection {
  const parsed = payload === undefined ? undefined : parseJson(payload);
  return parsed === undefined || 'code' in parsed ? { ok: true } : tokenOf(parsed.value);
}

/** Reads an update request and checks all of it that does not need the stored document. */
export function parseUpdate(payload: Uint8Array, limits: ShadowLimits): UpdateRequest | Rejection {
  const parsed = parseJson(payload);
  if ('code' in parsed) return parsed;
  const token = tokenOf(parsed.value);
  if (!token.ok) return token;
  const problem = problemOf(parsed.value, limits);
  if (problem !== undefined) return { ...token, ok: false, code: 400, message: problem };
  const state = member(parsed.value, 'state');
  const version = member(parsed.value, 'version');
  return {
    ...token,
    state: isJsonObject(state) ? state : null,
    ...(typeof version === 'number' ? { version } : {}),
  };
}

function parseJson(payload: Uint8Array): { value: JsonObject } | Rejection {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(payload);
  } catch {
    return { ok: false, code: 415, message: messages.encoding };
  }
  try {
    const value: JsonValue = JSON.parse(text);
    if (isJsonObject(value)) return { value };
  } catch {
    // Not JSON, or nested deeper than the parser can follow: the same answer.
  }
  return { ok: false, code: 400, message: messages.invalidJson };
}

function tokenOf(request: JsonObject): ShadowRequest | Rejection {
  const clientToken = member(request, 'clientToken');
  if (clientToken === undefined) return { ok: true };
  if (typeof clientToken === 'string' && Buffer.byteLength(clientToken) <= maxClientTokenBytes) {
    return { ok: true, clientToken };
  }
  return { ok: false, code: 400, message: messages.invalidClientToken };
}

function problemOf(request: JsonObject, { maxDepth }: ShadowLimits): string | undefined {
  const version = member(request, 'version');
  if (version !== undefined && !(Number.isInteger(version) && Number(version) >= 0)) {
    return messages.invalidVersion;
  }
  const state = member(request, 'state');
  if (state === undefined) return messages.missingState;
  if (state === null) return undefined;
  if (!isJsonObject(state)) return messages.stateType;
  for (const [name, section] of Object.entries(state)) {
    if (name !== 'desired' && name !== 'reported') return messages.invalidNode;
    if (section === null) continue;
    if (!isJsonObject(section)) return name === 'desired' ? messages.desiredType : messages.reportedType;
    if (isDeeperThan(section, maxDepth)) return messages.tooDeep;
    if (hasNullInArray(section)) return messages.invalidJson;
  }
  return undefined;
}

/** Goes no deeper than the limit, so that hostile nesting cannot exhaust the stack. */
function isDeeperThan(value: JsonValue, levels: number): boolean {
  if (levels === 0) return true;
  if (typeof value !== 'object' || value === null) return false;
  return Object.values(value).some((inner) => isDeeperThan(inner, levels - 1));
}

function hasNullInArray(value: JsonValue): boolean {
  if (Array.isArray(value)) return value.some((element) => element === null || hasNullInArray(element));
  return isJsonObject(value) && Object.values(value).some(hasNullInArray);
}

/** The document after an accepted update; times are epoch seconds. */
export function applyUpdate(
  stored: ShadowDocument | undefined,
  state: JsonObject | null,
  version: number,
  timestamp: number,
): ShadowDocument {
  if (state === null) return { state: {}, metadata: {}, version };
  const merged = merge(stored ?? { state: {}, metadata: {} }, state, timestamp);
  const isShown = ([name]: [string, JsonValue]): boolean => {
    const section = member(merged.state, name);
    return isJsonObject(section) && Object.keys(section).length > 0;
  };
  return {
    state: Object.fromEntries(Object.entries(merged.state).filter(isShown)),
    metadata: Object.fromEntries(Object.entries(merged.metadata).filter(isShown)),
    version,
  };
}

type Stamped = Pick<ShadowDocument, 'state' | 'metadata'>;

/**
 * Objects merge key by key, all else replaces, null deletes; only what the patch names gets a new time. An object
 * that loses its last key stays. Maps, since a key such as `__proto__` must be one like any other.
 */
function merge(stored: Stamped, patch: JsonObject, timestamp: number): Stamped {
  const state = new Map(Object.entries(stored.state));
  const metadata = new Map(Object.entries(stored.metadata));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) {
      state.delete(key);
      metadata.delete(key);
    } else if (isJsonObject(value)) {
      const inner = merge(innerOf(stored, key), value, timestamp);
      state.set(key, inner.state);
      metadata.set(key, inner.metadata);
    } else {
      state.set(key, value);
      metadata.set(key, stamp(value, timestamp));
    }
  }
  return { state: Object.fromEntries(state), metadata: Object.fromEntries(metadata) };
}

function innerOf(stored: Stamped, key: string): Stamped {
  const state = member(stored.state, key);
  const metadata = member(stored.metadata, key);
  if (!isJsonObject(state) || !isJsonObject(metadata)) return { state: {}, metadata: {} };
  return { state, metadata };
}

/** Metadata of a value: each leaf, null among them, becomes `{timestamp}`; arrays go element by element. */
export function stamp(value: JsonValue, timestamp: number): JsonValue {
  if (Array.isArray(value)) return value.map((element) => stamp(element, timestamp));
  if (!isJsonObject(value)) return { timestamp };
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, stamp(inner, timestamp)]));
}

/**
 * What desired has and reported has not, or has with another value, with the metadata of desired; undefined when
 * there is no difference. Arrays compare as a whole.
 */
export function deltaOf(document: ShadowDocument): Stamped | undefined {
  const desired = innerOf(document, 'desired');
  const reported = member(document.state, 'reported');
  const delta = difference(desired, isJsonObject(reported) ? reported : {});
  return Object.keys(delta.state).length === 0 ? undefined : delta;
}

function difference(desired: Stamped, reported: JsonObject): Stamped {
  const state: Array<[string, JsonValue]> = [];
  const metadata: Array<[string, JsonValue]> = [];
  for (const [key, value] of Object.entries(desired.state)) {
    const other = member(reported, key);
    if (jsonEqual(value, other)) continue;
    if (isJsonObject(value) && isJsonObject(other)) {
      const inner = difference(innerOf(desired, key), other);
      if (Object.keys(inner.state).length === 0) continue;
      state.push([key, inner.state]);
      metadata.push([key, inner.metadata]);
    } else {
      state.push([key, value]);
      metadata.push([key, member(desired.metadata, key) ?? {}]);
    }
  }
  return { state: Object.fromEntries(state), metadata: Object.fromEntries(metadata) };
}

/** Bytes that count against the limit of a document. */
export function documentBytes({ state }: ShadowDocument): number {
  return Object.values(state).reduce<number>(
    (sum, section) => sum + Buffer.byteLength(JSON.stringify(section)),
    0,
  );
}
