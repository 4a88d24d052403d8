import { resolve } from 'node:path';
import type { Problem } from '../core/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import type { ForwardProxy } from '../io/proxy.ts';
import { configKeys } from './keys.ts';

export type FlagValue = string | number | boolean | string[];

/** What the command line gives, by the path of the configuration's key: `s3.endpoint`, `files[].mode`. */
export type Flags = Readonly<Record<string, FlagValue>>;

/** Where the sample that the tutorial describes puts its file. */
const defaultPath = '/tmp/tmpfile';
const filePrefix = 'files[].';
const pathKeys = new Set([
  'cert',
  'key',
  'ca',
  's3.ca',
  'stateDir',
  'metricsFile',
  'files[].path',
  'files[].onInstall.command',
]);

/** Lays the flags over the file's values. Relative paths in flags are relative to `cwd`; the file's stay as they are. */
export function mergeFlags(file: JsonObject, flags: Flags, cwd: string): JsonObject {
  const merged = structuredClone(file);
  const onlyFile: JsonObject = {};
  for (const [key, value] of Object.entries(flags)) {
    const wanted = pathKeys.has(key) ? fromDirectory(cwd, value) : value;
    if (key.startsWith(filePrefix)) setKey(onlyFile, key.slice(filePrefix.length).split('.'), wanted);
    else setKey(merged, key.split('.'), wanted);
  }
  if (Object.keys(onlyFile).length > 0) merged['files'] = [{ path: defaultPath, ...onlyFile }];
  return merged;
}

/** A path from a flag; of a command the program, where it is a path. */
function fromDirectory(cwd: string, value: FlagValue): JsonValue {
  if (typeof value === 'string' && value !== '') return resolve(cwd, value);
  if (!Array.isArray(value)) return value;
  const [program, ...rest] = value;
  return program?.includes('/') === true ? [resolve(cwd, program), ...rest] : value;
}

function setKey(target: JsonObject, [name = '', ...below]: string[], value: JsonValue): void {
  if (below.length === 0) {
    target[name] = value;
    return;
  }
  const section = target[name];
  // A section that is no object stays as it is, to be reported.
  if (section !== undefined && !isJsonObject(section)) return;
  const inner = section ?? {};
  setKey(inner, below, value);
  target[name] = inner;
}

/** The flags that describe one file cannot stand beside a configuration that lists its files. */
export function fileFlagProblems(file: JsonObject, flags: Flags): Problem[] {
  if (!Object.hasOwn(file, 'files')) return [];
  return configKeys
    .filter(({ path }) => path.startsWith(filePrefix) && Object.hasOwn(flags, path))
    .map(({ flag }) => ({
      path: `--${flag}`,
      message: 'defines the only file, but the configuration lists `files`',
      hint: 'leave the flag out, or take `files` out of the configuration',
    }));
}

/** What the command line should not have: every user of the device can read it. */
export function exposedFlagProblems(flags: Flags, proxy: ForwardProxy | undefined): Problem[] {
  if (!Object.hasOwn(flags, 'proxy') || proxy?.login === undefined) return [];
  const problem = {
    path: '--proxy',
    message:
      'has a password, which all users of this device see in the list of processes, and which a crash prints',
    hint: 'write it as "proxy" in the configuration file, for the agent alone to read, or set HTTPS_PROXY',
  };
  return [problem];
}

/** Says where the value came from: the flag in the place of the key's path, if it was one. */
export function sourceOf(path: string, flags: Flags): string {
  const pattern = path.replace(/^files\[0\]/, 'files[]').replace(/\[\d+\]$/, '');
  const key = configKeys.find((candidate) => candidate.path === pattern);
  return key !== undefined && Object.hasOwn(flags, key.path) ? `--${key.flag}` : path;
}
