import { type ConfigKey, configKeys } from '../config/keys.ts';
import { type Command, commands, configOption } from './commands.ts';
import { wrongUsage } from './exits.ts';

const lineWidth = 100;
const column = 32;

const groups: readonly { title: string; holds: (key: ConfigKey) => boolean }[] = [
  {
    title:
      'The one file, where the configuration lists none (only --shadow-property is needed; --allow repeats)',
    holds: ({ path }) => path.startsWith('files[].'),
  },
  { title: 'S3', holds: ({ path }) => path.startsWith('s3.') },
  {
    title: 'Running',
    holds: ({ path, type, choices }) =>
      path.startsWith('log.') || path === 'stateDir' || type === 'integer' || choices.length > 0,
  },
  { title: 'Thing and connection', holds: () => true },
];

/** The text of --help: all that one needs to use the program, or one command of it. */
export function helpText(command: Command, version: string): string {
  return command.name === '' ? programHelp(command, version) : commandHelp(command);
}

function programHelp(command: Command, version: string): string {
  return `shadow-agent ${version}: keeps files on this device equal to what its AWS IoT Device Shadow desires

Somebody writes {"state":{"desired":{"s3":{"url":"s3://bucket/key","hash":"<sha256>"}}}} to the thing's
shadow. The agent sees it, trades the device's certificate for temporary credentials, gets the object from
S3, compares its SHA-256, puts it in place atomically, and reports. It keeps at it over lost links and
restarts, and never writes to desired.

Usage:
${command.usage.map((line) => `  ${line}`).join('\n')}

Commands (shadow-agent COMMAND --help tells all of one):
${commands.map(commandLine).join('\n')}

Options:
${ownOptions(command)}

Every key of the configuration has an option, which wins over the file. Together they must give the thing's
name, both endpoints, the three PEM files and at least one file to keep. _ may stand for - in every name.
Relative paths on the command line are relative to the working directory.

${optionGroups()}

Examples:
  shadow-agent --config /etc/shadow-agent/agent.json
  shadow-agent --config agent.json --log-level debug --once
  shadow-agent --endpoint xxxxxxxxxxxxxx-ats.iot.us-east-1.amazonaws.com \\
    --credential-endpoint xxxxxxxxxxxxx.credentials.iot.us-east-1.amazonaws.com/role-aliases/ALIAS/credentials \\
    --cert certificate.pem --key private.key --ca AmazonRootCA1.pem \\
    --thing-name test-thing --shadow-property s3 --path /var/lib/app/model.bin

The smallest agent.json:
  { "thingName": "test-thing",
    "endpoint": "xxxxxxxxxxxxxx-ats.iot.us-east-1.amazonaws.com",
    "credentialEndpoint": "xxxxxxxxxxxxx.credentials.iot.us-east-1.amazonaws.com/role-aliases/ALIAS/credentials",
    "cert": "certificate.pem", "key": "private.key", "ca": "AmazonRootCA1.pem",
    "files": [{ "property": "s3", "path": "/var/lib/app/model.bin" }] }

${exitCodes(command)}
`;
}

function exitCodes({ exits }: Command): string {
  const all = [...exits, wrongUsage].sort(([a], [b]) => a - b);
  return `Exit codes:\n${all.map(([code, meaning]) => `  ${String(code).padEnd(4)}${meaning}`).join('\n')}`;
}

function commandLine({ name, argument, summary }: Command): string {
  if (name === '') return entry('(none)', summary);
  return entry(argument === undefined ? name : `${name} ${argument}`, summary);
}

function commandHelp(command: Command): string {
  const { name, summary, usage, about, isConfigured } = command;
  const keys = 'Every key of the configuration has an option as well: shadow-agent --help lists them.';
  return `shadow-agent ${name}: ${summary}

Usage:
${usage.map((line) => `  ${line}`).join('\n')}

${about}

Options:
${ownOptions(command)}
${isConfigured ? `\n${keys}\n` : ''}
${exitCodes(command)}
`;
}

function ownOptions({ options, isConfigured }: Command): string {
  const own = [...(isConfigured ? [configOption] : []), ...options];
  const lines = own.map(({ flag, value, description }) =>
    entry(`--${flag}${value === undefined ? '' : ` ${value}`}`, description),
  );
  return [...lines, entry('-h, --help', 'This text'), entry('-v, --version', 'The version')].join('\n');
}

/** Each option in the first group that holds it; the groups are shown from the last, which has what is needed most. */
function optionGroups(): string {
  const groupOf = (key: ConfigKey) => groups.find(({ holds }) => holds(key));
  return groups
    .map((group) => ({ title: group.title, keys: configKeys.filter((key) => groupOf(key) === group) }))
    .reverse()
    .map(({ title, keys }) => `${title}:\n${keys.map(optionLine).join('\n')}`)
    .join('\n\n');
}

function optionLine(key: ConfigKey): string {
  const alias = key.flag === 'ca' ? ', --ca-file' : '';
  const suffix =
    key.default === undefined || key.type === 'boolean' ? '' : ` (by default ${String(key.default)})`;
  const description =
    key.path === 'files[].path' ? `${key.description}; by default /tmp/tmpfile` : key.description;
  return entry(`--${key.flag}${alias}${placeholder(key)}`, description + suffix);
}

function placeholder({ type, choices, flag, default: preset }: ConfigKey): string {
  if (choices.length > 0) return ` <${choices.join('|')}>`;
  if (type === 'integer') return ' <n>';
  if (type === 'boolean') return preset === true ? ` | --no-${flag}` : '';
  return ' <value>';
}

/** An option and what it does, folded at the words. */
function entry(option: string, description: string): string {
  const lines = [`  ${option}`.padEnd(column)];
  if (option.length + 3 > column) lines.push(' '.repeat(column));
  for (const word of description.split(' ')) {
    const last = lines.at(-1) ?? '';
    if (last.length + 1 + word.length > lineWidth) lines.push(`${' '.repeat(column)}${word}`);
    else lines[lines.length - 1] = last.length === column ? last + word : `${last} ${word}`;
  }
  return lines.join('\n');
}
