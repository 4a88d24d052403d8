import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { type Resolved, type ResolvedFile, resolveAcross } from './config/checks.ts';
import { exposedFlagProblems, type Flags, fileFlagProblems, mergeFlags, sourceOf } from './config/flags.ts';
import { structureProblems } from './config/keys.ts';
import {
  type AgentUser,
  likelyUser,
  type OpenToOthers,
  openNow,
  permissionProblems,
} from './config/permissions.ts';
import { issueProblem } from './config/problems.ts';
import { holdsPassword } from './config/proxy.ts';
import { type ConfigValues, configSchema } from './config/schema.ts';
import type { Problem } from './core/errors.ts';
import { defaultSearchPath } from './core/hook.ts';
import { canonicalJson } from './core/json.ts';
import { readAccounts, readOutsider, runAsLikely } from './io/accounts.ts';
import { readConfigFile } from './io/config-file.ts';
import { createDigest } from './io/digest.ts';
import { type Identity, readIdentity } from './io/identity.ts';
import type { ProxyRules } from './io/proxy.ts';

export type { OpenToOthers } from './config/permissions.ts';
export { configJsonSchema } from './config/schema.ts';

/** What the agent runs by: parsed, checked, defaults applied, every path absolute. */
export interface AgentConfig {
  thingName: string;
  clientId: string;
  /** The AWS IoT data endpoint; without a port 8883, and 443 where that is blocked. */
  endpoint: { host: string; port?: number };
  /** The credentials provider; `path` is `/role-aliases/ALIAS/credentials`. */
  credentialEndpoint: { host: string; port: number; path: string; roleAlias: string };
  cert: string;
  key: string;
  ca: string;
  /** Absent for the classic shadow. */
  shadowName?: string;
  stateDir: string;
  /** Where metrics for node_exporter are written. */
  metricsFile?: string;
  s3: S3Config;
  files: FileConfig[];
  /** What stands between the device and all its servers. */
  proxy: ProxyRules;
  keepAliveSeconds: number;
  resyncSeconds: number;
  jitterSeconds: number;
  stallSeconds: number;
  digest: 'native' | 'noble';
  /** Refuse what others on this device could read or replace; else it is a warning. */
  strict: boolean;
  log: { level: 'debug' | 'info' | 'warning' | 'error'; format: 'text' | 'json' };
  /** SHA-256 of what the file says, whatever its spaces and the order of its keys; absent where the flags are all there is. */
  sourceHash?: string;
}

export interface S3Config {
  region: string;
  /** An https origin in the place of AWS's own. */
  endpoint?: string;
  /** Roots to trust besides the bundled and the system's. */
  ca?: string;
  pathStyle: boolean;
  dualStack: boolean;
  /** Limit of all downloads together; 0 is none. */
  maxBytesPerSecond: number;
  /** Ranges of objects that are fetched at a time. */
  connections: number;
}

export interface FileConfig {
  /** The property of the shadow's desired and reported sections that names this file. */
  property: string;
  path: string;
  /** Permission bits; absent: what the file has, else 0644. */
  mode?: number;
  /** Absent: what the file has. */
  owner?: { uid: number; gid: number };
  /** Prefixes `s3://bucket/…` that a desired URL must start with; absent: any. */
  allow?: string[];
  maxBytes?: number;
  keepPrevious: boolean;
  /** Where it is there, an object must carry a signature by one of these keys: base64 of 32 bytes, Ed25519. */
  verify?: { publicKeys: string[] };
  /** Runs for each file that was installed, and decides whether it stays. */
  onInstall?: HookConfig;
}

export interface HookConfig {
  /** Program and arguments, without a shell; a program with a slash is an absolute path. */
  command: readonly string[];
  timeoutSeconds: number;
}

export type LoadedConfig =
  /** `warnings` are problems that do not keep the agent from running. */
  | {
      ok: true;
      config: AgentConfig;
      identity: Identity;
      user: AgentUser;
      warnings: Problem[];
      openToOthers: OpenToOthers;
    }
  | BrokenConfig;

export interface BrokenConfig {
  ok: false;
  /** The command line contradicts the file. */
  usage: boolean;
  /** All of them; those of the two lists below, too. */
  problems: Problem[];
  /** Of certificate, key and roots. */
  identityProblems?: Problem[];
  /** Of what others may read or write; refused where `strict` says so. */
  permissionProblems?: Problem[];
  /** What is sound in spite of the problems. */
  config?: AgentConfig;
  identity?: Identity;
  /** Of the agent. */
  user?: AgentUser;
}

export interface LoadOptions {
  /** Relative to `cwd`; without one the flags are all there is. */
  configPath?: string | undefined;
  flags: Flags;
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  /** Of the user that it is loaded for; by default that of this process. */
  uid?: number;
  /** It is not loaded to run: where root asks, the agent may be another user's. */
  asks?: boolean;
}

/**
 * Reads the config file, lays the flags over it, checks all of it and reads the identity. Lists every problem at
 * once; none of them is thrown.
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const { configPath, flags, env, cwd, uid = process.geteuid?.() ?? 0, asks = false } = options;
  const path = configPath === undefined ? undefined : resolve(cwd, configPath);
  const file = await readFile(path);
  if (!file.ok) return { ok: false, usage: false, problems: [file.problem] };
  const contradictions = fileFlagProblems(file.value, flags);
  if (contradictions.length > 0) return { ok: false, usage: true, problems: contradictions };

  const raw = mergeFlags(file.value, flags, cwd);
  const parsed = v.safeParse(configSchema, raw, { abortPipeEarly: true });
  const accounts = await readAccounts();
  const baseDir = path === undefined ? cwd : dirname(path);
  const across = await resolveAcross(raw, { baseDir, configPath: path, env, accounts });
  const identity = await readIdentity(across.paths);
  const outsider = await readOutsider();
  const found = await likelyUser(across, accounts);
  const likelyUid = found === outsider ? undefined : found;
  // Anybody but root can ask only about an agent of their own.
  const agentUid = (asks && uid === 0 ? likelyUid : undefined) ?? uid;
  const user: AgentUser = {
    uid: agentUid,
    accounts,
    ...(likelyUid === undefined || likelyUid === agentUid ? {} : { likelyUid }),
    ...(outsider === undefined ? {} : { outsider }),
  };
  const { strict = agentUid === 0 } = raw;
  const wrongIdentity = identity.ok ? [] : identity.problems.map((problem) => forOwner(problem, user));
  const searched = env['PATH'] ?? defaultSearchPath;
  const hasPassword = holdsPassword(file.value);
  const open = (await permissionProblems(across, { path, hasPassword }, user, searched)).filter(
    (problem) => !wrongIdentity.some((other) => other.path === problem.path),
  );
  const told = (list: Problem[]) =>
    list.map((problem) => ({ ...problem, path: sourceOf(problem.path, flags) }));
  const identityProblems = told(wrongIdentity);
  const refused = strict ? told(open.map(asRefusal)) : [];
  const problems = [
    ...told([...structureProblems(raw), ...(parsed.issues ?? []).flatMap(issueProblem), ...across.problems]),
    ...identityProblems,
    ...refused,
  ];
  const source = path === undefined ? {} : { sourceHash: hashOf(canonicalJson(file.value)) };
  const config = parsed.success
    ? assemble({ ...parsed.output, ...source }, across, agentUid === 0)
    : undefined;
  if (problems.length > 0 || config === undefined || !identity.ok) {
    return {
      ok: false,
      usage: false,
      problems,
      identityProblems,
      permissionProblems: strict ? refused : open,
      user,
      ...(identity.ok ? { identity: identity.identity } : {}),
      ...(config === undefined ? {} : { config }),
    };
  }
  const warnings = [...open, ...exposedFlagProblems(flags, config.proxy.proxy)];
  const openToOthers = openNow(across.paths, user);
  return { ok: true, config, identity: identity.identity, user, warnings, openToOthers };
}

function hashOf(text: string): string {
  const digest = createDigest('native');
  digest.update(new TextEncoder().encode(text));
  return digest.hex();
}

/** To let anybody read the key is not what helps who asks as the wrong user. */
function forOwner(problem: Problem, user: AgentUser): Problem {
  const isClosed = problem.message.endsWith(' may not be read');
  return { ...problem, hint: (isClosed ? runAsLikely(user) : undefined) ?? problem.hint };
}

function asRefusal({ hint, ...problem }: Problem): Problem {
  return { ...problem, hint: `${hint}; or set "strict": false, to be warned only` };
}

async function readFile(path: string | undefined): ReturnType<typeof readConfigFile> {
  return path === undefined ? { ok: true, value: {} } : readConfigFile(path);
}

/** Joins what the file says with what was worked out of it; undefined where a part had a problem. */
function assemble(
  values: ConfigValues & Pick<AgentConfig, 'sourceHash'>,
  across: Resolved,
  isRoot: boolean,
): AgentConfig | undefined {
  const { cert, key, ca, s3Ca } = across.paths;
  if (cert === undefined || key === undefined || ca === undefined || across.region === undefined)
    return undefined;
  const { ca: _, ...s3 } = values.s3;
  return {
    ...values,
    clientId: values.clientId ?? values.thingName,
    cert,
    key,
    ca,
    stateDir: across.stateDir,
    ...(across.metricsFile === undefined ? {} : { metricsFile: across.metricsFile }),
    proxy: across.proxy,
    strict: values.strict ?? isRoot,
    s3: { ...s3, region: across.region, ...(s3Ca === undefined ? {} : { ca: s3Ca }) },
    files: values.files.map(({ owner: _owner, onInstall, ...file }, index) => {
      const { path = file.path, owner, program }: Partial<ResolvedFile> = across.files[index] ?? {};
      return {
        ...file,
        path,
        ...(owner === undefined ? {} : { owner }),
        ...(onInstall === undefined ? {} : { onInstall: withProgram(onInstall, program) }),
      };
    }),
  };
}

function withProgram({ command, ...hook }: HookConfig, program: string | undefined): HookConfig {
  return { ...hook, command: program === undefined ? command : [program, ...command.slice(1)] };
}
