import { lstat, readlink, realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Problem } from '../core/errors.ts';
import {
  directoryProblem,
  type Entry,
  keyProblem,
  linkProblem,
  ownDirectoryProblem,
  type Trust,
  trustedFileProblem,
} from '../core/permissions.ts';
import { type Accounts, nameOfUser } from '../io/accounts.ts';
import type { Resolved } from './checks.ts';

type Located = Pick<Resolved, 'paths' | 'stateDir' | 'files'>;
type Rule = (at: string, entry: Entry, trust: Trust) => Problem[];

/** The user of the agent, and the accounts by which users have names. */
export interface AgentUser {
  uid: number;
  accounts: Accounts;
}

/**
 * The user of the agent that root asks about: whoever owns its state or, where it has not run yet, its key. Anybody
 * else can ask only about an agent of their own.
 */
export async function userAskedAbout({ paths, stateDir }: Located, uid: number): Promise<number> {
  if (uid !== 0) return uid;
  const found = (await lookAt(stateDir)) ?? (await lookAt(paths.key));
  return found?.uid ?? uid;
}

/** What others on this device could read or replace, of all that the configuration names; each thing once. */
export async function permissionProblems(
  located: Located,
  configPath: string | undefined,
  user: AgentUser,
): Promise<Problem[]> {
  const things = thingsOf(located, configPath);
  const problems: Problem[] = [];
  const told = new Set<string>();
  const judge = async (at: string, path: string, rule: Rule, trust: Trust): Promise<void> => {
    const entry = told.has(path) ? undefined : await lookAt(path, rule === linkProblem);
    const found = entry === undefined ? [] : rule(at, entry, trust);
    if (found.length > 0) told.add(path);
    problems.push(...found);
  };
  const trust = trustOf(user);
  for (const { at, path, rule } of things) await judge(at, path, rule, trust);
  const ways = [
    ...things.map(({ at, path }) => ({ at, trust, way: wayTo(path) })),
    ...targetsOf(located).map(({ at, path, owner }) => ({
      at,
      trust: trustOf(user, owner?.uid),
      // A target that is a link is replaced itself.
      way: wayInto(dirname(path)),
    })),
  ];
  for (const { at, trust, way } of ways) {
    const { directories, links } = await way;
    for (const path of directories) await judge(at, path, directoryProblem, trust);
    for (const path of links) await judge(at, path, linkProblem, trust);
  }
  return problems;
}

function trustOf({ uid, accounts }: AgentUser, owner = uid): Trust {
  const nameOf = (one: number) => nameOfUser(one, accounts) ?? String(one);
  return { uids: [0, uid, owner], agent: nameOf(uid), nameOf };
}

/** What the agent trusts, by the key of the configuration that names it. */
function thingsOf({ paths, stateDir }: Located, configPath: string | undefined) {
  const named: { at: string; path: string | undefined; rule: Rule }[] = [
    { at: 'config', path: configPath, rule: trustedFileProblem },
    { at: 'cert', path: paths.cert, rule: trustedFileProblem },
    { at: 'key', path: paths.key, rule: keyProblem },
    { at: 'ca', path: paths.ca, rule: trustedFileProblem },
    { at: 's3.ca', path: paths.s3Ca, rule: trustedFileProblem },
    { at: 'stateDir', path: stateDir, rule: ownDirectoryProblem },
  ];
  return named.flatMap(({ path, ...rest }) => (path === undefined ? [] : [{ ...rest, path }]));
}

function targetsOf({ files }: Located) {
  return files.flatMap(({ path, owner }, index) =>
    path === undefined ? [] : [{ at: `files[${index}].path`, path, owner }],
  );
}

/** What cannot be looked at is told of elsewhere, or is not there yet. */
async function lookAt(path: string | undefined, asLink = false): Promise<Entry | undefined> {
  if (path === undefined) return undefined;
  const found = await (asLink ? lstat(path) : stat(path)).catch(() => undefined);
  return found === undefined ? undefined : { path, mode: found.mode, uid: found.uid };
}

/** What is passed on the way to a path: whoever can change any of it can lead the way elsewhere. */
interface Way {
  /** By their true paths, the nearest first. */
  directories: Set<string>;
  links: Set<string>;
}

async function wayTo(path: string, way: Way = { directories: new Set(), links: new Set() }): Promise<Way> {
  const directory = dirname(path);
  if (directory === path) return way;
  await wayInto(directory, way);
  const link = way.links.has(path) ? undefined : await readlink(path).catch(() => undefined);
  if (link === undefined) return way;
  way.links.add(path);
  const from = await realpath(directory).catch(() => directory);
  return wayTo(resolve(from, link), way);
}

async function wayInto(
  directory: string,
  way: Way = { directories: new Set(), links: new Set() },
): Promise<Way> {
  const real = await realpath(directory).catch(() => undefined);
  if (real !== undefined) way.directories.add(real);
  return wayTo(directory, way);
}
