import { describe, expect, test } from 'bun:test';
import { Secret } from '../../src/core/credentials.ts';
import { redact } from '../../src/core/secrets.ts';
import { parseNoProxy, routeBy } from '../../src/io/proxy.ts';

const proxy = { host: 'proxy', port: 3128 };

/** Whether NO_PROXY with this text spares a server the proxy. */
function spares(text: string, host: string, port = 443): boolean {
  return routeBy({ proxy, except: parseNoProxy(text) })(host, port) === undefined;
}

describe('NO_PROXY', () => {
  test.each<[text: string, host: string]>([
    ['*', 'anything'],
    ['example.com', 'example.com'],
    ['example.com', 'a.example.com'],
    ['EXAMPLE.com', 'a.b.example.com'],
    ['.example.com', 'a.example.com'],
    ['*.example.com', 'a.example.com'],
    ['other, example.com', 'example.com'],
    ['other example.com', 'example.com'],
    ['127.0.0.1', '127.0.0.1'],
    ['10.0.0.0/8', '10.1.2.3'],
    ['::1', '::1'],
    ['[::1]', '::1'],
    ['fd00::/8', 'fd00::1'],
    ['example.com:443', 'example.com'],
    ['[::1]:443', '::1'],
    ['10.0.0.0/8:443', '10.1.2.3'],
    ['*:443', 'anything'],
    ['*:443', '10.1.2.3'],
    ['example.com.', 'a.example.com'],
    ['example.com.:443', 'example.com'],
    ['[fd00::]/8', 'fd00::1'],
    ['[fd00::]/8:443', 'fd00::1'],
  ])('"%s" spares %s the proxy', (text, host) => {
    expect(spares(text, host)).toBe(true);
  });

  test.each<[text: string, host: string]>([
    ['', 'example.com'],
    [' , ', 'example.com'],
    ['example.com', 'badexample.com'],
    ['example.com', 'example.com.org'],
    ['a.example.com', 'example.com'],
    ['example.com:8883', 'example.com'],
    ['10.0.0.0/8', '11.1.2.3'],
    ['10.0.0.0/99', '10.1.2.3'],
    ['10.0.0.0/x', '10.1.2.3'],
    ['10.0.0.0/8', '10.example.com'],
    ['fd00::/8', '10.1.2.3'],
    ['0.0.1', '127.0.0.1'],
    ['::', '::1'],
    ['.', 'example.com'],
    ['*:8883', 'example.com'],
    ['[fd00::]/8', 'fc00::1'],
    ['[', 'example.com'],
  ])('"%s" does not spare %s the proxy', (text, host) => {
    expect(spares(text, host)).toBe(false);
  });

  test('is of no use where there is no proxy', () => {
    expect(routeBy({ except: [] })('example.com', 443)).toBeUndefined();
  });
});

test('from the route on, the password of a proxy is kept out of the log', () => {
  const password = 'of-routes-only';
  expect(redact(password)).toBe(password);
  routeBy({ proxy: { ...proxy, login: { user: 'jo', password: new Secret(password) } }, except: [] });
  expect(redact(`it said ${password}`)).toBe('it said [secret]');
});
