import { describe, expect, test } from 'bun:test';
import { format, inspect } from 'node:util';
import fc from 'fast-check';
import { parseCredentials, providerHint, providerMessage, Secret } from '../../src/core/credentials.ts';

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
const expiration = '2023-02-06T05:54:46Z';
const expiresWallMs = Date.UTC(2023, 1, 6, 5, 54, 46);
const credentials = {
  accessKeyId: 'ASIAEXAMPLE',
  secretAccessKey: 'quiet-key',
  sessionToken: 'quiet-token',
  expiration,
};

/** The answer of the provider with some members replaced. */
function answer(change: Record<string, unknown> = {}): string {
  return JSON.stringify({ credentials: { ...credentials, ...change } });
}

describe('parseCredentials()', () => {
  test('reads the answer of the provider', () => {
    const parsed = parseCredentials(answer(), expiresWallMs - 60 * minuteMs, 1_000);
    expect(parsed.accessKeyId).toBe('ASIAEXAMPLE');
    expect(parsed.secretAccessKey.reveal()).toBe('quiet-key');
    expect(parsed.sessionToken.reveal()).toBe('quiet-token');
  });

  test('takes no offence at members that it does not know', () => {
    const text = JSON.stringify({ credentials: { ...credentials, more: 1 }, more: [] });
    expect(parseCredentials(text, expiresWallMs - minuteMs, 0).accessKeyId).toBe('ASIAEXAMPLE');
  });

  test.each([
    [15, 10],
    [60, 55],
    [720, 715],
    [10, 5],
    [8, 4],
    [2, 1],
  ])('of a lifetime of %i minutes new ones are asked for after %i', (lifetime, refresh) => {
    const nowMs = 123_456;
    const parsed = parseCredentials(answer(), expiresWallMs - lifetime * minuteMs, nowMs);
    expect(parsed.expiresAtMs).toBe(nowMs + lifetime * minuteMs);
    expect(parsed.refreshAtMs).toBe(nowMs + refresh * minuteMs);
  });

  test('refresh comes the lesser of 5 minutes and half of the lifetime before expiry', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 * 60 * minuteMs }), fc.nat(1e9), (lifetimeMs, nowMs) => {
        const { refreshAtMs, expiresAtMs } = parseCredentials(answer(), expiresWallMs - lifetimeMs, nowMs);
        expect(expiresAtMs).toBe(nowMs + lifetimeMs);
        expect(expiresAtMs - refreshAtMs).toBe(Math.min(5 * minuteMs, lifetimeMs / 2));
      }),
    );
  });

  test('a device clock that is days off changes nothing: only the clock of AWS and monotonic time count', () => {
    const serverNowMs = expiresWallMs - 60 * minuteMs;
    const right = parseCredentials(answer(), serverNowMs, 5_000);
    const { now } = Date;
    try {
      for (const days of [-9000, -3, 3, 9000]) {
        Date.now = () => serverNowMs + days * dayMs;
        const { refreshAtMs, expiresAtMs } = parseCredentials(answer(), serverNowMs, 5_000);
        expect({ refreshAtMs, expiresAtMs }).toEqual({
          refreshAtMs: right.refreshAtMs,
          expiresAtMs: right.expiresAtMs,
        });
      }
    } finally {
      Date.now = now;
    }
    expect(right.expiresAtMs).toBe(5_000 + 60 * minuteMs);
  });

  test('what has ended already is neither fresh nor valid', () => {
    const { refreshAtMs, expiresAtMs } = parseCredentials(answer(), expiresWallMs + minuteMs, 1e6);
    expect(expiresAtMs).toBe(1e6 - minuteMs);
    expect(refreshAtMs).toBeLessThanOrEqual(1e6);
  });

  const malformed: Array<[string, string]> = [
    ['nothing', ''],
    ['no JSON', 'quiet-token'],
    ['JSON that is cut', answer().slice(0, -9)],
    ['JSON with more behind it', `${answer()}quiet-token`],
    ['an error page', '<html><body>quiet-token</body></html>'],
    ['null', 'null'],
    ['a list', `[${answer()}]`],
    ['no credentials', '{"message":"quiet-token"}'],
    ['credentials that are a list', '{"credentials":["quiet-token"]}'],
    ['credentials under __proto__', `{"__proto__":${answer()}}`],
    ['members under __proto__', `{"credentials":{"__proto__":${JSON.stringify(credentials)}}}`],
    ['upper-case names', '{"Credentials":{"SecretAccessKey":"quiet-key"}}'],
    ...['accessKeyId', 'secretAccessKey', 'sessionToken', 'expiration'].flatMap(
      (name): Array<[string, string]> => [
        [`no ${name}`, answer({ [name]: undefined })],
        [`an empty ${name}`, answer({ [name]: '' })],
        [`a ${name} that is null`, answer({ [name]: null })],
        [`a ${name} that is a number`, answer({ [name]: 1675662886 })],
        [`a ${name} that is a list`, answer({ [name]: ['quiet-token'] })],
      ],
    ),
    ['an expiration that is no time', answer({ expiration: 'quiet-token' })],
    ['a token without end', answer({ sessionToken: 'quiet-token'.repeat(10_000) })],
    ['100 000 levels', '['.repeat(100_000)],
  ];
  test.each(malformed)('%s is an error that quotes nothing of the answer', (_, text) => {
    let thrown: unknown;
    try {
      parseCredentials(text, expiresWallMs - minuteMs, 0);
    } catch (error) {
      thrown = error;
    }
    if (!(thrown instanceof Error)) throw new Error('nothing was thrown');
    expect(thrown.message).not.toBe('');
    for (const shown of [
      thrown.message,
      String(thrown.cause ?? ''),
      thrown.stack ?? '',
      JSON.stringify(thrown),
    ]) {
      expect(shown).not.toMatch(/quiet|ASIA/);
    }
  });
});

describe('Secret', () => {
  const secret = new Secret('quiet');
  const holder = { key: secret, list: [secret], map: new Map([['key', secret]]), set: new Set([secret]) };
  const deep = { depth: 10, showHidden: true, getters: true } as const;

  test('is revealed by reveal()', () => {
    expect(secret.reveal()).toBe('quiet');
  });

  const showings: Array<[string, () => string]> = [
    ['String()', () => String(secret)],
    ['a template', () => `${secret}`],
    ['concatenation', () => ''.concat(String(secret), [secret].toString())],
    ['Array.join()', () => [secret].join()],
    ['JSON.stringify()', () => JSON.stringify(holder)],
    ['util.inspect()', () => inspect(holder, deep)],
    ['util.inspect() without custom formatters', () => inspect(holder, { ...deep, customInspect: false })],
    ['Bun.inspect(), as console.log() shows it', () => Bun.inspect(holder, { depth: 10 })],
    ['a format of the console', () => format('%s %o %O %j', secret, secret, holder, holder)],
    ['a format with the secret behind it', () => format('key:', secret, holder)],
    ['a clone', () => inspect(structuredClone({ key: { ...secret } }), deep)],
    ['its own keys', () => Reflect.ownKeys(secret).map(String).join()],
    ['its members', () => JSON.stringify(Object.entries(secret))],
    ['an error that carries it', () => inspect(new Error('x', { cause: holder }), deep)],
    ['an error that carries it, as Bun shows it', () => Bun.inspect(new Error('x', { cause: holder }))],
  ];
  test.each(showings)('%s does not show it', (_, show) => {
    expect(show()).not.toContain('quiet');
  });

  test('no showing of the parsed answer has its secrets', () => {
    const parsed = parseCredentials(answer(), expiresWallMs - minuteMs, 0);
    for (const text of [
      JSON.stringify(parsed),
      inspect(parsed, deep),
      Bun.inspect(parsed),
      format('%o', parsed),
    ]) {
      expect(text).toContain('ASIAEXAMPLE');
      expect(text).not.toMatch(/quiet/);
    }
  });
});

describe('providerMessage()', () => {
  test.each<[string, string, string]>([
    ['the message of an error', '{"message":"Access Denied"}', 'Access Denied'],
    [
      'a message beside others',
      '{"code":1,"message":"Role alias does not exist"}',
      'Role alias does not exist',
    ],
    ['nothing for an empty body', '', ''],
    ['nothing for a page', '<html>502 Bad Gateway</html>', ''],
    ['nothing for JSON that is cut', '{"message":"Acc', ''],
    ['nothing for another shape', '{"Message":"x"}', ''],
    ['nothing for a message that is no text', '{"message":{"a":1}}', ''],
    ['nothing for null', 'null', ''],
    ['nothing for a list', '[{"message":"x"}]', ''],
    ['nothing for a message under __proto__', '{"__proto__":{"message":"x"}}', ''],
    ['nothing for endless nesting', '['.repeat(100_000), ''],
  ])('gives %s', (_, body, expected) => {
    expect(providerMessage(body)).toBe(expected);
  });

  test('is bounded', () => {
    expect(providerMessage(JSON.stringify({ message: 'x'.repeat(100_000) })).length).toBeLessThanOrEqual(200);
  });
});

describe('providerHint()', () => {
  test.each<[number, string, RegExp]>([
    [403, 'Invalid thing name passed', /attach-thing-principal.*test-thing/],
    [403, 'Access Denied', /iot:AssumeRoleWithCertificate.*my-alias/],
    [404, 'Role alias does not exist', /create-role-alias.*credentialEndpoint/],
    [
      400,
      'Unable to assume the role, or the role to assume does not exist',
      /credentials\.iot\.amazonaws\.com.*my-alias/,
    ],
    [
      400,
      'The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role',
      /duration.*maximum/,
    ],
    [403, 'Certificate is invalid on this endpoint', /activate the certificate/],
    [400, 'something new', /credentialEndpoint/],
    [403, '', /credentialEndpoint/],
    [429, '', /quota.*jitterSeconds/],
    [500, '', /the agent tries again by itself.*health\.aws\.amazon\.com/],
    [503, 'Service Unavailable', /the agent tries again by itself/],
  ])('%i "%s" has a hint of what to do', (status, message, expected) => {
    const hint = providerHint(status, message, 'my-alias', 'test-thing');
    expect(hint).toMatch(expected);
    expect(hint).not.toContain('\n');
  });

  test('each error that AWS is known to send has a hint of its own', () => {
    const messages = [
      'Invalid thing name passed',
      'Access Denied',
      'Role alias does not exist',
      'Unable to assume the role, or the role to assume does not exist',
      'The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role',
      'Certificate is invalid on this endpoint',
      'anything else',
    ];
    const hints = messages.map((message) => providerHint(403, message, 'a', 't'));
    expect(new Set(hints).size).toBe(messages.length);
  });
});
