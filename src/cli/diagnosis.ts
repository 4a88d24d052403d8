/** The commands that tell how things stand. */
import type { Command, CommandOption, Configured, Given } from './commands.ts';
import { wrongConfiguration } from './exits.ts';

export type DiagnosisInvocation = {
  kind: 'status' | 'doctor';
  json: boolean;
  /** Of doctor: the one file that is looked at. */
  property?: string;
} & Configured;

const jsonOption: CommandOption = {
  flag: 'json',
  type: 'boolean',
  description: 'Print one JSON document, for programs',
};

const propertyOption: CommandOption = {
  flag: 'property',
  type: 'text',
  value: '<name>',
  description: 'Look at object and target of this file only, not of all',
};

function invocationOf(kind: DiagnosisInvocation['kind'], given: Given): DiagnosisInvocation {
  const { options, argument: _, ...configured } = given;
  const property = options.get('property');
  return {
    kind,
    json: options.has('json'),
    ...(typeof property === 'string' ? { property } : {}),
    ...configured,
  };
}

export const statusCommand: Command = {
  name: 'status',
  usage: ['shadow-agent status --config agent.json', 'shadow-agent status --config agent.json --json'],
  summary: 'show how the agent and each of its files stand',
  about: `Asks the running agent: its version and uptime, the link to AWS IoT with its
last error, how long the certificate is valid, and of each file what is
installed and wanted, how far a download is, the last error with a hint, and
when it is tried again. Where no agent runs, or the one that runs does not
answer within 5 s, it says so, and shows what the state file and the disk tell.
It changes nothing. Run it as the user of the agent, or as root.

An agent reads its configuration when it is started. Where the file, the shadow
or the files are others now, that is told as config, and what follows is what
the agent does: restart it.

A warning is what goes on working for now: a certificate that ends within 30
days, or files on disk that are refused while the agent goes on with the
certificate that it has. It does not change the exit code.

--json prints one object. What is not known is null; of an agent that does not
run, or answer, that is version, pid, startedAt, uptimeSeconds and link. error
says why an agent that runs does not answer, or that the state file is rubbish;
otherConfiguration how the configuration of the agent differs from this one.
configHash is the SHA-256 of the agent's own.

  {ok, running, error: {code, message, hint},
   otherConfiguration: {message, hint},
   startedAt, uptimeSeconds, version, pid, thing, shadow, configHash,
   link: {connected, since, lastAnswerAt, error: {code, message, hint}},
   certificate: {notAfter, daysLeft},
   warnings: [{code, message, hint, since}],
   files: {PROPERTY: {path, status, installed,
     desired: {url, hash, versionId, size},
     progress: {bytes, size, bytesPerSecond},
     error: {code, message, hint}, attempt, retryAt}}}

status is one of: unknown (the shadow has not answered), none (it desires
nothing), current, pending, downloading, waiting (an error that is likely to
pass) and failed (one that somebody has to mend).`,
  options: [jsonOption],
  exits: [
    [0, 'an agent runs with this configuration, is connected, and no file has an error'],
    [1, 'anything else'],
    wrongConfiguration,
  ],
  isConfigured: true,
  invocation: (given) => invocationOf('status', given),
};

export const doctorCommand: Command = {
  name: 'doctor',
  usage: ['shadow-agent doctor --config agent.json', 'shadow-agent doctor --config agent.json --json'],
  summary: 'find out what is wrong, and what to do about it',
  about: `Tries out, step by step, all that the agent depends on, and prints each result
as soon as it is known: ok, warn, fail, or skip where it cannot be tried. It
takes a second or two, and half a minute where no server answers. A hint says
what to do, and where a policy lacks something the statement to add follows. It
changes nothing, neither on this device nor in the cloud. So it does not see
whether the policy allows what follows a change: iot:Publish on
$aws/things/THING/shadow/update, and iot:Receive on .../update/accepted,
.../update/rejected and .../update/delta.

  config         every problem of the configuration
  identity       certificate, key and roots
  permissions    who else could read or replace them
  agent          the one that runs here: does it answer, with this configuration?
  dns            an address for each endpoint
  tls            TCP and TLS to each endpoint; ALPN on port 443
  clock          the clock of this device against that of AWS
  certificate    its dates
  mqtt           a connection with the real client id
  subscriptions  each topic of the shadow
  shadow         its document, read once
  credentials    the certificate traded for temporary credentials
  s3             one byte of each desired object
  targets        rights, owners and room where the files go
  hooks          the program of each, where one is configured
  state          the state directory, its rights and room
  metrics        the file of metrics, where one is configured

AWS IoT ends the older of two connections with one client id. So where an agent
runs on the state directory, that one is asked how its link stands; only where
none runs does doctor connect itself. Run it as the user of the agent, or as
root: what that user may read and write is then judged by owners and modes (the
user is whoever owns the state directory or, before the first start, the key).

--json prints one object; a probe that finds several things has an entry for
each. verdict is ok, warn, fail or skip.

  {ok, version, at, probes: [{probe, verdict, message, hint,
   policy: {of, statement}, milliseconds}]}`,
  options: [jsonOption, propertyOption],
  exits: [
    [0, 'nothing failed; there may be warnings'],
    [1, 'something failed; problems of the configuration are among it'],
  ],
  isConfigured: true,
  invocation: (given) => invocationOf('doctor', given),
};
