import { type CAC, cac } from 'cac';
import pkg from '../package.json' with { type: 'json' };
import {
  type Command,
  type Configured,
  commandOf,
  commands,
  type Invocation,
  type Option,
  optionsOf,
} from './cli/commands.ts';
import { helpText } from './cli/help.ts';
import type { FlagValue } from './config/flags.ts';
import { nearest } from './core/nearest.ts';

export type { Invocation } from './cli/commands.ts';

export const version = pkg.version;

const general: readonly Option[] = [
  { flag: 'help', type: 'boolean' },
  { flag: 'version', type: 'boolean' },
];

/** Every option of every command; one that two commands take is of one type. */
const options: readonly Option[] = [...general, ...commands.flatMap(optionsOf)];

/** Each way to write an option, without its dashes; `ca-file` is the sample's name. */
const names = new Map<string, Option>(options.map((option) => [option.flag, option]));
for (const [alias, flag] of [
  ['ca-file', 'ca'],
  ['h', 'help'],
  ['v', 'version'],
] as const) {
  const option = names.get(flag);
  if (option !== undefined) names.set(alias, option);
}

class UsageError extends Error {
  readonly hint: string | undefined;

  /** @param hint undefined where nothing can be proposed: the help is named in any case */
  constructor(message: string, hint: string | undefined) {
    super(message);
    this.hint = hint;
  }
}

/** Reads the arguments behind the program's name. Never throws: what cannot be understood is a usage error. */
export function parseCli(argv: readonly string[]): Invocation {
  const named = commands.find(({ name }) => name !== '' && argv.includes(name));
  try {
    const parser = commandLine();
    parser.parse(['', 'shadow-agent', ...protect(argv, named)], { run: false });
    const invocation = toInvocation(parser);
    if (invocation.kind !== 'usage-error') return invocation;
    return { ...invocation, hint: withHelp(invocation.hint, named) };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { kind: 'usage-error', message: error.message, hint: withHelp(error.hint, named) };
  }
}

/** A hint, and where the rest is told. */
function withHelp(hint: string | undefined, named: Command | undefined): string {
  const help = `${['shadow-agent', named?.name ?? []].flat().join(' ')} --help`;
  if (hint === undefined)
    return `${help} lists ${named === undefined ? 'commands and options' : 'its options'}`;
  return hint.endsWith('?') ? `${hint} See ${help}` : `${hint}; see ${help}`;
}

function commandLine(): CAC {
  const parser = cac('shadow-agent');
  for (const { name } of commands) {
    const command = parser.command(name);
    for (const { flag } of options) command.option(`--${flag} <value>`, '');
  }
  return parser;
}

/**
 * Writes every option as `--name==value`, under its one name. cac turns whatever looks like a number into one
 * (`00123` into 123), so the second `=` stays in the value, which is no number then; `textOf` takes it off.
 * Unknown options and missing values are told here, where they are still as they were written.
 */
function protect(argv: readonly string[], named: Command | undefined): string[] {
  const result: string[] = [];
  for (let index = 0; index < argv.length; index += 1) {
    const argument = argv[index] ?? '';
    if (argument === '--') return [...result, ...argv.slice(index)];
    if (!argument.startsWith('-') || argument === '-') {
      result.push(argument);
      continue;
    }
    const { option, negated, value } = parseOption(argument, named);
    if (option.type === 'boolean') {
      result.push(`--${option.flag}==${!negated}`);
      continue;
    }
    const next = argv[index + 1];
    const taken = value === undefined && next?.startsWith('-') === false ? next : undefined;
    if (taken !== undefined) index += 1;
    const given = value ?? taken ?? '';
    if (given === '') {
      const hint = `write --${option.flag} VALUE; one that begins with - as --${option.flag}=VALUE`;
      throw new UsageError(`--${option.flag} needs a value`, hint);
    }
    result.push(`--${option.flag}==${given}`);
  }
  return result;
}

/** `--name`, `--name=value`, `--no-name`, `-h`; `_` in a name is `-`, as the sample writes it. */
function parseOption(
  argument: string,
  named: Command | undefined,
): { option: Option; negated: boolean; value?: string } {
  const [written = '', ...values] = argument.split('=');
  const dashes = written.startsWith('--') ? 2 : 1;
  const name = written.slice(dashes).replaceAll('_', '-');
  const value = values.length === 0 ? {} : { value: values.join('=') };
  const option = (name.length === 1) === (dashes === 1) ? names.get(name) : undefined;
  const positive = name.startsWith('no-') ? names.get(name.slice(3)) : undefined;
  const found =
    option ?? (positive?.type === 'boolean' && positive.path !== undefined ? positive : undefined);
  if (found === undefined) {
    const near = nearest(
      name,
      [...names.keys()].filter((one) => one.length > 1 && fits(one, named)),
    );
    throw new UsageError(`unknown option ${written}`, near && `did you mean --${near}?`);
  }
  if (found.type === 'boolean' && values.length > 0) {
    const hint =
      found.path === undefined ? 'leave the value out' : `write --${found.flag} or --no-${found.flag}`;
    throw new UsageError(`${written} takes no value`, hint);
  }
  return { option: found, negated: option === undefined, ...value };
}

/** Whether a command takes an option of this name; where none is named, whether any does. */
function fits(name: string, named: Command | undefined): boolean {
  const flag = names.get(name)?.flag ?? name;
  return named === undefined || takes(named, flag) || general.some((option) => option.flag === flag);
}

function toInvocation(parser: CAC): Invocation {
  const given = new Map<string, unknown>(
    Object.entries(parser.options).map(([key, value]) => [
      key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
      value,
    ]),
  );
  const command = commandOf(parser.matchedCommandName ?? '');
  if (command === undefined) throw new UsageError('no command', undefined);
  if (given.has('help')) return { kind: 'help', text: helpText(command, version) };
  if (given.has('version')) return { kind: 'version', text: `shadow-agent ${version}` };
  const [argument, ...stray] = takeArguments(command, positionals(parser));
  refuseStray(command, stray);
  const stranger = options.find(({ flag }) => given.has(flag) && !takes(command, flag));
  if (stranger !== undefined) {
    throw new UsageError(`${titleOf(command)} takes no option --${stranger.flag}`, write(command));
  }
  const values = valuesOf(command, given);
  if (command.isConfigured && values.configPath === undefined && Object.keys(values.flags).length === 0) {
    throw new UsageError(`${titleOf(command)} needs a configuration`, write(command));
  }
  return command.invocation({ argument, ...values });
}

function titleOf({ name }: Command): string {
  return name === '' ? 'shadow-agent' : name;
}

function takes(command: Command, flag: string): boolean {
  return optionsOf(command).some((option) => option.flag === flag);
}

function valuesOf(
  command: Command,
  given: ReadonlyMap<string, unknown>,
): Configured & { options: Map<string, FlagValue> } {
  const flags = new Map<string, FlagValue>();
  const own = new Map<string, FlagValue>();
  for (const option of optionsOf(command)) {
    const value = given.get(option.flag);
    if (value === undefined) continue;
    if (option.path === undefined) own.set(option.flag, flagValue(option, value));
    else flags.set(option.path, flagValue(option, value));
  }
  const configPath = own.get('config');
  own.delete('config');
  return {
    ...(configPath === undefined ? {} : { configPath: String(configPath) }),
    flags: Object.fromEntries(flags),
    options: own,
  };
}

function positionals(parser: CAC): string[] {
  const behindDashes: unknown = parser.options['--'];
  return [...parser.args, ...(Array.isArray(behindDashes) ? behindDashes : [])].map(String);
}

/** The argument that the command takes comes first; undefined where it takes none. */
function takeArguments(command: Command, given: string[]): [string | undefined, ...string[]] {
  if (command.argument === undefined) return [undefined, ...given];
  const [first, ...rest] = given;
  if (first !== undefined) return [first, ...rest];
  throw new UsageError(`${command.name} needs a ${command.argument}`, write(command));
}

function write({ usage }: Command): string {
  return `write: ${usage[0]}`;
}

function refuseStray(command: Command, [first]: string[]): void {
  if (first === undefined) return;
  if (command.name !== '') throw new UsageError(`unexpected argument "${first}"`, write(command));
  throw new UsageError(`unknown command "${first}"`, meantBy(first));
}

/** What a word that is no command may have been meant to be. */
function meantBy(word: string): string | undefined {
  if (word.endsWith('.json')) return `did you mean --config ${word}?`;
  if (word.length > 1 && names.has(word)) return `did you mean --${word}?`;
  const near = nearest(
    word,
    commands.flatMap(({ name }) => (name === '' ? [] : [name])),
  );
  return near && `did you mean shadow-agent ${near}?`;
}

function flagValue(option: Option, value: unknown): FlagValue {
  if (option.type === 'list') return [value].flat().map(textOf);
  if (Array.isArray(value)) {
    throw new UsageError(`--${option.flag} is given ${value.length} times`, 'give it once');
  }
  const text = textOf(value);
  if (option.type === 'boolean') return text === 'true';
  return option.type === 'integer' ? wholeNumber(option, text) : text;
}

function wholeNumber({ flag }: Option, text: string): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(number)) return number;
  const hint = `write digits only, for example --${flag} 60`;
  throw new UsageError(`--${flag} must be a whole number, not "${text}"`, hint);
}

/** Takes off the `=` that `protect` put in front. */
function textOf(value: unknown): string {
  return String(value).slice(1);
}
