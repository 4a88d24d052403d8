/** The commands of whoever releases files; they run on that machine, not on a device. */
import { parseProperty } from '../config/grammar.ts';
import { isSequence } from '../core/signature.ts';
import type { Command, Given, Invocation } from './commands.ts';

export type SigningInvocation =
  | { kind: 'keygen'; path: string }
  | { kind: 'sign'; path: string; key: string; property: string; to?: string; sequence?: number };

export const keygenCommand: Command = {
  name: 'keygen',
  usage: ['shadow-agent keygen FILE'],
  argument: 'FILE',
  summary: 'make a key that signs files, on the machine of whoever releases them',
  about: `Writes the private key to FILE (PEM, mode 0600; a file that is there is never overwritten), and prints the
public key and the lines with which agent.json of a device demands its signatures. Keep FILE off the
devices and out of the cloud account: whoever has it decides what the devices install.

To change keys: list the new public key beside the old one on all devices, sign anew with the new key what
is installed, upload it, and then take the old one out. A file that only the old key has signed stays where
it is, but can no longer be repaired, or installed at another path or on another device.`,
  options: [],
  exits: [
    [0, 'the key is made'],
    [1, 'FILE is there already, or cannot be written'],
  ],
  isConfigured: false,
  invocation: ({ argument = '' }) => ({ kind: 'keygen', path: argument }),
};

export const signCommand: Command = {
  name: 'sign',
  usage: ['shadow-agent sign FILE --key signing.key --property s3 --to s3://bucket/key'],
  argument: 'FILE',
  summary: 'sign a file, and print the command that uploads it',
  about: `Prints the "aws s3 cp" command that uploads FILE with its signature in the metadata of the object; nothing
is uploaded. To do both, and to fail where FILE could not be signed:

  upload=$(shadow-agent sign …)
  sh -c "\${upload:?}"

Piped into sh, a failure would go unseen: a shell that reads nothing succeeds.

The signature covers the SHA-256 of FILE, the property, and the sequence number. A device takes no number
that is lower than one that it took before: to go back to an older file, sign that anew.`,
  options: [
    {
      flag: 'key',
      type: 'text',
      value: '<path>',
      description: 'Private key, as shadow-agent keygen made it',
    },
    {
      flag: 'property',
      type: 'text',
      value: '<name>',
      description: 'Property of the shadow that names this file on the devices',
    },
    {
      flag: 'to',
      type: 'text',
      value: '<url>',
      description: 'Where the command uploads to, s3://bucket/key; by default a place to fill in',
    },
    {
      flag: 'sequence',
      type: 'integer',
      value: '<n>',
      description: 'Number that grows from release to release; by default the milliseconds since 1970',
    },
  ],
  exits: [
    [0, 'the command is printed'],
    [1, 'FILE or the key cannot be read'],
  ],
  isConfigured: false,
  invocation: signInvocation,
};

function signInvocation({ argument = '', options }: Given): Invocation {
  const [key, property, to] = ['key', 'property', 'to'].map((flag) => options.get(flag)?.toString());
  const sequence = options.get('sequence');
  if (key === undefined) return wrong('sign needs --key', 'make a key with shadow-agent keygen signing.key');
  if (property === undefined) {
    return wrong(
      'sign needs --property',
      'write --property s3, or what files[].property of the devices says',
    );
  }
  const parsed = parseProperty(property);
  if ('problem' in parsed) return wrong(`--property ${parsed.problem}`, 'write it as the devices have it');
  if (to !== undefined && !/^s3:\/\/[^/]+\/./.test(to)) {
    return wrong(`--to must be s3://bucket/key, not "${to}"`, 'name the object, not the bucket alone');
  }
  if (sequence !== undefined && !isSequence(Number(sequence))) {
    return wrong(
      '--sequence must be a whole number from 1 on',
      'leave it out to take the milliseconds since 1970',
    );
  }
  return {
    kind: 'sign',
    path: argument,
    key,
    property,
    ...(to === undefined ? {} : { to }),
    ...(sequence === undefined ? {} : { sequence: Number(sequence) }),
  };
}

function wrong(message: string, hint: string): Invocation {
  return { kind: 'usage-error', message, hint };
}
