import { runAgent } from './agent.ts';
import type { Configured } from './cli/commands.ts';
import type { DiagnosisInvocation } from './cli/diagnosis.ts';
import { describeError, errorLines, stackLines } from './cli/errors.ts';
import { exit } from './cli/exits.ts';
import { type Invocation, parseCli, version } from './cli.ts';
import { type Asking, askingOf } from './commands/asking.ts';
import { examine } from './commands/doctor.ts';
import { print } from './commands/print.ts';
import { findFile, rollBack } from './commands/rollback.ts';
import { keygen, sign } from './commands/signing.ts';
import { showStatus } from './commands/status.ts';
import { unit } from './commands/unit.ts';
import { configJsonSchema, type LoadedConfig, loadConfig } from './config.ts';

let debug = false;

async function main(argv: readonly string[]): Promise<number> {
  const invocation = parseCli(argv);
  switch (invocation.kind) {
    case 'help':
    case 'version':
      return print(invocation.text);
    case 'schema':
      return print(JSON.stringify(configJsonSchema(), null, 2));
    case 'keygen':
      return print(await keygen(invocation.path));
    case 'sign':
      return print(await sign(invocation, Date.now()));
    case 'usage-error':
      await complain(invocation.message, invocation.hint);
      return exit.usage;
    case 'run':
      return run(invocation);
    case 'status':
      return status(invocation);
    case 'rollback':
      return rollback(invocation);
    case 'unit':
      return printUnit(invocation);
    case 'doctor':
      return doctor(invocation);
  }
}

async function run({ once, ...configured }: Extract<Invocation, { kind: 'run' }>): Promise<number> {
  const signal = shutdownSignal();
  const loaded = await load(configured, false);
  if (!loaded.ok) return refuse(loaded);
  const { config, identity, warnings, openToOthers } = loaded;
  await runAgent(config, identity, { once, signal, version, warnings, openToOthers });
  return exit.done;
}

async function status({ json, ...configured }: DiagnosisInvocation): Promise<number> {
  const asking = askingOf(await load(configured));
  if (!asking.ok) return refuse(asking);
  const { config, identity, refusals } = asking;
  return showStatus(config, identity, { json, refusals });
}

async function rollback({
  property,
  ...configured
}: Extract<Invocation, { kind: 'rollback' }>): Promise<number> {
  const signal = shutdownSignal();
  const asking = askingOf(await load(configured));
  if (!asking.ok) return refuse(asking);
  const { config, refusals, isOpen } = asking;
  const file = findFile(config, property);
  if ('property' in file) {
    return (await rollBack(config, file, { signal, mayActHere: !isOpen })) ?? refuse({ problems: refusals });
  }
  await complain(file.message, file.hint);
  return exit.usage;
}

async function printUnit({ configPath, ...asked }: Extract<Invocation, { kind: 'unit' }>): Promise<number> {
  const asking = askingOf(await load({ configPath, flags: {} }));
  if (!asking.ok) return refuse(asking);
  const { config, identity, refusals } = asking;
  // Who else may read or write what is no matter here: the first lines of a unit put that right.
  if (identity === undefined) return refuse({ problems: refusals });
  const made = await unit(config, configPath, asked);
  return made.ok ? print(made.text) : refuse(made);
}

/** Problems of the configuration are findings like all others. */
async function doctor({ json, property, ...configured }: DiagnosisInvocation): Promise<number> {
  const loaded = await load(configured);
  if (!loaded.ok && loaded.usage) return refuse(loaded);
  const file = property === undefined ? undefined : loaded.config && findFile(loaded.config, property);
  if (file !== undefined && 'message' in file) {
    await complain(file.message, file.hint);
    return exit.usage;
  }
  return examine(loaded, { json, property, version, configPath: configured.configPath });
}

/** By default for a command that asks about an agent, which may be of another user than root. */
async function load({ configPath, flags }: Configured, asks = true): Promise<LoadedConfig> {
  const loaded = await loadConfig({ configPath, flags, env: process.env, cwd: process.cwd(), asks });
  debug = loaded.ok && loaded.config.log.level === 'debug';
  return loaded;
}

async function refuse({
  problems,
  usage = false,
}: {
  problems: Asking['refusals'];
  usage?: boolean;
}): Promise<number> {
  for (const { path, message, hint } of problems) await complain(`${path}: ${message}`, hint);
  return usage ? exit.usage : exit.config;
}

/** Aborts on the first SIGTERM or SIGINT; a second one ends the program where it stands. */
function shutdownSignal(): AbortSignal {
  const shutdown = new AbortController();
  const stop = (code: number) => () => {
    if (shutdown.signal.aborted) process.exit(code);
    shutdown.abort();
  };
  process.on('SIGINT', stop(exit.interrupted));
  process.on('SIGTERM', stop(exit.terminated));
  return shutdown.signal;
}

/** The one way in which the terminal learns of an error. */
async function complain(message: string, hint?: string): Promise<void> {
  await say(errorLines(message, hint));
}

/** Resolves when the text is handed over, or stderr takes none: then there is nowhere left to say so. */
function say(text: string): Promise<void> {
  return new Promise((resolve) => {
    process.stderr.write(text, () => resolve());
  });
}

async function fail(error: unknown): Promise<never> {
  const { message, hint } = describeError(error);
  await complain(message, hint);
  if (debug) await say(stackLines(error));
  process.exit(exit.failed);
}

for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);

main(process.argv.slice(2)).then((code) => process.exit(code), fail);
