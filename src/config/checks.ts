import { isAbsolute, join, resolve } from 'node:path';
import * as v from 'valibot';
import type { Problem } from '../core/errors.ts';
import { regionOfHost } from '../core/iot-policy.ts';
import { isJsonObject, type JsonObject, type JsonValue, member } from '../core/json.ts';
import { type Accounts, type Owner, resolveOwner } from '../io/accounts.ts';
import type { IdentityPaths } from '../io/identity.ts';
import type { ProxyRules } from '../io/proxy.ts';
import { canonical } from '../io/spelling.ts';
import { fileKind } from '../io/text-file.ts';
import { resolveProxy } from './proxy.ts';
import { entries, fileEntries, hookEntries, s3Entries } from './schema.ts';

/** Where relative paths begin and what stands in for a missing stateDir. */
export interface Surroundings {
  /** The directory of the config file; without a file, the working directory. */
  baseDir: string;
  /** Absolute path of the config file, where there is one. */
  configPath: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
  accounts: Accounts;
}

/** What the checks across keys work out, each absent where it has a problem. */
export interface Resolved {
  problems: Problem[];
  paths: IdentityPaths;
  region: string | undefined;
  stateDir: string;
  metricsFile: string | undefined;
  proxy: ProxyRules;
  /** One for each entry of `files`, in its order. */
  files: ResolvedFile[];
}

export interface ResolvedFile {
  path: string | undefined;
  owner: Owner | undefined;
  mode: number | undefined;
  /** The program of the hook: an absolute path, or a name that is looked for in PATH. */
  program?: string;
}

// sun_path of unix(7) has 108 bytes, one of them for the end.
const maxSocketPathBytes = 107;
const leastBytesPerSecond = 1_000;

/** Checks what a single key cannot tell. It takes the keys that are sound, so that all problems come at once. */
export async function resolveAcross(raw: JsonObject, around: Surroundings): Promise<Resolved> {
  const s3 = objectAt(raw, 's3');
  const paths = identityPaths(raw, s3, around.baseDir);
  const region = regionOf(raw, s3);
  const stateDir = stateDirOf(raw, around);
  const metrics = metricsFileOf(raw, around);
  const files = await resolveFiles(raw, { ...paths, metricsFile: metrics }, stateDir, around);
  const proxy = resolveProxy(raw, around.env);
  return {
    problems: [
      ...region.problems,
      ...proxy.problems,
      ...(await stateDirProblems(stateDir)),
      ...rateProblems(s3),
      ...files.problems,
    ],
    paths,
    region: region.value,
    stateDir,
    metricsFile: metrics,
    proxy: proxy.rules,
    files: files.value,
  };
}

function sound<T>(schema: v.GenericSchema<unknown, T>, value: JsonValue | undefined): T | undefined {
  const parsed = v.safeParse(schema, value);
  return parsed.success ? parsed.output : undefined;
}

function objectAt(raw: JsonObject, key: string): JsonObject {
  const value = member(raw, key);
  return isJsonObject(value) ? value : {};
}

function identityPaths(raw: JsonObject, s3: JsonObject, baseDir: string): IdentityPaths {
  const cert = sound(entries.cert, member(raw, 'cert'));
  const key = sound(entries.key, member(raw, 'key'));
  const ca = sound(entries.ca, member(raw, 'ca'));
  const s3Ca = sound(s3Entries.ca, member(s3, 'ca'));
  return {
    ...(cert === undefined ? {} : { cert: resolve(baseDir, cert) }),
    ...(key === undefined ? {} : { key: resolve(baseDir, key) }),
    ...(ca === undefined ? {} : { ca: resolve(baseDir, ca) }),
    ...(s3Ca === undefined ? {} : { s3Ca: resolve(baseDir, s3Ca) }),
  };
}

function regionOf(raw: JsonObject, s3: JsonObject): { value: string | undefined; problems: Problem[] } {
  if (Object.hasOwn(s3, 'region')) {
    return { value: sound(s3Entries.region, member(s3, 'region')), problems: [] };
  }
  const endpoint = sound(entries.endpoint, member(raw, 'endpoint'));
  // What is wrong with the endpoint is told already; with a sound one the region may follow.
  if (endpoint === undefined) return { value: undefined, problems: [] };
  const value = regionOfHost(endpoint.host);
  const problem = {
    path: 's3.region',
    message: `is missing, and endpoint ${endpoint.host} does not tell it`,
    hint: 'set "region": "us-east-1" in "s3", or give --s3-region',
  };
  return { value, problems: value === undefined ? [problem] : [] };
}

function stateDirOf(raw: JsonObject, { env, baseDir }: Surroundings): string {
  const configured = sound(entries.stateDir, member(raw, 'stateDir'));
  if (configured !== undefined) return resolve(baseDir, configured);
  // systemd.exec: one absolute path for each StateDirectory, parted by colons.
  const given = env['STATE_DIRECTORY']?.split(':')[0];
  if (given !== undefined && isAbsolute(given)) return given;
  // hier(7): what is configured in /etc has its state in /var/lib. A service and whoever asks for its status agree so.
  const [, name] = /^\/etc\/([^/]+)$/.exec(baseDir) ?? [];
  return name === undefined ? join(baseDir, 'state') : join('/var/lib', name);
}

function metricsFileOf(raw: JsonObject, { baseDir }: Surroundings): string | undefined {
  const configured = sound(entries.metricsFile, member(raw, 'metricsFile'));
  return configured === undefined ? undefined : resolve(baseDir, configured);
}

/** A slower one would have a piece of an object paid for only after hours. */
function rateProblems(s3: JsonObject): Problem[] {
  const maxBytesPerSecond = sound(s3Entries.maxBytesPerSecond, member(s3, 'maxBytesPerSecond')) ?? 0;
  if (maxBytesPerSecond === 0 || maxBytesPerSecond >= leastBytesPerSecond) return [];
  return [
    {
      path: 's3.maxBytesPerSecond',
      message: `must be 0 or at least ${leastBytesPerSecond}: ${maxBytesPerSecond}`,
      hint: '0 is no limit',
    },
  ];
}

async function stateDirProblems(stateDir: string): Promise<Problem[]> {
  const kind = await fileKind(stateDir);
  if (kind !== 'missing' && kind !== 'directory') {
    const message = kind === 'below a file' ? 'lies below a file' : 'is no directory';
    return [
      {
        path: 'stateDir',
        message: `${stateDir} ${message}`,
        hint: 'name a directory; it is made if missing',
      },
    ];
  }
  const bytes = Buffer.byteLength(join(stateDir, 'agent.sock'));
  if (bytes <= maxSocketPathBytes) return [];
  return [
    {
      path: 'stateDir',
      message: `is too long: the socket agent.sock in it would have a path of ${bytes} bytes, and ${maxSocketPathBytes} is the most`,
      hint: 'name a shorter path, such as /var/lib/shadow-agent',
    },
  ];
}

async function resolveFiles(
  raw: JsonObject,
  { metricsFile, ...paths }: IdentityPaths & { metricsFile: string | undefined },
  stateDir: string,
  { baseDir, configPath, accounts }: Surroundings,
): Promise<{ value: ResolvedFile[]; problems: Problem[] }> {
  const list = member(raw, 'files');
  const problems: Problem[] = [];
  const value: ResolvedFile[] = [];
  const properties = new Map<string, string>();
  const targets = new Map(await ownPaths({ ...paths, configPath, stateDir }));
  if (metricsFile !== undefined)
    problems.push(...(await targetProblems(metricsFile, 'metricsFile', baseDir, targets)));
  for (const [index, entry] of (Array.isArray(list) ? list : []).entries()) {
    const file = isJsonObject(entry) ? entry : {};
    const at = `files[${index}]`;
    const property = sound(fileEntries.property, member(file, 'property'));
    if (property !== undefined)
      problems.push(...taken(properties, property, `${at}.property`, 'give each file its own'));
    const path = sound(fileEntries.path, member(file, 'path'));
    if (path !== undefined) problems.push(...(await targetProblems(path, `${at}.path`, baseDir, targets)));
    const owner = ownerOf(file, `${at}.owner`, accounts);
    problems.push(...owner.problems);
    value.push({
      path: path === undefined ? undefined : resolve(baseDir, path),
      owner: owner.value,
      mode: sound(fileEntries.mode, member(file, 'mode')),
      ...programOf(file, baseDir),
    });
  }
  return { value, problems };
}

/** A hook may come as a file of this very agent, so it need not be there yet. */
function programOf(file: JsonObject, baseDir: string): { program?: string } {
  const hook = sound(hookEntries.command, member(objectAt(file, 'onInstall'), 'command'));
  const program = hook?.[0];
  if (program === undefined) return {};
  return { program: program.includes('/') ? resolve(baseDir, program) : program };
}

/** The agent's own files, by their path: no target may replace one. */
async function ownPaths(own: Record<string, string | undefined>): Promise<[string, string][]> {
  const named = Object.entries(own).flatMap(([name, path]) => (path === undefined ? [] : [{ name, path }]));
  return Promise.all(
    named.map(
      async ({ name, path }): Promise<[string, string]> => [
        await canonical(path),
        name === 'configPath' ? 'the configuration itself' : name,
      ],
    ),
  );
}

async function targetProblems(
  path: string,
  at: string,
  baseDir: string,
  targets: Map<string, string>,
): Promise<Problem[]> {
  const target = resolve(baseDir, path);
  const kind = path.endsWith('/') ? 'directory' : await fileKind(target);
  const twice = taken(targets, await canonical(target), at, 'give each file a path of its own');
  if (twice.length > 0) return twice;
  if (kind === 'directory')
    return [{ path: at, message: `${path} is a directory`, hint: 'name the file in it' }];
  if (kind === 'special')
    return [{ path: at, message: `${path} is no regular file`, hint: 'name a regular file' }];
  if (kind === 'below a file') {
    return [
      { path: at, message: `${path} lies below a file`, hint: 'name a path whose parents are directories' },
    ];
  }
  return [];
}

function taken(users: Map<string, string>, name: string, at: string, hint: string): Problem[] {
  const first = users.get(name);
  if (first !== undefined) return [{ path: at, message: `is the same as ${first}`, hint }];
  users.set(name, at);
  return [];
}

function ownerOf(
  file: JsonObject,
  at: string,
  accounts: Accounts,
): { value: Owner | undefined; problems: Problem[] } {
  const text = sound(fileEntries.owner, member(file, 'owner'));
  if (text === undefined) return { value: undefined, problems: [] };
  const found = resolveOwner(text, accounts);
  return found.ok
    ? { value: found.owner, problems: [] }
    : { value: undefined, problems: [{ path: at, message: found.message, hint: found.hint }] };
}
