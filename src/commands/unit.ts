import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { AgentConfig } from '../config.ts';
import { isLet, type Member, right } from '../core/access.ts';
import type { Problem } from '../core/errors.ts';
import { systemdUnit, unitProblems } from '../core/unit.ts';
import { type Passed, programsOf, type UnitRequest, unique } from '../core/unit-request.ts';
import { groupsOf, isGroupOf, readAccounts, resolveOwner } from '../io/accounts.ts';
import { ownCommand } from '../io/runtime.ts';
import { wayTo } from '../io/way.ts';

/** The systemd unit for a configuration, made for a user who need not be there yet, or why none can be made. */
export async function unit(
  config: AgentConfig,
  configPath: string,
  { user, program }: { user: string; program?: string },
): Promise<{ ok: true; text: string } | { ok: false; problems: Problem[] }> {
  const { thingName, stateDir, metricsFile, cert, key, ca, s3, files, proxy } = config;
  const accounts = await readAccounts();
  const account = resolveOwner(user, accounts);
  const maker = ownCommand();
  const command = program === undefined ? maker : [resolve(program)];
  const certificates = [cert, ca, ...(s3.ca === undefined ? [] : [s3.ca])];
  const own = [resolve(configPath), key, ...certificates];
  const real = {
    config: await truePath(resolve(configPath)),
    key: await truePath(key),
    certificates: await Promise.all(certificates.map(truePath)),
  };
  const read = [...own, ...programsOf({ command, files })];
  const written = [...files.map(({ path }) => path), ...(metricsFile === undefined ? [] : [metricsFile])];
  // What it writes to is let it in, or made, by the lines of the unit.
  const used = [...read, ...written.map((path) => dirname(path)), stateDir];
  const member = account.ok
    ? { uid: account.owner.uid, gids: groupsOf(account.owner.uid, accounts) }
    : nobodyYet;
  const isGroupShared = account.ok && !isGroupOf([0, account.owner.uid], account.owner.gid, accounts);
  const request: UnitRequest = {
    command,
    maker,
    configPath: resolve(configPath),
    thingName,
    stateDir,
    isStateForeign: await isForeign(stateDir, account.ok ? account.owner.uid : undefined),
    metricsFile: metricsFile && (await trueName(metricsFile)),
    key,
    certificates,
    real,
    readFrom: unique([
      ...(await Promise.all(own.map((path) => truePath(dirname(path))))),
      ...[real.config, real.key, ...real.certificates].map((path) => dirname(path)),
    ]),
    files: await Promise.all(files.map(async (file) => ({ ...file, path: await trueName(file.path) }))),
    passed: await passedBy(member, used),
    isSecretShared: proxy.proxy?.login !== undefined && proxy.variable === undefined && isGroupShared,
    proxyVariable: proxy.variable,
    user: { name: user, ...(account.ok ? account.owner : {}) },
  };
  const problems = unitProblems(request);
  return problems.length > 0 ? { ok: false, problems } : { ok: true, text: systemdUnit(request) };
}

/** What it is called without links, as far as it is there. */
async function truePath(path: string): Promise<string> {
  return realpath(path).catch(() => (path === '/' ? path : trueName(path)));
}

/** The same of a name in its directory, which may be a link itself. */
async function trueName(path: string): Promise<string> {
  return join(await truePath(dirname(path)), basename(path));
}

// Of the agent, and of a file system of its own.
const ownNames = /^(state\.json.*|agent\.sock|previous|hook\..*|lost\+found)$/;

/** Whether somebody else keeps something there: systemd gives all that is in a state directory to the service. */
async function isForeign(stateDir: string, uid: number | undefined): Promise<boolean> {
  const found = await stat(stateDir).catch(() => undefined);
  if (found === undefined || found.uid === uid) return false;
  const names = await readdir(stateDir).catch(() => ['closed']);
  return names.some((name) => !ownNames.test(name));
}

/** Of a user who is still to be made, only the rights of all others are known. */
const nobodyYet: Member = { uid: -1, gids: [] };

/** The directories that are there on the way to these paths, and which of them keep somebody out. */
async function passedBy(member: Member, paths: readonly string[]): Promise<Passed[]> {
  const ways = await Promise.all(paths.map(wayTo));
  const directories = unique(ways.flatMap((way) => way.directories)).sort();
  const looks = directories.map(async (path) => {
    const found = await stat(path).catch(() => undefined);
    // The unit takes root its capabilities.
    return found === undefined
      ? []
      : [{ path, isClosed: !isLet(found, member, right.enter), isOthers: found.uid !== 0 }];
  });
  return (await Promise.all(looks)).flat();
}
