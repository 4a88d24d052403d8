import { realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Problem } from '../core/errors.ts';
import {
  directoryProblem,
  type Entry,
  keyProblem,
  ownDirectoryProblem,
  trustedFileProblem,
} from '../core/permissions.ts';
import type { Resolved } from './checks.ts';

/** What others on this device could read or replace, of all that the configuration names; each thing once. */
export async function permissionProblems(
  { paths, stateDir, files }: Pick<Resolved, 'paths' | 'stateDir' | 'files'>,
  configPath: string | undefined,
): Promise<Problem[]> {
  const trusted = [
    { at: 'config', path: configPath },
    { at: 'cert', path: paths.cert },
    { at: 'key', path: paths.key },
    { at: 'ca', path: paths.ca },
    { at: 's3.ca', path: paths.s3Ca },
  ].flatMap(({ at, path }) => (path === undefined ? [] : [{ at, path }]));
  const targets = files.flatMap(({ path }, index) =>
    path === undefined ? [] : [{ at: `files[${index}].path`, path }],
  );
  const own = { at: 'stateDir', path: stateDir };
  const problems: Problem[] = [
    ...(await judge({ at: 'key', path: paths.key }, keyProblem)),
    ...(await Promise.all(trusted.map((file) => judge(file, trustedFileProblem)))).flat(),
    ...(await judge(own, ownDirectoryProblem)),
  ];
  const seen = new Set<string>(problems.map(({ path }) => (path === own.at ? own.path : '')));
  for (const { at, path } of [...trusted, own, ...targets]) {
    for (const directory of await directoriesOf(path)) {
      if (seen.has(directory)) continue;
      seen.add(directory);
      problems.push(...(await judge({ at, path: directory }, directoryProblem)));
    }
  }
  return problems;
}

interface Named {
  /** The key of the configuration that it comes from. */
  at: string;
  path: string | undefined;
}

/** What cannot be looked at is told of elsewhere, or is not there yet. */
async function judge(
  { at, path }: Named,
  problemOf: (at: string, entry: Entry) => Problem[],
): Promise<Problem[]> {
  const found = path === undefined ? undefined : await stat(path).catch(() => undefined);
  return path === undefined || found === undefined ? [] : problemOf(at, { path, mode: found.mode });
}

/** Every directory on the way to a path, as it is written and as its links lead. */
async function directoriesOf(path: string): Promise<string[]> {
  const written = ancestors(path);
  const there = await Promise.all(written.map((directory) => realpath(directory).catch(() => undefined)));
  const nearest = there.find((directory) => directory !== undefined);
  const real = nearest === undefined ? [] : [nearest, ...ancestors(nearest)];
  return [...new Set([...real, ...written])];
}

/** The directories above an absolute path, the nearest first. */
function ancestors(path: string): string[] {
  const above = dirname(path);
  return above === path ? [] : [above, ...ancestors(above)];
}
