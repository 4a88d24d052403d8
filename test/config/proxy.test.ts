import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { resolveProxy } from '../../src/config/proxy.ts';
import { type ConfigDir, configOf, createConfigDir, problemsOf, sampleConfig } from '../support/config.ts';

let place: ConfigDir;
beforeAll(async () => {
  place = await createConfigDir();
});
afterAll(() => place.remove());

describe('"proxy"', () => {
  test.each<[text: string, host: string, port: number]>([
    ['http://proxy:3128', 'proxy', 3128],
    ['http://Proxy.Example.com:3128/', 'proxy.example.com', 3128],
    ['proxy:3128', 'proxy', 3128],
    ['http://proxy', 'proxy', 80],
    ['http://[::1]:3128', '::1', 3128],
  ])('%s is %s, port %i', async (proxy, host, port) => {
    expect(configOf(await place.load(sampleConfig({ proxy }))).proxy).toEqual({
      proxy: { host, port },
      except: [],
    });
  });

  test('may have user and password, percent-encoded, which nothing shows', async () => {
    const config = configOf(
      await place.load(sampleConfig({ proxy: 'http://jo%40x:p%3Aa%2Fss:word@proxy:1' })),
    );
    const login = config.proxy.proxy?.login;
    expect([login?.user, login?.password.reveal()]).toEqual(['jo@x', 'p:a/ss:word']);
    expect(JSON.stringify(config)).not.toContain('ss:word');
  });

  test('with a password on the command line is a warning without it, elsewhere it is none', async () => {
    const proxy = 'http://u:hunter22@proxy:1';
    const warningsOf = async (config: unknown, flags = {}) => {
      const loaded = await place.load(config, flags);
      return loaded.ok ? loaded.warnings.filter(({ path }) => path.includes('proxy')) : undefined;
    };
    const told = await warningsOf(sampleConfig(), { proxy });
    expect(told).toMatchObject([{ path: '--proxy', message: expect.stringContaining('list of processes') }]);
    expect(JSON.stringify(told)).not.toContain('hunter22');
    expect(await warningsOf(sampleConfig({ proxy }))).toEqual([]);
    expect(await warningsOf(sampleConfig(), { proxy: 'http://proxy:1' })).toEqual([]);
  });

  test.each<[unknown, string]>([
    ['https://u:hunter22@proxy:1', 'must be an http:// proxy'],
    ['socks5://u:hunter22@proxy:1', 'must be an http:// proxy'],
    ['http://u:hunter22@proxy:99999', 'must be http://host:port'],
    ['http://u:hunter22@@proxy', 'must be http://host:port'],
    ['http://u:hunter22/@proxy', 'must be http://host:port'],
    ['http://u:hunter22@proxy/path', 'must be http://host:port'],
    ['http://u:hunter22%@proxy', 'percent-encoding'],
    ['http://u:hunter22%0d%0a@proxy', 'control character'],
    ['', 'must be http://host:port'],
    [['u:hunter22@proxy'], 'must be a string'],
    [{ password: 'hunter22' }, 'must be a string'],
  ])('%j is refused, and the password is not shown', async (proxy, message) => {
    const problems = problemsOf(await place.load(sampleConfig({ proxy })));
    expect(
      problems.some((problem) => problem.path.startsWith('proxy') && problem.message.includes(message)),
    ).toBe(true);
    expect(JSON.stringify(problems)).not.toContain('hunter22');
  });
});

describe('the environment', () => {
  const proxyOf = (env: Record<string, string>, raw = {}) => resolveProxy(raw, env);

  test('gives the proxy and its exceptions where the configuration has none', () => {
    expect(proxyOf({ HTTPS_PROXY: 'http://a:1', NO_PROXY: 'b,.c' })).toEqual({
      rules: { proxy: { host: 'a', port: 1 }, except: ['b', '.c'], variable: 'HTTPS_PROXY' },
      problems: [],
    });
    expect(proxyOf({ HTTPS_PROXY: 'http://a:1', https_proxy: 'http://b:1' }).rules.proxy?.host).toBe('b');
    expect(proxyOf({ HTTPS_PROXY: 'http://a:1', no_proxy: 'x', NO_PROXY: 'y' }).rules.except).toEqual(['x']);
  });

  test('is outranked by the configuration, exceptions and all', () => {
    const env = { HTTPS_PROXY: 'no proxy', NO_PROXY: '*' };
    expect(proxyOf(env, { proxy: 'http://b:2' })).toEqual({
      rules: { proxy: { host: 'b', port: 2 }, except: [] },
      problems: [],
    });
  });

  test('says nothing by HTTP_PROXY, ALL_PROXY and what is empty', () => {
    const env = {
      HTTP_PROXY: 'http://a:1',
      ALL_PROXY: 'http://a:1',
      all_proxy: 'http://a:1',
      HTTPS_PROXY: '',
    };
    expect(proxyOf(env)).toEqual({ rules: { except: [] }, problems: [] });
  });

  test('that names what cannot be used is a problem that shows no password', () => {
    const { problems } = proxyOf({ HTTPS_PROXY: 'socks5://u:hunter22@a:1' });
    expect(problems).toEqual([
      {
        path: 'HTTPS_PROXY',
        message: 'of the environment must be an http:// proxy; others are not supported',
        hint: expect.stringContaining('http://proxy:3128'),
      },
    ]);
  });
});
