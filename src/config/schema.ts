import { type JsonSchema, toJsonSchema } from '@valibot/to-json-schema';
import * as v from 'valibot';
import {
  type Parsed,
  parseClientId,
  parseCredentialEndpoint,
  parseEndpoint,
  parseMode,
  parseOrigin,
  parsePath,
  parseProperty,
  parseProxy,
  parseSigningKey,
} from './grammar.ts';

/** A string that `parse` turns into its value, or refuses with its own words. */
function text<T>(description: string, example: string, parse: (text: string) => Parsed<T>) {
  return v.pipe(
    v.string(),
    v.metadata({ description, examples: [example] }),
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      const parsed = parse(dataset.value);
      if ('value' in parsed) return parsed.value;
      addIssue({ message: parsed.problem });
      return NEVER;
    }),
  );
}

function pattern(description: string, example: string, regex: RegExp, message: string) {
  return v.pipe(v.string(), v.metadata({ description, examples: [example] }), v.regex(regex, message));
}

function integer(description: string, example: number, min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}`;
  return v.pipe(
    v.number(),
    v.metadata({ description, examples: [example] }),
    v.integer(message),
    v.minValue(min, message),
    v.maxValue(max, message),
  );
}

function flag(description: string, example: boolean) {
  return v.pipe(v.boolean(), v.metadata({ description, examples: [example] }));
}

function choice<const T extends readonly string[]>(description: string, example: T[number], options: T) {
  return v.pipe(v.picklist(options), v.metadata({ description, examples: [example] }));
}

// Thing and shadow names: botocore iot-data service-2.json.
const thingName = /^[a-zA-Z0-9:_-]{1,128}$/;
const shadowName = /^[$a-zA-Z0-9:_-]{1,64}$/;
const regionName = /^[a-z0-9][a-z0-9-]{0,62}$/;
// The slash behind the bucket is wanted: without it `s3://files` would also allow `s3://files-of-others/`.
const allowedPrefix = /^s3:\/\/[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]\/[^\0]*$/;

// The first key of RFC 8032, 7.1.
// No key: whoever copied one could be forged by all who know its other half.
const exampleKey = '<what shadow-agent keygen printed>';

export const s3Entries = {
  region: v.exactOptional(
    pattern(
      'Region of the buckets; told by `endpoint` where that is a host of AWS',
      'us-east-1',
      regionName,
      'must be the name of a region',
    ),
  ),
  endpoint: v.exactOptional(
    text("S3 server in the place of AWS's own, an https origin", 'https://127.0.0.1:9000', parseOrigin),
  ),
  ca: v.exactOptional(
    text("PEM file of roots that S3 is trusted by, besides the system's", 'ca.pem', parsePath),
  ),
  pathStyle: v.optional(flag('Address buckets as a path, not as a subdomain', true), false),
  dualStack: v.optional(flag("Use AWS's dual-stack (IPv6) endpoints of S3", true), false),
  maxBytesPerSecond: v.optional(
    integer(
      'Limit of all downloads together, in bytes a second, at least 1000; 0 is none',
      1_000_000,
      0,
      Number.MAX_SAFE_INTEGER,
    ),
    0,
  ),
  connections: v.optional(
    integer('Ranges of large objects that are fetched at a time, of all downloads together', 4, 1, 16),
    4,
  ),
};

const verifyEntries = {
  publicKeys: v.pipe(
    v.array(text('Ed25519 public key', exampleKey, parseSigningKey)),
    v.metadata({
      description: 'Keys of which one must have signed an object, as `shadow-agent keygen` prints them',
      examples: [[exampleKey]],
    }),
    v.minLength(1, 'must name at least one key; with an empty list nothing could be installed'),
  ),
};

export const hookEntries = {
  command: v.pipe(
    v.array(v.pipe(v.string(), v.regex(/^[^\0]+$/, 'must be a word'))),
    v.metadata({
      description:
        'Program and arguments, run without a shell; a program without a slash is looked for in PATH',
      examples: [['/usr/local/bin/apply', '--now']],
    }),
    v.minLength(1, 'must name a program'),
  ),
  timeoutSeconds: v.optional(
    integer('How long it may run; after that it is ended, and has failed', 60, 1, 86_400),
    60,
  ),
};

export const fileEntries = {
  property: text('Property of the shadow that names this file', 's3', parseProperty),
  path: text('Where the file is kept', '/var/lib/app/model.bin', parsePath),
  mode: v.exactOptional(
    text(
      'Permission bits in octal; by default what the file has, else 0644; less where others may write to its directory',
      '0644',
      parseMode,
    ),
  ),
  owner: v.exactOptional(
    pattern(
      'Owner, `user` or `user:group`, names or numbers; by default what the file has, unless others may write to its directory',
      'app:app',
      /^[^:\s]+(?::[^:\s]+)?$/,
      'must be user or user:group',
    ),
  ),
  allow: v.exactOptional(
    v.pipe(
      v.array(
        v.pipe(v.string(), v.regex(allowedPrefix, 'must be s3://bucket/ with or without a prefix behind it')),
      ),
      v.metadata({
        description: 'Prefixes, one of which a desired URL must begin with; by default any bucket will do',
        examples: [['s3://123456789012-iot-test-files/']],
      }),
      v.minLength(1, 'must name at least one prefix; an empty list would allow nothing'),
    ),
  ),
  maxBytes: v.exactOptional(integer('Largest object to install, in bytes', 1073741824, 1, 2 ** 53 - 1)),
  keepPrevious: v.optional(flag('Keep the file that was replaced, for a rollback', true), true),
  verify: v.exactOptional(
    v.pipe(v.strictObject(verifyEntries), v.metadata({ description: 'Install only what is signed' })),
  ),
  onInstall: v.exactOptional(
    v.pipe(
      v.strictObject(hookEntries),
      v.metadata({
        description: 'Hook: runs for each installed file; where it fails, the file before is put back',
        examples: [{ command: ['/usr/local/bin/apply'], timeoutSeconds: 60 }],
      }),
    ),
  ),
};

const logEntries = {
  level: v.optional(
    choice('Least level that is logged', 'info', ['debug', 'info', 'warning', 'error']),
    'info',
  ),
  format: v.optional(choice('Lines for people, or JSON for machines', 'text', ['text', 'json']), 'text'),
};

export const entries = {
  thingName: pattern(
    'Name of the thing in AWS IoT',
    'test-thing',
    thingName,
    'must be 1 to 128 of the characters a-z A-Z 0-9 : _ -',
  ),
  clientId: v.exactOptional(text('MQTT client id; by default the thing name', 'test-thing', parseClientId)),
  endpoint: text(
    'AWS IoT data endpoint, `host` or `host:port`; by default port 8883, and 443 where that is blocked',
    'xxxxxxxxxxxxxx-ats.iot.us-east-1.amazonaws.com',
    parseEndpoint,
  ),
  credentialEndpoint: text(
    'Credentials provider with the path of the role alias; `https://` and `:port` may be there',
    'xxxxxxxxxxxxx.credentials.iot.us-east-1.amazonaws.com/role-aliases/iot-role-alias-s3-read/credentials',
    parseCredentialEndpoint,
  ),
  cert: text("PEM file of the device's certificate", 'certificate.pem', parsePath),
  key: text("PEM file of the certificate's private key, not encrypted", 'private.key', parsePath),
  ca: text('PEM file of the roots that AWS IoT is trusted by', 'AmazonRootCA1.pem', parsePath),
  shadowName: v.exactOptional(
    pattern(
      'Name of the shadow; by default the classic, unnamed one',
      'files',
      shadowName,
      'must be 1 to 64 of the characters a-z A-Z 0-9 : _ - $',
    ),
  ),
  stateDir: v.exactOptional(
    text(
      "Directory of the agent's own state; by default $STATE_DIRECTORY, for a file in /etc/NAME /var/lib/NAME, else `state` beside it",
      '/var/lib/shadow-agent',
      parsePath,
    ),
  ),
  metricsFile: v.exactOptional(
    text(
      'File of metrics for node_exporter, which reads those that end in .prom; by default none',
      '/var/lib/node_exporter/textfile/shadow-agent.prom',
      parsePath,
    ),
  ),
  s3: v.optional(
    v.pipe(v.strictObject(s3Entries), v.metadata({ description: 'Where and how S3 is reached' })),
    {},
  ),
  files: v.pipe(
    v.array(v.strictObject(fileEntries)),
    v.metadata({
      description: 'The files to keep equal to the shadow',
      examples: [[{ property: 's3', path: '/tmp/tmpfile' }]],
    }),
    v.minLength(1, 'must name at least one file'),
  ),
  proxy: v.exactOptional(
    text(
      'HTTP proxy for MQTT, credentials and S3; by default that of $HTTPS_PROXY and $NO_PROXY',
      'http://user:password@proxy:3128',
      parseProxy,
    ),
  ),
  // Keep-alive of 30 to 1200 s: AWS IoT limits.
  keepAliveSeconds: v.optional(integer('MQTT keep-alive', 1200, 30, 1200), 1200),
  resyncSeconds: v.optional(
    integer('How often, on average, shadow and files are looked at without a cause', 3600, 1, 604_800),
    3600,
  ),
  jitterSeconds: v.optional(
    integer('Random delay, of at most so long, before what a delta started', 0, 0, 86_400),
    0,
  ),
  stallSeconds: v.optional(
    integer('How long a download may bring no byte before it is started again', 30, 1, 3600),
    30,
  ),
  digest: v.optional(
    choice('SHA-256 of the runtime, or of the bundled library', 'native', ['native', 'noble']),
    'native',
  ),
  strict: v.exactOptional(
    flag(
      'Refuse to start where others could read the key or replace files of the agent; by default true as root, else a warning',
      true,
    ),
  ),
  log: v.optional(
    v.pipe(v.strictObject(logEntries), v.metadata({ description: 'What is logged, on stderr' })),
    {},
  ),
};

export const configSchema = v.pipe(
  v.strictObject(entries),
  v.metadata({
    title: 'shadow-agent configuration',
    description: 'What shadow-agent runs by. Relative paths are relative to the file.',
  }),
);

/** The parsed file with its defaults; paths, owners and what depends on other keys are still as written. */
export type ConfigValues = v.InferOutput<typeof configSchema>;

/** JSON Schema (draft 2020-12) of agent.json, for editors and other checkers. */
export function configJsonSchema(): JsonSchema {
  return toJsonSchema(configSchema, { typeMode: 'input', target: 'draft-2020-12' });
}
