/** Probes of what lies on this device. They look, and change nothing. */
import { dirname, join } from 'node:path';
import type { AgentUser } from '../config/permissions.ts';
import type { FileConfig, LoadedConfig } from '../config.ts';
import type { Wanted } from '../core/artifact.ts';
import type { Finding } from '../core/doctor.ts';
import { AgentError, type Problem } from '../core/errors.ts';
import { daysLeft } from '../core/status.ts';
import { bytesText, grouped, timeText } from '../core/words.ts';
import { runAsLikely } from '../io/accounts.ts';
import { freeIn, roomIn } from '../io/disk.ts';
import { inspect } from '../io/install.ts';
import { readState } from '../io/state.ts';
import { fileKind } from '../io/text-file.ts';
import { crowded, nearestDirectory, noInode } from './places.ts';
import { type Findings, fail, ok, skip, warn } from './probe.ts';
import { readRefusal, writeRefusal } from './rights.ts';

const expiresSoonDays = 30;

export function probeConfig({ loaded }: Findings): Finding[] {
  if (loaded.ok)
    return [
      ok(
        `${loaded.config.files.length === 1 ? 'one file' : `${loaded.config.files.length} files`} for thing ${loaded.config.thingName}`,
      ),
    ];
  const { problems, identityProblems = [], permissionProblems = [] } = loaded;
  const told = new Set([...identityProblems, ...permissionProblems]);
  const others = problems.filter((problem) => !told.has(problem));
  return others.length > 0 ? others.map(failed) : [ok('sound, but for what follows')];
}

/** What others on this device could read or replace; where the configuration is strict, the agent does not start. */
export async function probePermissions(found: Findings): Promise<Finding[]> {
  const open = openToOthers(found.loaded);
  const closed = await closedToAgent(found);
  return closed.length === 0 ? open : [...open.filter(({ verdict }) => verdict !== 'ok'), ...closed];
}

function openToOthers(loaded: LoadedConfig): Finding[] {
  if (loaded.ok) {
    const found = loaded.warnings.map(({ path, message, hint }) => warn(`${path}: ${message}`, hint));
    return found.length > 0 ? found : [ok('nobody else can read the key, or replace what the agent trusts')];
  }
  const { permissionProblems } = loaded;
  if (permissionProblems === undefined) return [skip('the configuration cannot be read')];
  const refused = new Set(loaded.problems);
  const found = permissionProblems.map((problem) =>
    refused.has(problem) ? failed(problem) : warn(`${problem.path}: ${problem.message}`, problem.hint),
  );
  return found.length > 0 ? found : [ok('nobody else can read the key, or replace what the agent trusts')];
}

/** What root can read, but not the agent that root asks about. */
async function closedToAgent({ loaded: { config }, configPath, otherUser }: Findings): Promise<Finding[]> {
  if (otherUser === undefined || config === undefined) return [];
  const { cert, key, ca, s3 } = config;
  const paths = [configPath, cert, key, ca, s3.ca].flatMap((path) => path ?? []);
  const refusals = await Promise.all(paths.map((path) => readRefusal(path, otherUser)));
  return refusals.flatMap((refusal) => (refusal === undefined ? [] : [fail(refusal)]));
}

function failed({ path, message, hint }: Problem): Finding {
  return fail({ message: `${path}: ${message}`, hint });
}

export function probeIdentity({ loaded }: Findings): Finding[] {
  if (loaded.identity !== undefined)
    return [ok(`the key is that of the certificate, whose id is ${loaded.identity.fingerprint}`)];
  const { identityProblems = [] } = loaded.ok ? {} : loaded;
  return identityProblems.length > 0 ? identityProblems.map(failed) : [skip('no certificate to look at')];
}

/** The dates are judged by the clock of the network, where one could be asked. */
export function probeCertificate({ identity, loaded, clock, clockAheadMs }: Findings): Finding {
  const wallMs = clock.wallMs() - (clockAheadMs ?? 0);
  const { notBeforeMs, notAfterMs } = identity;
  const renew = renewal(loaded.config?.thingName ?? 'THING');
  // Nobody has confirmed that the clock is right.
  const orClock = `set the clock of this device if it is wrong (timedatectl); else ${renew}`;
  if (wallMs > notAfterMs) {
    return fail({
      message: `expired at ${timeText(notAfterMs)}, and now is ${timeText(wallMs)}`,
      hint: clockAheadMs === undefined ? orClock : renew,
    });
  }
  if (wallMs < notBeforeMs) {
    return fail({
      message: `not valid before ${timeText(notBeforeMs)}, and now is ${timeText(wallMs)}`,
      hint: clockAheadMs === undefined ? orClock : `the clock of AWS says so, too: ${renew}`,
    });
  }
  const days = daysLeft(timeText(notAfterMs), wallMs);
  const text = `valid until ${timeText(notAfterMs)} (${grouped(days)} days left)`;
  return days < expiresSoonDays ? warn(text, renew) : ok(text);
}

/** What to type, in one line; each command gives what the next one needs. */
function renewal(thingName: string): string {
  return [
    'make a new one with "aws iot create-keys-and-certificate --set-as-active --certificate-pem-outfile certificate.pem --private-key-outfile private.key"',
    'attach to its ARN "aws iot attach-policy --policy-name POLICY --target ARN"',
    `and "aws iot attach-thing-principal --thing-name ${thingName} --principal ARN"`,
    'then put both files in the place of "cert" and "key"',
  ].join(', ');
}

export async function probeTargets(found: Findings, signal: AbortSignal): Promise<Finding[]> {
  return Promise.all(found.files.map((file) => probeTarget(found, file, signal)));
}

/** Whether a file could be put there: a part beside it, and a rename. */
async function probeTarget(found: Findings, file: FileConfig, signal: AbortSignal): Promise<Finding> {
  const { property, path, owner } = file;
  const directory = await nearestDirectory(dirname(path));
  if (directory instanceof AgentError)
    return fail({ ...directory, message: `${property}: ${directory.message}` });
  const { files } = await freeIn(directory);
  const refusal = (await refusalIn(directory, found)) ?? noInode(directory, files);
  if (refusal !== undefined) return fail({ ...refusal, message: `${property}: ${refusal.message}` });
  const uid = found.otherUser?.uid ?? process.geteuid?.();
  if (owner !== undefined && uid !== 0 && owner.uid !== uid) {
    return warn(
      `${property}: only root, or a service with the right to, can give ${path} to user ${owner.uid}`,
      'the unit that "shadow-agent unit" prints has that right (CAP_CHOWN); else run the agent as root, or take "owner" out',
    );
  }
  return probeRoom(found, file, directory, signal);
}

/** Room for what is to come; of what is installed nothing is. */
async function probeRoom(
  found: Findings,
  file: FileConfig,
  directory: string,
  signal: AbortSignal,
): Promise<Finding> {
  const { property } = file;
  const room = await roomIn(directory);
  const wanted = found.desired.get(property);
  const size = wanted?.kind === 'artifact' ? (found.sizes.get(property) ?? 0) : 0;
  const isInstalled =
    room <= size && wanted?.kind === 'artifact' && (await holds(found, file, wanted, signal));
  const object = isInstalled
    ? '; the object is installed'
    : size === 0
      ? ''
      : `; the object takes ${bytesText(size)}`;
  const text = bytesText(Math.max(room, 0));
  if (room > (isInstalled ? 0 : size))
    return ok(`${property}: ${directory} is writable, and has room for ${text}${object}`);
  const message = `${property}: room for ${text} in ${directory}, where 16 MiB or 5 % stay in reserve${object}`;
  const hint = 'free some room on this file system';
  return isInstalled ? warn(message, `${hint} before the next update`) : fail({ message, hint });
}

/** Whether the target is what is desired. One that cannot be read may not be. */
async function holds(
  { config }: Findings,
  { property, path }: FileConfig,
  { artifact }: Wanted,
  signal: AbortSignal,
): Promise<boolean> {
  const stored = (await readState(config.stateDir).catch(() => undefined))?.get(property);
  const known = stored?.path === path ? stored.installed : undefined;
  const there = await inspect(path, known, config.digest, signal).catch(() => undefined);
  return there?.sha256 === artifact.sha256;
}

export async function probeStateDir(found: Findings): Promise<Finding> {
  const { stateDir, files } = found.config;
  const isThere = (await fileKind(stateDir)) === 'directory';
  const directory = await nearestDirectory(stateDir);
  if (directory instanceof AgentError) return fail(directory);
  const refusal = (await refusalIn(directory, found)) ?? (await crowded(directory));
  if (refusal !== undefined) return fail(refusal);
  // Without it signatures of any age would be taken; else it is set aside.
  const isPrecious = files.some(({ verify }) => verify !== undefined);
  const unreadable = await stateRefusal(stateDir, found.otherUser);
  if (isPrecious && unreadable instanceof AgentError) return fail(unreadable);
  if (unreadable !== undefined) {
    const lost = isPrecious
      ? 'until the next install it takes a signature of any age'
      : 'nothing is to be done';
    return warn(
      `${stateDir}/state.json is not readable as the agent's`,
      `it is set aside when the agent starts, which then begins anew from disk and shadow; ${lost}`,
    );
  }
  return isThere ? ok(`${stateDir} is writable`) : ok(`${stateDir} is made when the agent starts`);
}

/** Why the agent would not read its state: an AgentError, or what makes it rubbish. */
async function stateRefusal(stateDir: string, otherUser: AgentUser | undefined): Promise<unknown> {
  const closed = otherUser && (await readRefusal(join(stateDir, 'state.json'), otherUser));
  return (
    closed ??
    readState(stateDir).then(
      () => undefined,
      (error: unknown) => error,
    )
  );
}

export async function probeMetrics(found: Findings): Promise<Finding[]> {
  const { metricsFile } = found.config;
  if (metricsFile === undefined) return [];
  const directory = dirname(metricsFile);
  if ((await fileKind(directory)) !== 'directory') {
    const hint = 'make it, for the user of the agent to write to, or change "metricsFile"';
    return [fail({ message: `there is no directory ${directory}`, hint })];
  }
  const refusal = (await refusalIn(directory, found)) ?? (await crowded(directory));
  if (refusal !== undefined) return [fail(refusal)];
  return [
    metricsFile.endsWith('.prom')
      ? ok(`${metricsFile} can be written`)
      : warn(
          `${metricsFile} does not end in .prom`,
          'node_exporter reads no other names: change "metricsFile"',
        ),
  ];
}

/** Who asks as another user than the agent's is to ask as that one, and nothing else is to be changed. */
async function refusalIn(
  directory: string,
  { loaded, otherUser }: Findings,
): Promise<AgentError | undefined> {
  const refusal = await writeRefusal(directory, otherUser);
  const hint = loaded.user === undefined ? undefined : runAsLikely(loaded.user);
  if (refusal === undefined || hint === undefined) return refusal;
  return new AgentError('INSTALL', refusal.message, { hint });
}
