import { access, constants, lstat, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { mayUse, right } from '../core/access.ts';
import type { Problem } from '../core/errors.ts';
import {
  directoryProblem,
  type Entry,
  keyProblem,
  linkProblem,
  ownDirectoryProblem,
  passwordProblem,
  type Trust,
  targetDirectoryProblem,
  targetProblem,
  trustedFileProblem,
} from '../core/permissions.ts';
import {
  type Accounts,
  groupsOf,
  isGroupOf,
  nameOfGroup,
  nameOfUser,
  onlyUserOf,
  readAccounts,
  runAsLikely,
} from '../io/accounts.ts';
import { type Way, wayInto, wayTo } from '../io/way.ts';
import type { Resolved } from './checks.ts';

type Located = Pick<Resolved, 'paths' | 'files'> & Partial<Pick<Resolved, 'stateDir' | 'metricsFile'>>;
type Rule = (at: string, entry: Entry & { isFile: boolean }, trust: Trust) => Problem[];

/** The user of the agent, and the accounts by which users have names. */
export interface AgentUser {
  uid: number;
  accounts: Accounts;
  /** Whom the state or the key is for, where that is somebody else: most likely the user that the agent runs as. */
  likelyUid?: number;
  /** Stands for every user that the user namespace of this process does not know, where there is one. */
  outsider?: number;
}

/**
 * Who most likely runs the agent: whoever owns its state or, where it has not run yet, its key. A key of root's may be for
 * the one user of its group; the state of root's too, then, where that user may write to it.
 */
export async function likelyUser(
  { paths, stateDir }: { paths: Located['paths']; stateDir?: string | undefined },
  accounts: Accounts,
): Promise<number | undefined> {
  const state = await lookAt(stateDir);
  const key = await lookAt(paths.key);
  const user = key && userOfKey(key, accounts);
  if (state === undefined || user === undefined) return state?.uid ?? user;
  const member = { uid: user, gids: groupsOf(user, accounts) };
  return state.uid === 0 && mayUse(state, member, right.write) ? user : state.uid;
}

function userOfKey({ mode, uid, gid }: Entry, accounts: Accounts): number {
  const byGroup = uid === 0 && (mode & (right.read << 3)) !== 0;
  return (byGroup ? onlyUserOf(gid, accounts) : undefined) ?? uid;
}

/**
 * What others on this device could read or replace, of all that the configuration names; each thing once.
 *
 * @param searched where programs without a slash are looked for, as PATH has it
 */
export async function permissionProblems(
  located: Located,
  config: { path: string | undefined; hasPassword: boolean },
  user: AgentUser,
  searched: string,
): Promise<Problem[]> {
  const programs = await programsOf(located, searched, user);
  const passed = programs.filter(({ hint }) => hint !== undefined);
  const things = [...thingsOf(located, config), ...programs.filter((one) => !passed.includes(one))];
  const targets = targetsOf(located, user);
  const judge = new Judge();
  const trust = trustOf(user);
  for (const one of things) await judge.see(one, one.path, one.rule, trust);
  // A target that is a link is replaced itself.
  for (const one of targets) await judge.see(one, one.path, one.rule, one.trust, false);
  for (const one of things) await judge.seeWay(one, await wayTo(one.path), directoryProblem, trust);
  for (const one of targets) await judge.seeWayOfTarget(one, one.path, trust);
  const { metricsFile } = located;
  if (metricsFile !== undefined) await judge.seeWayOfTarget({ at: 'metricsFile' }, metricsFile, trust);
  // Last, as what leads to something else too is not mended by their hint.
  for (const one of passed) {
    await judge.see(one, one.path, one.rule, trust);
    await judge.seeWay(one, await wayTo(one.path), directoryProblem, trust);
  }
  return judge.problems;
}

/** What others could read or replace while the agent runs, at each question anew. */
export interface OpenToOthers {
  /** Of certificate, key and roots. */
  ofIdentity: () => Promise<Problem[]>;
  /** Of the directories of a target, and the links that lead there. */
  onTheWayTo: (target: string) => Promise<Problem[]>;
}

export function openNow(paths: Located['paths'], user: AgentUser): OpenToOthers {
  const noConfig = { path: undefined, hasPassword: false };
  const now = async () => ({ ...user, accounts: await readAccounts() });
  return {
    ofIdentity: async () => permissionProblems({ paths, files: [] }, noConfig, await now(), ''),
    onTheWayTo: async (target) => {
      const judge = new Judge();
      await judge.seeWayOfTarget({ at: 'files' }, target, trustOf(await now()));
      return judge.problems;
    },
  };
}

/** The key of the configuration that names something, and what helps whatever is wrong with it. */
interface Named {
  at: string;
  hint?: string;
}

/** Tells of each thing once. */
class Judge {
  readonly problems: Problem[] = [];
  readonly #told = new Set<string>();

  async see(by: Named, path: string, rule: Rule, trust: Trust, isFollowed = true): Promise<void> {
    const entry = this.#told.has(path) ? undefined : await lookAt(path, isFollowed);
    const found = entry === undefined ? [] : rule(by.at, entry, trust);
    if (found.length > 0) this.#told.add(path);
    this.problems.push(...found.map((one) => ({ ...one, hint: by.hint ?? one.hint })));
  }

  async seeWay(by: Named, { directories, links }: Way, rule: Rule, trust: Trust): Promise<void> {
    for (const path of directories) await this.see(by, path, rule, trust);
    for (const path of links) await this.see(by, path, linkProblem, trust, false);
  }

  /** The "owner" of a target has no say here: root could be led to any other place. */
  async seeWayOfTarget(by: Named, path: string, trust: Trust): Promise<void> {
    await this.seeWay(by, await wayInto(dirname(path)), targetDirectoryProblem, trust);
  }
}

function trustOf(user: AgentUser, owner = user.uid): Trust {
  const { uid, accounts, likelyUid = 0, outsider } = user;
  const advice = runAsLikely(user);
  const uids = [0, uid, owner];
  const nameOf = (one: number) => nameOfUser(one, accounts) ?? String(one);
  return {
    uids,
    agent: uid,
    nameOf,
    ...(likelyUid === 0 || advice === undefined ? {} : { likely: { uid: likelyUid, advice } }),
    ...(outsider === undefined ? {} : { outsider }),
    isOwnGroup: (gid) => isGroupOf(uids, gid, accounts),
    groupNameOf: (gid) => nameOfGroup(gid, accounts) ?? String(gid),
  };
}

/** What the agent trusts, by the key of the configuration that names it. */
function thingsOf(
  { paths, stateDir }: Located,
  { path, hasPassword }: Parameters<typeof permissionProblems>[1],
) {
  const named: { at: string; path: string | undefined; rule: Rule }[] = [
    { at: 'config', path, rule: hasPassword ? passwordProblem : trustedFileProblem },
    { at: 'cert', path: paths.cert, rule: trustedFileProblem },
    { at: 'key', path: paths.key, rule: keyProblem },
    { at: 'ca', path: paths.ca, rule: trustedFileProblem },
    { at: 's3.ca', path: paths.s3Ca, rule: trustedFileProblem },
    { at: 'stateDir', path: stateDir, rule: ownDirectoryProblem },
  ];
  return named.flatMap(({ path, ...rest }) => (path === undefined ? [] : [{ ...rest, path }]));
}

function targetsOf({ files }: Located, user: AgentUser) {
  return files.flatMap(({ path, owner, mode }, index) => {
    if (path === undefined) return [];
    const trust = trustOf(user, owner?.uid);
    const rule: Rule = (at, entry) => (entry.isFile ? targetProblem(at, entry, trust, mode) : []);
    return [{ at: `files[${index}].path`, path, rule, trust }];
  });
}

/** The programs of hooks, which run with the agent's rights; one that is looked for, wherever it could be found first. */
async function programsOf({ files }: Located, searched: string, user: AgentUser) {
  const named = files.map(async ({ program }, index) => {
    const found = program === undefined ? [] : await candidates(program, searched, user);
    return found.map((one) => ({
      ...one,
      at: `files[${index}].onInstall.command`,
      rule: trustedFileProblem,
    }));
  });
  return (await Promise.all(named)).flat();
}

/** Where a program is, and before it where it is looked for in vain: these are left out by who names it by its path. */
async function candidates(
  program: string,
  searched: string,
  user: AgentUser,
): Promise<{ path: string; hint?: string }[]> {
  if (isAbsolute(program)) return [{ path: program }];
  const hint = 'name the program in "command" by its path';
  const passed: string[] = [];
  for (const directory of searched.split(':')) {
    // Hooks run in the root directory.
    const path = join(resolve('/', directory), program);
    if (await isRun(path, user))
      return [{ path }, ...passed.map((one) => ({ path: one, hint: `${hint}: ${path}` }))];
    passed.push(path);
  }
  return passed.map((path) => ({ path, hint }));
}

/** What is not run for the agent is passed over, as execvp(3) does. */
async function isRun(path: string, { uid, accounts }: AgentUser): Promise<boolean> {
  const entry = await lookAt(path);
  if (entry?.isFile !== true || !mayUse(entry, { uid, gids: groupsOf(uid, accounts) }, right.enter))
    return false;
  // Root too runs only what somebody may run, and nobody does on a file system without programs.
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** What cannot be looked at is told of elsewhere, or is not there yet. */
async function lookAt(
  path: string | undefined,
  isFollowed = true,
): Promise<(Entry & { isFile: boolean }) | undefined> {
  if (path === undefined) return undefined;
  const found = await (isFollowed ? stat(path) : lstat(path)).catch(() => undefined);
  if (found === undefined) return undefined;
  const { mode, uid, gid } = found;
  return { path, mode, uid, gid, isFile: found.isFile() };
}
