/** What is secret is taken out of every text, whole or cut short. */
import { beforeEach, describe, expect, test } from 'bun:test';
import { createHash, randomBytes } from 'node:crypto';
import { errorLines, stackLines } from '../../src/cli/errors.ts';
import { providerMessage } from '../../src/core/credentials.ts';
import { AgentError } from '../../src/core/errors.ts';
import { parseS3Error } from '../../src/core/s3-request.ts';
import { protect, protectLogin, redact } from '../../src/core/secrets.ts';
import { networkError } from '../../src/io/http.ts';
import { ShadowRejection } from '../../src/io/shadow-client.ts';

describe('redact', () => {
  test.each([
    ['-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----', 'MIGH'],
    ['-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----', 'MIIE'],
    ['-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n-----END ENCRYPTED PRIVATE KEY-----', 'MIIF'],
    ['cut short: -----BEGIN PRIVATE KEY-----\nMIGG', 'MIGG'],
    ['http://user:pass@proxy:3128/', 'pass'],
    ['CONNECT https://user:p%40ss@proxy:3128 failed', 'p%40ss'],
    ['GET https://host/path?token=abc123 failed', 'abc123'],
    ['x-amz-security-token: FQoGZXIv', 'FQoGZXIv'],
    ['X-Amz-Credential=AKIA/2013/us', 'AKIA'],
    ['AWS4-HMAC-SHA256 SignedHeaders=host, Signature=0123456789abcdef0123', '0123456789abcdef'],
  ])('takes the secret out of %j', (text, secret) => {
    expect(redact(text)).not.toContain(secret);
    expect(redact(text)).toContain('[secret]');
  });

  test('leaves everyday text alone', () => {
    const text =
      'Cannot get s3://bucket/key?x of https://host:8443/path: HTTP 403 (Access Denied), mail a@b.c';
    expect(redact(text)).toBe(text);
    protect(randomBytes(400).toString('base64'));
    const said = `User: arn:aws:sts::123456789012:assumed-role/role-of-devices/${'0123456789abcdef'.repeat(4)} is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::123456789012-iot-test-files/models/2026/v1%20b.bin" (request id 4442587FB7D0A2F9)`;
    expect(redact(said)).toBe(said);
  });

  test('leaves the example of a proxy alone, which holds no secret', () => {
    const text = 'must be http://host:port or http://user:password@host:port';
    expect(redact(text)).toBe(text);
    expect(redact('http://user:password1@host:1')).toBe('http://[secret]@host:1');
  });

  test('knows every value that is protected now, the newest for certain', () => {
    for (let index = 0; index < 100; index += 1) protect(`protected-value-${index}`);
    expect(redact('a protected-value-99 b')).toBe('a [secret] b');
    expect(redact('a protected-value-98 b')).toBe('a [secret] b');
  });

  test('knows a login in every form, however many credentials came after it', () => {
    protectLogin('jo', 'pw/5 é');
    for (let index = 0; index < 100; index += 1) protect(`renewed-value-${index}-`);
    const forms = ['pw/5 é', encodeURIComponent('pw/5 é'), Buffer.from('jo:pw/5 é').toString('base64')];
    for (const form of forms) expect(redact(`a ${form} b`)).toBe('a [secret] b');
  });

  test.each(['squid', 'agent', '8883', 'firmware', 'Production'])(
    'of the password %s, which is a word or number of many texts, knows all that holds it as one',
    (password) => {
      const text = `${password}s of the ${password}, in "/opt/${password}/${password}.json"`;
      protectLogin('jo é', password);
      expect(redact(text)).toBe(text);
      const forms = [
        `jo é:${password}`,
        `jo%20%C3%A9:${password}`,
        encodeURIComponent(`jo é:${password}`),
        Buffer.from(`jo é:${password}`).toString('base64'),
        Buffer.from(password).toString('base64'),
      ];
      for (const form of forms) expect(redact(`a ${form} b`)).toBe('a [secret] b');
    },
  );

  test.each(['s3cr', 'p-wd', 'PassWort', 'passwort1', '20262027', 'morethanfifteenletters'])(
    'knows the password %s wherever it stands',
    (password) => {
      protectLogin('jo', password);
      expect(redact(`x${password}y`)).toBe('x[secret]y');
    },
  );

  test('leaves text alone that has only a part of a password in common with it', () => {
    protectLogin('jo', 'shadow-agent-files-24');
    const text = 'shadow-agent starts, and the bucket shadow-agent-files-2 is not in "allow"';
    expect(redact(text)).toBe(text);
    expect(redact('is shadow-agent-files-24, or Shadow%2Dagent%2Dfiles%2D24.')).toBe(
      'is [secret], or [secret].',
    );
    expect(redact('jo:shadow-agent-fil')).toBe('[secret]');
  });

  test('a login without a password holds no secret', () => {
    for (const user of ['', 'jo']) protectLogin(user, '');
    expect(redact('jo: a jo')).toBe('jo: a jo');
  });

  test('a login of one letter blanks out no other text', () => {
    protectLogin('jo', 'a');
    expect(redact('banana jo:a')).toBe('banana [secret]');
  });

  test('a short value would blank out the whole log, and is not protected', () => {
    protect('a');
    protect('');
    expect(redact('banana')).toBe('banana');
  });

  test('knows a value that is written as a part of a URL', () => {
    protect('aa+bb/cc=dd+ee/ff=');
    expect(redact('https://h/aa%2Bbb%2Fcc%3Ddd%2Bee%2Fff%3D/x')).toBe('https://h/[secret]/x');
  });

  test('takes out a value that was cut short, from its first 12 characters on', () => {
    protect('abcdefghijklmnopqrstuvwxyz');
    expect(redact('said abcdefghijklmnop')).toBe('said [secret]');
    expect(redact('said abcdefghijkl… end')).toBe('said [secret]… end');
    expect(redact('said abcdefghijk')).toBe('said abcdefghijk');
  });

  test('leaves no rest of one of two values that begin alike', () => {
    protect('IQoJb3JpZ2luX2Vj-first-of-two');
    protect('IQoJb3JpZ2luX2Vj-other');
    expect(redact('IQoJb3JpZ2luX2Vj-other.')).toBe('[secret].');
    expect(redact('IQoJb3JpZ2luX2Vj-first-of-two.')).toBe('[secret].');
  });

  test('takes a user without the password for no secret', () => {
    protectLogin('a-user-with-a-long-name', 'pässword');
    expect(redact('a-user-with-a-long-name: logs in')).toBe('a-user-with-a-long-name: logs in');
    expect(redact('a-user-with-a-long-name:pässw')).toBe('[secret]');
  });
});

const writings: [string, (secret: string) => string][] = [
  ['percent-encoded', encodeURIComponent],
  [
    'percent-encoded in lower case',
    (secret) => encodeURIComponent(secret).replace(/%../g, (hex) => hex.toLowerCase()),
  ],
  ['percent-encoded twice', (secret) => encodeURIComponent(encodeURIComponent(secret))],
  ['with its slashes escaped', (secret) => secret.replaceAll('/', '\\/').replaceAll('"', '\\"')],
  [
    'with code points in JSON',
    (secret) => secret.replace(/[+/="]/g, (char) => `\\u00${char.charCodeAt(0).toString(16)}`),
  ],
  ['with entities of XML', (secret) => secret.replace(/[+/="]/g, (char) => `&#${char.charCodeAt(0)};`)],
  ['as a form is decoded', (secret) => secret.replaceAll('+', ' ')],
  ['as a URL takes it', (secret) => secret.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')],
  ['in lower case', (secret) => secret.toLowerCase()],
  ['wrapped', (secret) => secret.replace(/.{10}/g, '$&\r\n ')],
];

describe.each(writings)('a secret that a server writes %s', (_, write) => {
  test('is taken out from front to end, also where its front is cut off', () => {
    const lines = ['0', '1', '2', '3', '4', '5'].map((line) => createHash('sha512').update(line));
    const token = lines.map((line) => line.digest('base64')).join('');
    protect(token);
    for (const cut of [token, token.slice(7), token.slice(0, 250)]) {
      const told = redact(`bad ${write(cut)} at arn:aws:s3:::bucket/key`);
      expect(told).toMatch(/^bad [^a-z0-9]{0,6}\[secret\].{0,20} at arn:aws:s3:::bucket\/key$/is);
    }
  });

  test('is taken out where it is the password of a proxy', () => {
    protectLogin('jo', 'S3cr/etPw+99"x');
    expect(redact(`bad ${write('S3cr/etPw+99"x')}!`)).toMatch(/^bad \[secret\]/);
  });
});

/** A token as long as those of AWS, and one that a limit of 200 to 300 characters cuts in two. */
describe.each([
  ['whole', 0],
  ['cut short by a limit', 150],
  ['behind all limits', 400],
])('a token that a server says back, %s, is not in', (_, padding) => {
  const token = randomBytes(400).toString('base64');
  beforeEach(() => protect(token));
  const said = `${'x'.repeat(padding)} ${token} and more`;

  test.each([
    ['an error of S3', () => parseS3Error(`<Error><Code>${said}</Code><Message>${said}</Message></Error>`)],
    ['an error of the credentials provider', () => providerMessage(JSON.stringify({ message: said }))],
    ['a rejection of the shadow service', () => new ShadowRejection('get', 400, said)],
    ['a failure of the runtime', () => networkError(new Error(said), 'x', new AbortController().signal)],
    ['any error', () => new AgentError('MQTT', said, { hint: said })],
    ['a line of the terminal', () => errorLines(said, said)],
    ['a stack', () => stackLines(new Error(said))],
  ])('%s', (_, made) => {
    const value = made();
    const text = value instanceof AgentError ? `${value.message} ${value.hint}` : JSON.stringify(value);
    expect(text).not.toContain(token.slice(0, 12));
    if (padding === 0) expect(text).toContain('[secret]');
  });
});
