/**
 * The Device Shadow service once more, in the most naive way: a flat map from JSON pointers to what stands there, and
 * everything that is shown computed anew from it. Its rules are those of the AWS IoT developer guide
 * (device-shadow-document, device-shadow-mqtt, device-shadow-data-flow), not those of the sandbox's code.
 */
import { isJsonObject, type JsonObject, type JsonValue, jsonEqual } from '../../src/core/json.ts';

/** An object stands as itself, whatever is below it; all else is a leaf that was written at some time. */
type Entry = { kind: 'object' } | { kind: 'leaf'; value: JsonValue; timestamp: number };
type Flat = Map<string, Entry>;

export interface ModelMessage {
  topic: string;
  body: JsonObject;
}

interface ModelRejection {
  ok: false;
  code: number;
  message: string;
  clientToken?: string;
}

/** What a request must lead to. Where more than one thing is wrong, any of the rejections will do. */
export type ModelReply =
  | { ok: true; body: JsonObject; messages: ModelMessage[] }
  | { ok: false; anyOf: ModelRejection[] };

export interface ModelUpdate {
  state: JsonValue;
  version?: number;
  clientToken?: string;
}

const versionMemoryMs = 48 * 3_600_000;
const maxBytes = 8192;
const maxLevels = 8;
const sections = ['desired', 'reported'];

export class ShadowModel {
  readonly #prefix: string;
  readonly #name: string;
  readonly #now: () => number;
  #flat: Flat | undefined;
  #version = 0;
  #deletedAtMs = Number.NEGATIVE_INFINITY;

  constructor(name: string, now: () => number) {
    this.#name = name;
    this.#prefix = `$aws/things/${name}/shadow`;
    this.#now = now;
  }

  get(clientToken?: string): ModelReply {
    if (this.#flat === undefined) return this.#notFound(clientToken);
    const delta = tree(deltaOf(this.#flat), '/desired', state);
    const shown: JsonObject = sectionsOf(this.#flat, state);
    if (isJsonObject(delta) && Object.keys(delta).length > 0) shown['delta'] = delta;
    const body = { ...this.#head(clientToken), state: shown, metadata: sectionsOf(this.#flat, metadata) };
    return { ok: true, body, messages: [] };
  }

  update({ state: wanted, version, clientToken }: ModelUpdate): ModelReply {
    const next: Flat = new Map(this.#flat);
    const timestamp = this.#seconds();
    for (const name of sections) {
      const value = isJsonObject(wanted) ? (own(wanted, name) ?? undefined) : undefined;
      if (wanted === null || (isJsonObject(wanted) && own(wanted, name) === null)) remove(next, `/${name}`);
      else if (value !== undefined) write(next, `/${name}`, value, timestamp);
    }
    const wrong = this.#wrong(next, wanted, version);
    if (wrong.length > 0) return refused(wrong, clientToken);

    const previous = this.#document();
    this.#version = this.#nextVersion();
    this.#flat = next;
    const accepted = {
      ...this.#head(clientToken),
      state: wanted,
      // Of all that it says, what it deletes included.
      metadata: stamped(wanted, timestamp),
    };
    const documents = {
      previous,
      current: this.#document(),
      timestamp,
      ...token(clientToken),
    };
    const messages = [
      this.#message('update/accepted', accepted),
      this.#message('update/documents', documents),
    ];
    const delta = deltaOf(next);
    if (delta.size > 0) {
      const body = {
        ...this.#head(clientToken),
        state: tree(delta, '/desired', state),
        metadata: tree(delta, '/desired', metadata),
      };
      messages.push(this.#message('update/delta', body));
    }
    return { ok: true, body: accepted, messages };
  }

  delete(clientToken?: string): ModelReply {
    if (this.#flat === undefined) return this.#notFound(clientToken);
    const body = this.#head(clientToken);
    this.#flat = undefined;
    this.#version += 1;
    this.#deletedAtMs = this.#now();
    return { ok: true, body, messages: [this.#message('delete/accepted', body)] };
  }

  /** The version that a conditional update must name. */
  get version(): number {
    return this.#version;
  }

  #wrong(next: Flat, wanted: JsonValue, version: number | undefined): Wrong[] {
    const wrong: Wrong[] = [];
    if (version !== undefined && this.#flat !== undefined && version !== this.#version) {
      wrong.push({ code: 409, message: 'Version conflict' });
    }
    // What of a shadow that is not there: Greengrass's shadow manager takes 1 only.
    if (version !== undefined && this.#flat === undefined && version !== 1) {
      wrong.push({ code: 400, message: 'Invalid version' });
    }
    // Under the state, each section may have this many levels.
    if (levels(wanted) - 1 > maxLevels) {
      wrong.push({ code: 400, message: 'JSON contains too many levels of nesting; maximum is 6' });
    }
    const bytes = sections.map((name) =>
      Buffer.byteLength(JSON.stringify(tree(next, `/${name}`, state) ?? '')),
    );
    if (bytes.reduce((sum, size) => sum + size, 0) > maxBytes) {
      wrong.push({ code: 413, message: 'The payload exceeds the maximum size allowed' });
    }
    return wrong;
  }

  #notFound(clientToken: string | undefined): ModelReply {
    return refused([{ code: 404, message: `No shadow exists with name: '${this.#name}'` }], clientToken);
  }

  #nextVersion(): number {
    const forgotten = this.#flat === undefined && this.#now() - this.#deletedAtMs > versionMemoryMs;
    return forgotten ? 1 : this.#version + 1;
  }

  #document(): JsonValue {
    if (this.#flat === undefined) return null;
    return {
      state: sectionsOf(this.#flat, state),
      metadata: sectionsOf(this.#flat, metadata),
      version: this.#version,
    };
  }

  #head(clientToken: string | undefined): JsonObject {
    return { version: this.#version, timestamp: this.#seconds(), ...token(clientToken) };
  }

  #message(topic: string, body: JsonObject): ModelMessage {
    return { topic: `${this.#prefix}/${topic}`, body };
  }

  #seconds(): number {
    return Math.floor(this.#now() / 1000);
  }
}

type Wrong = Pick<ModelRejection, 'code' | 'message'>;

function refused(wrong: Wrong[], clientToken: string | undefined): ModelReply {
  return { ok: false, anyOf: wrong.map((one) => ({ ok: false, ...one, ...token(clientToken) })) };
}

function levels(value: JsonValue): number {
  if (typeof value !== 'object' || value === null) return 1;
  return 1 + Math.max(0, ...Object.values(value).map(levels));
}

function token(clientToken: string | undefined): { clientToken?: string } {
  return clientToken === undefined ? {} : { clientToken };
}

function own(object: JsonObject, key: string): JsonValue | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function escaped(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}

function unescaped(key: string): string {
  return key.replaceAll('~1', '/').replaceAll('~0', '~');
}

function remove(flat: Flat, pointer: string): void {
  for (const key of [...flat.keys()]) if (key === pointer || key.startsWith(`${pointer}/`)) flat.delete(key);
}

function write(flat: Flat, pointer: string, value: JsonValue, timestamp: number): void {
  if (!isJsonObject(value)) {
    remove(flat, pointer);
    if (value !== null) flat.set(pointer, { kind: 'leaf', value, timestamp });
    return;
  }
  if (flat.get(pointer)?.kind !== 'object') flat.set(pointer, { kind: 'object' });
  for (const key of Object.keys(value)) {
    write(flat, `${pointer}/${escaped(key)}`, own(value, key) ?? null, timestamp);
  }
}

/** The entries of desired that reported does not match, and the objects that they stand in. */
function deltaOf(flat: Flat): Flat {
  const delta: Flat = new Map();
  for (const [pointer, entry] of flat) {
    if (!pointer.startsWith('/desired/')) continue;
    const other = flat.get(pointer.replace('/desired', '/reported'));
    const same =
      entry.kind === 'leaf'
        ? other?.kind === 'leaf' && jsonEqual(entry.value, other.value)
        : other?.kind === 'object' || [...flat.keys()].some((key) => key.startsWith(`${pointer}/`));
    if (same) continue;
    const parts = pointer.split('/');
    for (let length = 2; length < parts.length; length += 1) {
      delta.set(parts.slice(0, length).join('/'), { kind: 'object' });
    }
    delta.set(pointer, entry);
  }
  return delta;
}

type Show = (leaf: Extract<Entry, { kind: 'leaf' }>) => JsonValue;
const state: Show = ({ value }) => value;
const metadata: Show = ({ value, timestamp }) => stamped(value, timestamp);

function tree(flat: Flat, pointer: string, show: Show): JsonValue {
  const entry = flat.get(pointer);
  if (entry?.kind === 'leaf') return show(entry);
  const depth = pointer.split('/').length;
  const below = [...flat.keys()].filter((key) => key.startsWith(`${pointer}/`));
  const keys = below.filter((key) => key.split('/').length === depth + 1);
  return Object.fromEntries(
    keys.map((key) => [unescaped(key.split('/').at(-1) ?? ''), tree(flat, key, show)]),
  );
}

function sectionsOf(flat: Flat, show: Show): JsonObject {
  const shown = sections.filter((name) => [...flat.keys()].some((key) => key.startsWith(`/${name}/`)));
  return Object.fromEntries(shown.map((name) => [name, tree(flat, `/${name}`, show)]));
}

function stamped(value: JsonValue, timestamp: number): JsonValue {
  if (Array.isArray(value)) return value.map((one) => stamped(one, timestamp));
  if (!isJsonObject(value)) return { timestamp };
  return Object.fromEntries(
    Object.keys(value).map((key) => [key, stamped(own(value, key) ?? null, timestamp)]),
  );
}
