import type { JsonSchema } from '@valibot/to-json-schema';
import type { Problem } from '../core/errors.ts';
import { isJsonObject, type JsonValue } from '../core/json.ts';
import { nearest } from '../core/nearest.ts';
import { configJsonSchema } from './schema.ts';

/** A key of the configuration that holds a value, with the flag that can give it. */
export interface ConfigKey {
  /** `s3.endpoint`; `files[].mode` for a key of each file. */
  path: string;
  /** `s3-endpoint`, without the dashes in front. */
  flag: string;
  type: 'text' | 'integer' | 'boolean' | 'list';
  description: string;
  choices: string[];
  default: JsonValue | undefined;
}

type PathSegment = string | number;

const root = configJsonSchema();

/** Every key that has a flag, in the order of the schema. */
export const configKeys: readonly ConfigKey[] = keysOf(root, '');

function keysOf(section: JsonSchema, prefix: string): ConfigKey[] {
  return Object.entries(section.properties ?? {}).flatMap(([name, definition]) => {
    const node = objectNode(definition);
    const path = prefix + name;
    if (node.properties !== undefined) return keysOf(node, `${path}.`);
    const items = itemsOf(node);
    return items?.properties === undefined ? [toKey(path, node)] : keysOf(items, `${path}[].`);
  });
}

function toKey(path: string, node: JsonSchema): ConfigKey {
  return {
    path,
    flag: flagOf(path),
    type: typeOf(node),
    description: node.description ?? '',
    choices: (node.enum ?? []).map(String),
    default: node.default,
  };
}

function typeOf(node: JsonSchema): ConfigKey['type'] {
  if (node.type === 'array') return 'list';
  if (node.type === 'boolean' || node.type === 'integer') return node.type;
  return 'text';
}

/** `s3.pathStyle` is `s3-path-style`; keys of the only file have no prefix, and its property is `shadow-property`. */
function flagOf(path: string): string {
  if (path === 'files[].property') return 'shadow-property';
  return path
    .replace('files[].', '')
    .replaceAll('.', '-')
    .replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `["files", 0, "mode"]` is `files[0].mode`; a name that is no plain word is quoted. */
export function formatPath(segments: readonly PathSegment[]): string {
  return segments.reduce<string>((path, segment) => {
    if (typeof segment === 'number') return `${path}[${segment}]`;
    const name = /^[\w$-]+$/.test(segment) ? segment : JSON.stringify(segment.slice(0, 64));
    return path === '' ? name : `${path}.${name}`;
  }, '');
}

/** How a value of this key looks, as it stands in the file: `"mode": "0644"`. */
export function exampleOf(segments: readonly PathSegment[]): string | undefined {
  let node: JsonSchema | undefined = root;
  let name = '';
  for (const segment of segments) {
    if (typeof segment === 'string') name = segment;
    const below: JsonSchema | undefined =
      typeof segment === 'number' ? itemsOf(node) : propertyOf(node, segment);
    // Below a list of plain values the list's own example is the better one.
    if (below === undefined || (typeof segment === 'number' && below.properties === undefined)) break;
    node = below;
  }
  const example = node.examples?.[0];
  return example === undefined ? undefined : `"${name}": ${JSON.stringify(example)}`;
}

/** What is nowhere in the schema, at every depth, and lists that stand where an object is wanted. */
export function structureProblems(value: JsonValue): Problem[] {
  return structureBelow(value, root, []);
}

function structureBelow(value: JsonValue, node: JsonSchema, segments: PathSegment[]): Problem[] {
  const items = itemsOf(node);
  if (Array.isArray(value)) {
    if (node.properties !== undefined) {
      return [{ path: formatPath(segments), message: 'must be an object, not a list', hint: 'write {…}' }];
    }
    return items === undefined
      ? []
      : value.flatMap((element, index) => structureBelow(element, items, [...segments, index]));
  }
  if (!isJsonObject(value) || node.properties === undefined) return [];
  return Object.entries(value).flatMap(([name, below]) => {
    const child = propertyOf(node, name);
    const at = [...segments, name];
    return child === undefined ? [unknownKey(at, node)] : structureBelow(below, child, at);
  });
}

function unknownKey(segments: PathSegment[], section: JsonSchema): Problem {
  const name = String(segments.at(-1));
  const known = Object.keys(section.properties ?? {});
  const near = nearest(name, known) ?? elsewhere(name);
  const hint = near === undefined ? `the keys here are ${known.join(', ')}` : `did you mean "${near}"?`;
  return { path: formatPath(segments), message: 'is no known key', hint };
}

/** The path of a key of this very name in another section. */
function elsewhere(name: string): string | undefined {
  return configKeys.find(({ path }) => path === name || path.endsWith(`.${name}`))?.path;
}

function propertyOf(node: JsonSchema, name: string): JsonSchema | undefined {
  const properties = node.properties ?? {};
  return Object.hasOwn(properties, name) ? objectNode(properties[name]) : undefined;
}

function itemsOf(node: JsonSchema): JsonSchema | undefined {
  return Array.isArray(node.items) || node.items === undefined ? undefined : objectNode(node.items);
}

/** JSON Schema also knows `true` and `false` as schemas; ours has none but in additionalProperties. */
function objectNode(definition: JsonSchema | boolean | undefined): JsonSchema {
  return typeof definition === 'object' ? definition : {};
}
