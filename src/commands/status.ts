/** `shadow-agent status`: asks the running agent; where none answers, the state file and the disk. It changes nothing. */
import { stat } from 'node:fs/promises';
import type { AgentConfig, FileConfig } from '../config.ts';
import { parseDesired } from '../core/artifact.ts';
import { AgentError, toAgentError } from '../core/errors.ts';
import { heldBack } from '../core/pending.ts';
import {
  type AgentStatus,
  daysLeft,
  desiredOf,
  isWell,
  type StatusOfFile,
  statusOfError,
} from '../core/status.ts';
import { statusText } from '../core/status-text.ts';
import { timeText } from '../core/words.ts';
import { systemClock } from '../io/clock.ts';
import { askForStatus } from '../io/control-client.ts';
import type { Identity } from '../io/identity.ts';
import { inspect } from '../io/install.ts';
import { partPath } from '../io/part.ts';
import { readState, type StoredFile } from '../io/state.ts';
import { type Output, standardOutput } from '../io/terminal.ts';

// A Ctrl-C ends the command as it does any other.
const untilKilled = new AbortController().signal;

export interface StatusOptions {
  json: boolean;
  /** By default stdout. */
  output?: Output;
}

/**
 * Prints how the agent and its files stand.
 *
 * @returns 0 where an agent runs, is connected and no file has an error; else 1
 * @throws AgentError where neither the agent nor the state file tells anything
 */
export async function showStatus(
  config: AgentConfig,
  identity: Identity,
  { json, output = standardOutput() }: StatusOptions,
): Promise<number> {
  const asked = await askForStatus(config.stateDir).catch(asAgentError);
  const silent = asked instanceof AgentError ? asked : undefined;
  const status =
    asked instanceof AgentError || asked === undefined
      ? await statusFromDisk(config, identity).catch((error: unknown) => {
          // Who may not ask the agent may not read its state either: the first says more.
          throw silent ?? error;
        })
      : asked;
  const wallMs = systemClock.wallMs();
  const { paint, columns } = output;
  const text = json
    ? `${JSON.stringify(document(status, { running: asked !== undefined, silent, wallMs }), null, 2)}\n`
    : statusText(status, { wallMs, paint, columns }, silent && statusOfError(silent));
  await output.write(text);
  return isWell(status) ? 0 : 1;
}

function asAgentError(error: unknown): AgentError {
  return toAgentError(error, 'INSTALL', 'Cannot ask the running agent');
}

interface Asked {
  running: boolean;
  /** Why the running agent says nothing. */
  silent: AgentError | undefined;
  wallMs: number;
}

/** The shape of `--json`, which the help documents. */
function document(status: AgentStatus, { running, silent, wallMs }: Asked) {
  const { startedAt, certificate, ...rest } = status;
  const uptimeSeconds = startedAt === null ? null : Math.round((wallMs - Date.parse(startedAt)) / 1000);
  return {
    ok: isWell(status),
    running,
    error: silent === undefined ? null : statusOfError(silent),
    startedAt,
    uptimeSeconds,
    ...rest,
    certificate: { ...certificate, daysLeft: daysLeft(certificate.notAfter, wallMs) },
  };
}

async function statusFromDisk(config: AgentConfig, identity: Identity): Promise<AgentStatus> {
  const stored = await storedFiles(config.stateDir);
  const files = await Promise.all(
    config.files.map(async (file): Promise<[string, StatusOfFile]> => {
      const found = stored.get(file.property);
      return [file.property, await fileFromDisk(config, file, found?.path === file.path ? found : undefined)];
    }),
  );
  return {
    version: null,
    pid: null,
    startedAt: null,
    thing: config.thingName,
    shadow: config.shadowName ?? null,
    link: null,
    certificate: { notAfter: timeText(identity.notAfterMs) },
    files: Object.fromEntries(files),
  };
}

async function storedFiles(stateDir: string): Promise<Map<string, StoredFile>> {
  try {
    return await readState(stateDir);
  } catch (error) {
    throw new AgentError('INSTALL', `Cannot read the state in ${stateDir}`, {
      cause: error,
      hint: 'run this as the user that the agent runs as; a state file that is rubbish is set aside when the agent starts',
    });
  }
}

/** What the last run knew is what is desired, as far as anybody can tell now. */
async function fileFromDisk(
  { digest }: AgentConfig,
  { property, path }: FileConfig,
  stored: StoredFile | undefined,
): Promise<StatusOfFile> {
  const { failure, part, installed } = stored ?? {};
  const isHeld = stored?.held !== undefined;
  // Of what is held, no more than its hash is stored.
  const value = isHeld ? undefined : (failure?.value ?? installed?.value);
  const wanted = value === undefined ? undefined : parseDesired(value, {});
  const bytes = part === undefined ? undefined : await sizeOf(partPath(property, path, part.sha256));
  const found = await inspect(path, installed, digest, untilKilled).catch((error: unknown) =>
    toAgentError(error, 'INSTALL', `Cannot read ${path}`),
  );
  const unreadable = found instanceof AgentError ? found : undefined;
  const sha256 = found === undefined || found instanceof AgentError ? null : found.sha256;
  const error = unreadable ?? failure ?? (isHeld ? heldBack : undefined);
  const waits = bytes !== undefined || isHeld || stored?.pending !== undefined;
  return {
    path,
    status: error !== undefined && error !== heldBack ? 'failed' : waits ? 'waiting' : 'unknown',
    installed: sha256,
    desired: wanted?.kind === 'artifact' ? desiredOf(wanted.artifact) : null,
    progress: bytes === undefined ? null : { bytes, size: part?.size ?? null, bytesPerSecond: null },
    error: error === undefined ? null : statusOfError(error),
    attempt: failure?.attempt ?? null,
    retryAt: failure?.retryAtMs === undefined ? null : timeText(failure.retryAtMs),
  };
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.size;
}
