/** Every command of the program: how it is written, what it takes, and what --help says of it. */

import type { Flags, FlagValue } from '../config/flags.ts';
import { configKeys } from '../config/keys.ts';
import { type DiagnosisInvocation, doctorCommand, statusCommand } from './diagnosis.ts';
import { type Exit, printedOrNot, wrongConfiguration } from './exits.ts';
import { type RollbackInvocation, rollbackCommand } from './rollback.ts';
import { keygenCommand, type SigningInvocation, signCommand } from './signing.ts';

/** Where the configuration comes from: a file, flags that win over it, or both. */
export interface Configured {
  configPath?: string;
  flags: Flags;
}

/** What the command line asks for. */
export type Invocation =
  | ({ kind: 'run'; once: boolean } & Configured)
  | DiagnosisInvocation
  | RollbackInvocation
  | { kind: 'schema' }
  | SigningInvocation
  | { kind: 'unit'; configPath: string; user: string; program?: string }
  | { kind: 'help'; text: string }
  | { kind: 'version'; text: string }
  | { kind: 'usage-error'; message: string; hint: string };

export interface Option {
  /** Without its dashes. */
  flag: string;
  type: 'text' | 'integer' | 'boolean' | 'list';
  /** The key of the configuration that it gives; absent for options of the command line alone. */
  path?: string;
}

/** An option of a command itself. */
export interface CommandOption extends Option {
  description: string;
  /** What stands for the value in the help: `<path>`. */
  value?: string;
}

/** What was written behind a command, already of the right types. */
export interface Given extends Configured {
  argument: string | undefined;
  options: ReadonlyMap<string, FlagValue>;
}

export interface Command {
  /** Empty for the program itself: it runs the agent. */
  name: string;
  /** How it is written, from `shadow-agent` on; the first one is the example in hints. */
  usage: readonly [string, ...string[]];
  /** What it does, in one line. */
  summary: string;
  /** All that one needs to use it, in paragraphs of lines up to 100 characters. */
  about: string;
  /** What stands behind its name, where it takes one thing: `PROPERTY`. */
  argument?: string;
  options: readonly CommandOption[];
  /** What its exit codes mean, but for that of a wrong command line. */
  exits: readonly Exit[];
  /** Takes --config and every key of the configuration as an option. */
  isConfigured: boolean;
  invocation(given: Given): Invocation;
}

export const configOption: CommandOption = {
  flag: 'config',
  type: 'text',
  value: '<path>',
  description: 'Configuration, JSON; its relative paths are relative to the file',
};

export const commands: readonly Command[] = [
  {
    name: '',
    usage: ['shadow-agent --config agent.json', 'shadow-agent --config agent.json --once'],
    summary: 'run the agent until SIGTERM or SIGINT',
    about: '',
    options: [
      {
        flag: 'once',
        type: 'boolean',
        description: 'Bring every file up to date once; exits 1 with the reason where it cannot',
      },
    ],
    exits: [
      [0, 'done; without --once also when stopped by SIGTERM or SIGINT'],
      [1, 'failed, or --once was stopped before it was done; the reason is on stderr'],
      wrongConfiguration,
    ],
    isConfigured: true,
    invocation: ({ options, argument: _, ...configured }) => ({
      kind: 'run',
      once: options.has('once'),
      ...configured,
    }),
  },
  doctorCommand,
  statusCommand,
  rollbackCommand,
  {
    name: 'schema',
    usage: ['shadow-agent schema'],
    summary: 'print the JSON Schema of agent.json',
    about:
      'For editors and other checkers. The schema is draft 2020-12; every key has its meaning and an example.',
    options: [],
    exits: printedOrNot,
    isConfigured: false,
    invocation: () => ({ kind: 'schema' }),
  },
  keygenCommand,
  signCommand,
  {
    name: 'unit',
    usage: [
      'shadow-agent unit --config /etc/shadow-agent/agent.json >/etc/systemd/system/shadow-agent.service',
    ],
    summary: 'print a hardened systemd unit for a configuration',
    about: `The unit runs the agent as an unprivileged user who may write to no more than the directories of this
configuration. Its first lines say what to type before. Make the unit anew when paths or owners change.`,
    options: [
      configOption,
      {
        flag: 'user',
        type: 'text',
        value: '<name>',
        description: 'User of the agent; by default shadow-agent',
      },
      {
        flag: 'program',
        type: 'text',
        value: '<path>',
        description: 'Executable that the service starts; by default the one that prints this',
      },
    ],
    exits: [...printedOrNot, wrongConfiguration],
    isConfigured: false,
    invocation: unitInvocation,
  },
];

function unitInvocation({ configPath, options }: Given): Invocation {
  const user = String(options.get('user') ?? 'shadow-agent');
  // What useradd of shadow-utils takes, and systemd without a warning.
  if (!/^[a-z_][a-z0-9_-]{0,30}$/.test(user)) {
    return { kind: 'usage-error', message: `--user cannot be "${user}"`, hint: 'name a user of the system' };
  }
  const program = options.get('program');
  if (configPath !== undefined)
    return { kind: 'unit', configPath, user, ...(program === undefined ? {} : { program: String(program) }) };
  const hint = 'write: shadow-agent unit --config /etc/shadow-agent/agent.json';
  return { kind: 'usage-error', message: 'unit needs --config: the unit is made for one', hint };
}

/** The command of a name; undefined where there is none. */
export function commandOf(name: string): Command | undefined {
  return commands.find((command) => command.name === name);
}

/** Every option that a command takes. */
export function optionsOf({ options, isConfigured }: Command): readonly Option[] {
  return isConfigured ? [configOption, ...options, ...configKeys] : options;
}
