/** `shadow-agent status`: asks the running agent; where none answers, the state file and the disk. It changes nothing. */
import { stat } from 'node:fs/promises';
import type { AgentConfig, FileConfig } from '../config.ts';
import { parseDesired, wantedBy } from '../core/artifact.ts';
import { AgentError, type Problem, toAgentError } from '../core/errors.ts';
import { otherConfiguration } from '../core/other-configuration.ts';
import { heldBack } from '../core/rollback.ts';
import {
  type AgentStatus,
  daysLeft,
  desiredOf,
  isWell,
  type StatusOfFile,
  type StatusWarning,
  statusOfError,
  warningsOf,
} from '../core/status.ts';
import { statusText, type Told } from '../core/status-text.ts';
import { timeText } from '../core/words.ts';
import { systemClock } from '../io/clock.ts';
import { askForStatus } from '../io/control-client.ts';
import type { Identity } from '../io/identity.ts';
import { inspect } from '../io/install.ts';
import { partPath } from '../io/part.ts';
import { spelledAs } from '../io/spelling.ts';
import { type FileState, readState, type StoredFile } from '../io/state.ts';
import { presentFailure, retryOf, storedAt } from '../io/stored-file.ts';
import { type Output, standardOutput } from '../io/terminal.ts';

// A Ctrl-C ends the command as it does any other.
const untilKilled = new AbortController().signal;

export interface StatusOptions {
  json: boolean;
  /** For which the agent would not start: of its certificate and key, and of what others may do. */
  refusals?: readonly Problem[];
  /** By default stdout. */
  output?: Output;
}

/**
 * Prints how the agent and its files stand.
 *
 * @returns 0 where an agent runs with this configuration, is connected and no file has an error; else 1
 * @throws AgentError where neither the agent nor the state file tells anything
 */
export async function showStatus(
  config: AgentConfig,
  identity: Identity | undefined,
  { json, refusals = [], output = standardOutput() }: StatusOptions,
): Promise<number> {
  const asked = await askForStatus(config.stateDir).catch(asAgentError);
  const silent = asked instanceof AgentError ? asked : undefined;
  const { status: known, rubbish } =
    asked instanceof AgentError || asked === undefined
      ? await statusFromDisk(config, identity).catch((error: unknown) => {
          // Who may not ask the agent may not read its state either: the first says more.
          throw silent ?? error;
        })
      : { status: asked };
  const status = { ...known, warnings: [...known.warnings, ...refusalsBeside(known.warnings, refusals)] };
  const wallMs = systemClock.wallMs();
  const error = silent ?? rubbish;
  const spelled = await spelledAs(config.files, (property) => status.files[property]?.path);
  const other = otherConfiguration(status, { ...config, files: spelled }) ?? null;
  const told = {
    running: asked !== undefined,
    error: error === undefined ? null : statusOfError(error),
    other,
  };
  const { paint, columns } = output;
  const text = json
    ? `${JSON.stringify(document(status, told), null, 2)}\n`
    : statusText(status, { wallMs, paint, columns }, told);
  await output.write(text);
  return isWell(status) && other === null ? 0 : 1;
}

/** What the agent has seen for itself is told by it. */
function refusalsBeside(warnings: readonly StatusWarning[], refusals: readonly Problem[]): StatusWarning[] {
  return refusals
    .filter(({ message }) => !warnings.some((warning) => warning.message.endsWith(message)))
    .map(({ path, message, hint }) => ({
      code: 'IDENTITY_INVALID',
      message: `the agent would not start anew: ${path}: ${message}`,
      hint: hint ?? null,
      since: null,
    }));
}

function asAgentError(error: unknown): AgentError {
  return toAgentError(error, 'INSTALL', 'Cannot ask the running agent');
}

/** The shape of `--json`, which the help documents. */
function document(status: AgentStatus, { running, error, other }: Told, wallMs = systemClock.wallMs()) {
  const { startedAt, certificate, ...rest } = status;
  const { notAfter } = certificate;
  const uptimeSeconds = startedAt === null ? null : Math.round((wallMs - Date.parse(startedAt)) / 1000);
  return {
    ok: isWell(status) && other === null,
    running,
    error,
    otherConfiguration: other,
    startedAt,
    uptimeSeconds,
    ...rest,
    certificate: { notAfter, daysLeft: notAfter === null ? null : daysLeft(notAfter, wallMs) },
    warnings: warningsOf(status, wallMs),
  };
}

interface FromDisk {
  status: AgentStatus;
  /** What is wrong with the state file. */
  rubbish?: AgentError;
}

async function statusFromDisk(config: AgentConfig, identity: Identity | undefined): Promise<FromDisk> {
  const found = await storedFiles(config.stateDir);
  const stored = found instanceof AgentError ? new Map<string, StoredFile>() : found;
  const spelled = await spelledAs(config.files, (property) => stored.get(property)?.path);
  const files = await Promise.all(
    spelled.map(async (file): Promise<[string, StatusOfFile]> => {
      const { property, path } = file;
      return [property, await fileFromDisk(config, file, storedAt(stored.get(property), path))];
    }),
  );
  const status = {
    version: null,
    pid: null,
    startedAt: null,
    thing: config.thingName,
    shadow: config.shadowName ?? null,
    configHash: null,
    link: null,
    certificate: { notAfter: identity === undefined ? null : timeText(identity.notAfterMs) },
    warnings: [],
    files: Object.fromEntries(files),
  };
  return found instanceof AgentError ? { status, rubbish: found } : { status };
}

/** What is stored, by property, or that it is rubbish. @throws AgentError INSTALL where it may not be read */
async function storedFiles(stateDir: string): Promise<Map<string, StoredFile> | AgentError> {
  try {
    return await readState(stateDir);
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    return new AgentError('INSTALL', `The state file in ${stateDir} is rubbish`, {
      cause,
      hint: 'start the agent: it sets that file aside, and begins anew from disk and shadow',
    });
  }
}

/** What the last run knew is what is desired, as far as anybody can tell now. */
async function fileFromDisk(
  { digest }: AgentConfig,
  file: FileConfig,
  stored: FileState,
): Promise<StatusOfFile> {
  const { property, path } = file;
  const { part, installed, desired, held, pending } = stored;
  const asked = parseDesired(desired, file);
  const refused = asked.kind === 'refused' ? asked : undefined;
  // What is held is not to be told as wanted.
  const wanted = held === undefined ? wantedBy(asked)?.artifact : undefined;
  const isUnderWay = part !== undefined && part.sha256 === wanted?.sha256;
  const bytes = isUnderWay ? await sizeOf(partPath(property, path, part.sha256)) : undefined;
  const found = await inspect(path, installed, digest, untilKilled).catch((error: unknown) =>
    toAgentError(error, 'INSTALL', `Cannot read ${path}`),
  );
  const failed = refused === undefined ? presentFailure(stored) : undefined;
  const unreadable = found instanceof AgentError ? found : undefined;
  const sha256 = found === undefined || found instanceof AgentError ? null : found.sha256;
  // That somebody puts there by hand what could not be had mends it, but is no word of its hook.
  const isMended = sha256 !== null && sha256 === wanted?.sha256 && failed?.code !== 'HOOK_FAILED';
  const failure = isMended && pending === undefined ? undefined : failed;
  const isBack = held !== undefined && pending?.step !== 'back';
  const error = unreadable ?? refused ?? failure ?? (isBack ? heldBack : undefined);
  const isPassing =
    error === heldBack || (error === failure && failure !== undefined && retryOf(failure) === 'soon');
  // The hook of a file that is not there any more is not what comes next.
  const isDue = pending !== undefined && (pending.step !== 'apply' || pending.sha256 === sha256);
  const waits = isPassing || isDue || bytes !== undefined;
  return {
    path,
    status: error !== undefined && !isPassing ? 'failed' : waits ? 'waiting' : 'unknown',
    installed: sha256,
    desired: wanted === undefined ? null : desiredOf(wanted),
    progress: bytes === undefined ? null : { bytes, size: part?.size ?? null, bytesPerSecond: null },
    error: error === undefined ? null : statusOfError(error),
    attempt: failure?.attempt ?? null,
    retryAt: failure?.retryAtMs === undefined ? null : timeText(failure.retryAtMs),
  };
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size;
}
