/** Probes of what lies on this device. They look, and change nothing. */
import { dirname, join } from 'node:path';
import type { AgentUser } from '../config/permissions.ts';
import type { LoadedConfig } from '../config.ts';
import type { Finding } from '../core/doctor.ts';
import { AgentError, type Problem } from '../core/errors.ts';
import { daysLeft } from '../core/status.ts';
import { grouped, timeText } from '../core/words.ts';
import { readState } from '../io/state.ts';
import { fileKind } from '../io/text-file.ts';
import { crowded, nearestDirectory } from './places.ts';
import { type Findings, fail, ok, skip, warn } from './probe.ts';
import { readRefusal, refusalIn } from './rights.ts';

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
