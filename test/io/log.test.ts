import { afterAll, beforeEach, describe, expect, spyOn, test } from 'bun:test';
import {
  createLogger,
  type Logger,
  type LogOptions,
  protect,
  protectLogin,
  redact,
} from '../../src/io/log.ts';

let lines: string[] = [];
const write = spyOn(process.stderr, 'write');

beforeEach(() => {
  lines = [];
  write.mockImplementation((chunk: unknown) => {
    lines.push(String(chunk));
    return true;
  });
});

afterAll(() => {
  createLogger({ level: 'error', format: 'text' });
  write.mockRestore();
});

function logger(options: Partial<LogOptions> = {}): Logger {
  return createLogger({ level: 'debug', format: 'text', ...options });
}

const hostile =
  'line\n2026-01-01T00:00:00.000Z ERROR   forged\r\u001b[2J\u001b]0;title\u0007\u009b31m\u0085\u2028\u2029\u007f\u0000"';
// All that ends a line or drives a terminal.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
const harmful = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029]/;

function onlyLine(): string {
  expect(lines.length).toBe(1);
  const [line = ''] = lines;
  expect(line.indexOf('\n')).toBe(line.length - 1);
  return line.slice(0, -1);
}

describe('the text log', () => {
  test('has time, level, message and fields on a line', () => {
    logger().info('Installed', {
      file: 's3',
      bytes: 12,
      url: 's3://b/k',
      hint: undefined,
      ok: true,
      at: 'a b',
    });
    expect(onlyLine()).toMatch(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO {4}Installed file=s3 bytes=12 url=s3:\/\/b\/k ok=true at="a b"$/,
    );
  });

  test('shows an empty field as such', () => {
    logger().info('x', { field: '' });
    expect(onlyLine()).toEndWith(' x field=""');
  });
});

describe('the JSON log', () => {
  test('has an object on a line, with the types of the fields', () => {
    logger({ format: 'json' }).warning('Update failed', {
      file: 's3',
      attempt: 2,
      ok: false,
      hint: undefined,
    });
    const entry = JSON.parse(onlyLine());
    expect(Date.parse(entry.time)).toBeGreaterThan(0);
    expect(entry).toEqual({
      time: entry.time,
      level: 'warning',
      message: 'Update failed',
      file: 's3',
      attempt: 2,
      ok: false,
    });
  });

  test('keeps a hostile field as data', () => {
    logger({ format: 'json' }).info('x', { field: hostile });
    expect(JSON.parse(onlyLine()).field).toBe(hostile);
  });
});

describe.each(['text', 'json'] as const)('in the %s log', (format) => {
  test.each(['debug', 'info', 'warning', 'error'] as const)(
    'level %s lets pass itself and what is worse',
    (level) => {
      const log = logger({ format, level });
      log.debug('one');
      log.info('two');
      log.warning('three');
      log.error('four');
      expect(lines.length).toBe({ debug: 4, info: 3, warning: 2, error: 1 }[level]);
    },
  );

  test('a field from the network forges no line and drives no terminal', () => {
    logger({ format }).info('Received', { topic: hostile });
    expect(onlyLine()).not.toMatch(harmful);
  });

  test('a message that quotes the network forges no line and drives no terminal', () => {
    logger({ format }).warning(`Cannot get the object: HTTP 403 AccessDenied (${hostile})`);
    expect(onlyLine()).not.toMatch(harmful);
  });

  test('a message is not taken for a template', () => {
    logger({ format }).warning('The answer was {"code":400} and {file} {{x}} {*}', { file: 'secret-field' });
    expect(onlyLine()).toContain(
      format === 'text' ? '{"code":400} and {file} {{x}} {*}' : '{file} {{x}} {*}',
    );
  });

  test('no secret shows, in message or field', () => {
    protect('wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY');
    const secret = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
    const key = '-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIGgx\n-----END EC PRIVATE KEY-----';
    const url = 'https://b.s3.amazonaws.com/k?X-Amz-Signature=f0e8bdb87c964420&X-Amz-Security-Token=FQoGZXIv';
    logger({ format }).error(`failed ${secret} ${key} ${url}`, {
      a: secret,
      b: `x${secret}y`,
      c: key,
      d: url,
    });
    const line = onlyLine();
    for (const part of [secret, 'MHcCAQEEIGgx', 'f0e8bdb87c964420', 'FQoGZXIv'])
      expect(line).not.toContain(part);
    expect(line).toContain('https://b.s3.amazonaws.com/k');
  });
});

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
  ])('takes the secret out of %j', (text, secret) => {
    expect(redact(text)).not.toContain(secret);
    expect(redact(text)).toContain('[secret]');
  });

  test('leaves everyday text alone', () => {
    const text =
      'Cannot get s3://bucket/key?x of https://host:8443/path: HTTP 403 (Access Denied), mail a@b.c';
    expect(redact(text)).toBe(text);
  });

  test('knows every value that is protected now, the newest for certain', () => {
    for (let index = 0; index < 100; index += 1) protect(`protected-value-${index}-`);
    expect(redact('a protected-value-99- b')).toBe('a [secret] b');
    expect(redact('a protected-value-98- b')).toBe('a [secret] b');
  });

  test('knows a login in every form, however many credentials came after it', () => {
    protectLogin('jo', 'pw/5 é');
    for (let index = 0; index < 100; index += 1) protect(`renewed-value-${index}-`);
    const forms = ['pw/5 é', encodeURIComponent('pw/5 é'), Buffer.from('jo:pw/5 é').toString('base64')];
    for (const form of forms) expect(redact(`a ${form} b`)).toBe('a [secret] b');
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
});
