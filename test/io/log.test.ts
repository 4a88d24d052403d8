import { afterAll, beforeEach, describe, expect, spyOn, test } from 'bun:test';
import { protect } from '../../src/core/secrets.ts';
import { createLogger, type Logger, type LogOptions } from '../../src/io/log.ts';

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
  'line\n2026-01-01T00:00:00.000Z ERROR   forged\r\u001b[2J\u001b]0;title\u0007\u009b31m\u0085\u2028\u2029\u007f\u0000\u202e\u2066"';
// All that ends a line or drives a terminal.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
const harmful = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202e\u2066]/;

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
