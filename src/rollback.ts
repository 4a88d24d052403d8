/** A rollback where no agent runs: on the state file, by the same steps. */
import { Applier } from './apply.ts';
import type { AgentConfig, FileConfig } from './config.ts';
import { AgentError, toAgentError } from './core/errors.ts';
import { failedReapply } from './core/pending.ts';
import { decide, reasonError, record, type Snapshot } from './core/reconcile.ts';
import { noneKept } from './core/rollback.ts';
import { systemClock } from './io/clock.ts';
import { takeControl } from './io/control.ts';
import { isOwnDirectory } from './io/disk.ts';
import { endSurvivors } from './io/hook-note.ts';
import { KeptFiles } from './io/kept.ts';
import { createLogger, type Logger } from './io/log.ts';
import { isSamePath } from './io/spelling.ts';
import { State } from './io/state.ts';
import { Target } from './io/target.ts';
import { Memory } from './memory.ts';

/**
 * Puts the previous file back and runs its hook, holding the state directory meanwhile; a way back that was cut short
 * is ended. What is stored has the next start of the agent hold the hash that was refused.
 *
 * @throws AgentError HELD or INSTALL where there is no way back; HOOK_FAILED where it is gone, but its hook failed;
 * CONFIG_INVALID when an agent holds the directory, or has kept the property elsewhere
 */
export async function rollBackFile(
  config: AgentConfig,
  file: FileConfig,
  signal: AbortSignal,
): Promise<Snapshot> {
  const { stateDir } = config;
  const log = createLogger(config.log);
  // What root writes here its agent could not read, nor use a directory that root makes.
  if (!(await isOwnDirectory(stateDir))) throw reasonError(file.property, noneKept);
  const control = await takeControl(stateDir, () => {
    throw new AgentError('INSTALL', 'A rollback is under way, and no agent runs');
  });
  try {
    return await goBack(config, file, await State.open(stateDir, log, true), log, signal);
  } catch (error) {
    throw signal.aborted ? toAgentError(error, 'INSTALL', `${file.property}: nothing was put back`) : error;
  } finally {
    await control.close();
  }
}

async function goBack(
  { stateDir, digest }: AgentConfig,
  asked: FileConfig,
  state: State,
  log: Logger,
  signal: AbortSignal,
): Promise<Snapshot> {
  const clock = systemClock;
  const { property } = asked;
  // Names are made of the path as the agent has it, maybe another way to the same file.
  const path = state.formerPath(property, asked.path) ?? asked.path;
  const file = { ...asked, path };
  if (!(await isSamePath(path, asked.path))) {
    const message = `${property}: the agent of ${stateDir} kept it at ${path}, not at ${asked.path}`;
    const hint =
      'name the configuration that the agent runs with; where "path" was changed in it, start the agent first';
    throw new AgentError('CONFIG_INVALID', message, { hint });
  }
  const target = new Target({ property, path, digest, state, log });
  const parts = { file, target, kept: new KeptFiles(stateDir, property, path), log };
  const applier = new Applier({ ...parts, stateDir, digest });
  const memory = new Memory({ ...parts, clock });
  const desired = { kind: 'unknown' } as const;
  const installed = await target.look(desired, signal);
  const found: Snapshot = {
    desired,
    ...memory.load(true),
    ...(installed === undefined ? {} : { installed }),
  };
  let snapshot = await applier.begin(found, signal);
  await endSurvivors(stateDir, log, signal);
  while (snapshot.pending !== undefined) {
    const action = decide(snapshot, clock.nowMs());
    if (action.do === 'wait' || action.do === 'install') throw unended(property);
    const outcome = await applier.perform(action, signal);
    if (outcome.kind === 'superseded') throw unended(property);
    const refused = failedReapply(snapshot, outcome);
    snapshot = record(snapshot, outcome, clock.nowMs(), 0);
    await memory.remember(outcome, snapshot);
    const failed = outcome.kind === 'failed' ? outcome.error : refused;
    if (failed !== undefined) throw reasonError(property, failed);
  }
  return snapshot;
}

function unended(property: string): AgentError {
  return new AgentError('INSTALL', `${property}: the rollback has begun, but was stopped`, {
    hint: 'roll it back again, or start the agent: either ends it',
  });
}
