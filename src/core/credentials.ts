import * as v from 'valibot';
import { outageHint, quotaHint } from './connection-hints.ts';
import { quoted } from './secrets.ts';

/** A value that no log, JSON text or template shows; `reveal()` is the only way to it. */
export class Secret {
  readonly #value: string;
  constructor(value: string) {
    this.#value = value;
  }
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return '[secret]';
  }
  toJSON(): string {
    return '[secret]';
  }
}

/** Temporary credentials of the role behind the alias. Times are monotonic ms. */
export interface Credentials {
  accessKeyId: string;
  secretAccessKey: Secret;
  sessionToken: Secret;
  /** From here on new ones are asked for. */
  refreshAtMs: number;
  /** From here on S3 refuses these. */
  expiresAtMs: number;
}

const nonEmpty = v.pipe(v.string(), v.minLength(1), v.maxLength(16_384));
const answerSchema = v.looseObject({
  credentials: v.looseObject({
    accessKeyId: nonEmpty,
    secretAccessKey: nonEmpty,
    sessionToken: nonEmpty,
    expiration: v.pipe(
      v.string(),
      v.check((text) => Number.isFinite(Date.parse(text))),
    ),
  }),
});
const messageSchema = v.looseObject({ message: v.string() });

const refreshBeforeMs = 5 * 60_000;

/**
 * Reads the provider's answer. Its expiry is a wall-clock time of AWS; it becomes monotonic through `serverNowMs`,
 * AWS's own clock at that moment, so that a wrong clock of the device shortens or stretches nothing.
 * Refresh comes min(5 minutes, half the lifetime) before expiry.
 * Source: AWS IoT developer guide, authorizing-direct-aws.
 *
 * @throws Error without any content of the answer when its shape is not the provider's
 */
export function parseCredentials(text: string, serverNowMs: number, nowMs: number): Credentials {
  const { credentials } = parse(text);
  const lifetimeMs = Date.parse(credentials.expiration) - serverNowMs;
  return {
    accessKeyId: credentials.accessKeyId,
    secretAccessKey: new Secret(credentials.secretAccessKey),
    sessionToken: new Secret(credentials.sessionToken),
    refreshAtMs: nowMs + lifetimeMs - Math.min(refreshBeforeMs, lifetimeMs / 2),
    expiresAtMs: nowMs + lifetimeMs,
  };
}

function parse(text: string): v.InferOutput<typeof answerSchema> {
  try {
    return v.parse(answerSchema, JSON.parse(text));
  } catch {
    // The answer holds secrets, and the parser's message would quote it.
    throw new Error('the answer is not what the credentials provider sends');
  }
}

/** The message of an error body without what is secret, or '' where there is none. */
export function providerMessage(text: string): string {
  try {
    const parsed = v.safeParse(messageSchema, JSON.parse(text));
    return parsed.success ? quoted(parsed.output.message, 200) : '';
  } catch {
    return '';
  }
}

const provider = 'the credentials provider';

/**
 * What to type after an error of the provider.
 * Source: awslabs/aws-iot-core-credential-provider-session-helper, which measured each of these bodies.
 */
export function providerHint(status: number, message: string, alias: string, thing: string): string {
  const known: Array<[RegExp, string]> = [
    [
      /invalid thing name/i,
      `attach the thing to the certificate: aws iot attach-thing-principal --thing-name ${thing} --principal <certificate ARN>`,
    ],
    [
      /access denied/i,
      `allow iot:AssumeRoleWithCertificate on the role alias "${alias}" in the certificate's policy`,
    ],
    [/role alias does not exist/i, `create it (aws iot create-role-alias), or correct "credentialEndpoint"`],
    [
      /unable to assume the role/i,
      `let credentials.iot.amazonaws.com assume the role of the alias "${alias}"`,
    ],
    [/credentialdurationseconds exceeds/i, `lower the duration of the alias, or raise the role's maximum`],
    [/certificate is invalid/i, 'register and activate the certificate in this account and region'],
  ];
  const hint = known.find(([pattern]) => pattern.test(message))?.[1];
  if (hint !== undefined) return hint;
  if (status === 429) return quotaHint(provider);
  return status >= 500 ? outageHint(provider) : 'check "credentialEndpoint", the alias and its role';
}
