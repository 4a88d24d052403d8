/** `shadow-agent rollback PROPERTY`: asks the running agent; where none runs, does it itself. */
import * as v from 'valibot';
import type { AgentConfig, FileConfig } from '../config.ts';
import { AgentError, type Problem } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { otherKeeper } from '../core/other-configuration.ts';
import { askAgent, askForStatus } from '../io/control-client.ts';
import { spelledAs } from '../io/spelling.ts';
import { type Output, standardOutput } from '../io/terminal.ts';
import { rollBackFile } from '../rollback.ts';

// To hash a large file takes its time, beside the hook.
const stepsTimeoutMs = 180_000;
const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const answerSchema = v.object({ installed: v.nullable(sha256), held: v.nullable(sha256) });

export interface RollbackOptions {
  signal: AbortSignal;
  /** Whether it may be done by this program where no agent runs. */
  mayActHere?: boolean;
  /** By default stdout. */
  output?: Output;
}

/** The file of a property, or what is wrong with the argument. */
export function findFile({ files }: AgentConfig, property: string): FileConfig | Problem {
  const file = files.find((one) => one.property === property);
  if (file !== undefined) return file;
  const names = files.map((one) => one.property);
  const near = nearest(property, names);
  return {
    path: 'PROPERTY',
    message: `no file has the property "${property}"`,
    hint: near === undefined ? `the properties are ${names.join(', ')}` : `did you mean ${near}?`,
  };
}

/**
 * Puts the previous file back, and has it held until another hash is desired. Says so when it is done.
 *
 * @returns 0; undefined where no agent runs and this program may not do it
 * @throws AgentError where there is no way back, or it cannot be gone; CONFIG_INVALID where the agent keeps another file
 */
export async function rollBack(
  config: AgentConfig,
  file: FileConfig,
  { signal, mayActHere = true, output = standardOutput() }: RollbackOptions,
): Promise<number | undefined> {
  const asked = await askToRollBack(config, file);
  if (asked === undefined && !mayActHere) return undefined;
  const { installed, held } = asked ?? (await rollBackHere(config, file, signal));
  const back = installed === null ? 'removed' : `back to ${installed}`;
  const until = held === null ? '' : `\n${held} is held until another hash is desired\n`;
  await output.write(`${file.property}: ${file.path} is ${back}${until === '' ? '\n' : until}`);
  return 0;
}

type End = v.InferOutput<typeof answerSchema>;

async function askToRollBack(config: AgentConfig, file: FileConfig): Promise<End | undefined> {
  const { stateDir } = config;
  const { property, onInstall } = file;
  // One that hangs would be waited for as long as its steps may take.
  const running = await askForStatus(stateDir);
  if (running === undefined) return undefined;
  const [spelled = file] = await spelledAs([file], () => running.files[property]?.path);
  const other = otherKeeper(running, config, spelled);
  if (other !== undefined) throw new AgentError('CONFIG_INVALID', other.message, { hint: other.hint });
  const timeoutMs = stepsTimeoutMs + (onInstall?.timeoutSeconds ?? 0) * 1000;
  const answer = await askAgent(stateDir, { command: 'rollback', property }, timeoutMs);
  if (answer === undefined) return undefined;
  const parsed = v.safeParse(answerSchema, answer);
  if (parsed.success) return parsed.output;
  throw new AgentError('INSTALL', 'The running agent answers in a way that this program does not know', {
    hint: 'it is of another version: restart it, so that it is the program that you have here',
  });
}

async function rollBackHere(config: AgentConfig, file: FileConfig, signal: AbortSignal): Promise<End> {
  const { installed, held } = await rollBackFile(config, file, signal);
  return { installed: installed?.sha256 ?? null, held: held?.sha256 ?? null };
}
