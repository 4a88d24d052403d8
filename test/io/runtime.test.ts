import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createHash, X509Certificate } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { AgentError } from '../../src/core/errors.ts';
import { redact } from '../../src/core/secrets.ts';
import { networkError } from '../../src/io/http.ts';
import { createFetch, defaultRoots } from '../../src/io/runtime.ts';
import { serveHttps } from '../../src/sandbox/https-server.ts';
import { createPki } from '../../src/sandbox/pki.ts';
import { bytesOf } from '../support/io-helpers.ts';
import { ObjectServer, plain, silent } from '../support/io-object-server.ts';
import { ScriptedProxy } from '../support/proxy.ts';

const never = new AbortController().signal;
const pki = await createPki();
let server: ObjectServer;

beforeEach(async () => {
  server = await ObjectServer.start();
});
afterEach(() => server.close());

function get(url = server.origin, signal = never, fetch = createFetch({})): Promise<Response> {
  return fetch(url, { headers: new Headers({ 'x-test': 'yes' }), signal });
}

describe('a fetch of the agent', () => {
  test('gives bodies as they are on the wire', async () => {
    const zipped = gzipSync(bytesOf(10_000));
    for (const status of [200, 206]) {
      server.script = [plain(status, zipped, { 'content-encoding': 'gzip' })];
      expect(Buffer.from(await (await get()).arrayBuffer())).toEqual(zipped);
    }
    expect(server.requests[0]?.headers).toMatchObject({ 'accept-encoding': 'identity', 'x-test': 'yes' });
  });

  test('hands redirects back', async () => {
    server.script = [plain(302, '', { location: `${server.origin}/elsewhere` })];
    const response = await get();
    expect([response.status, response.headers.get('location')]).toEqual([302, `${server.origin}/elsewhere`]);
    expect(server.requests.length).toBe(1);
  });

  test('uses a connection once', async () => {
    const sockets = new Set<unknown>();
    server.otherwise = (socket) => {
      sockets.add(socket);
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
    };
    for (let times = 0; times < 4; times += 1) expect(await (await get()).text()).toBe('ok');
    expect(sockets.size).toBe(4);
  });

  test('rejects with the reason of its signal, and ends the connection', async () => {
    const abort = new AbortController();
    const reason = new Error('stop');
    server.script = [
      (socket, request) => {
        silent(socket, request);
        abort.abort(reason);
      },
    ];
    await expect(get(server.origin, abort.signal)).rejects.toBe(reason);
    await server.requests[0]?.closed;
  });

  test('goes past the proxy of the environment, which only the configuration may set', async () => {
    const names = ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'];
    const before = names.map((name) => [name, process.env[name]] as const);
    const proxy = await ObjectServer.start();
    try {
      for (const name of names) process.env[name] = proxy.origin;
      server.script = [plain(200, 'ok')];
      expect(await (await get()).text()).toBe('ok');
      expect(proxy.requests).toEqual([]);
    } finally {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
      await proxy.close();
    }
  });
});

describe('over TLS', () => {
  test('shows the client certificate that it was made with, each its own', async () => {
    const shown: string[] = [];
    const mutual = await serveHttps({ pki, mutual: true }, (request, response) => {
      const raw = Reflect.get(request.socket, 'getPeerCertificate').call(request.socket).raw;
      shown.push(createHash('sha256').update(raw).digest('hex'));
      response.end('ok');
    });
    try {
      const devices = [await pki.issueDevice('a'), await pki.issueDevice('b')];
      const fetches = devices.map((device) => createFetch({ ca: [pki.caCert], ...device }));
      for (const fetch of [...fetches, ...fetches]) {
        await (await get(`https://127.0.0.1:${mutual.port}`, never, fetch)).text();
      }
      const expected = devices.map(({ cert }) =>
        createHash('sha256').update(new X509Certificate(cert).raw).digest('hex'),
      );
      expect(shown).toEqual([...expected, ...expected]);
    } finally {
      await mutual.close();
    }
  });

  test('trusts no server that its roots do not, whatever the environment says', async () => {
    const tls = await ObjectServer.start(pki.server);
    tls.otherwise = plain(200, 'ok');
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      await expect(get(tls.origin, never, createFetch({}))).rejects.toThrow();
      await expect(
        get(tls.origin, never, createFetch({ ca: [(await createPki()).caCert] })),
      ).rejects.toThrow();
      expect(tls.requests).toEqual([]);
      const trusting = createFetch({ ca: [...defaultRoots(), pki.caCert] });
      expect(await (await get(tls.origin, never, trusting)).text()).toBe('ok');
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
      await tls.close();
    }
  });
});

test('the default roots are certificates, and those of AWS are among them', () => {
  const roots = defaultRoots();
  expect(roots.length).toBeGreaterThan(50);
  expect(new Set(roots).size).toBe(roots.length);
  const subjects = roots.map((pem) => new X509Certificate(pem).subject);
  expect(subjects.some((subject) => subject.includes('Amazon Root CA 1'))).toBe(true);
  expect(
    subjects.some((subject) => subject.includes('Starfield Services Root Certificate Authority - G2')),
  ).toBe(true);
});

describe('a fetch through a proxy', () => {
  let proxy: ScriptedProxy;
  beforeEach(async () => {
    proxy = await ScriptedProxy.start();
  });
  afterEach(() => proxy.close());

  const route = (host: string) => (host === '127.0.0.1' ? { host, port: proxy.port } : undefined);

  test('takes the way that it is told, whatever the environment says', async () => {
    const tls = await ObjectServer.start(pki.server);
    tls.otherwise = plain(200, 'ok');
    const variables = { HTTPS_PROXY: 'http://127.0.0.1:1', NO_PROXY: '*' };
    Object.assign(process.env, variables);
    try {
      const fetch = createFetch({ ca: [pki.caCert] }, route);
      expect(await (await get(tls.origin, never, fetch)).text()).toBe('ok');
      expect(proxy.heads[0]).toMatch(/^CONNECT 127\.0\.0\.1:\d+ HTTP/);
      const direct = createFetch({ ca: [pki.caCert] }, () => undefined);
      expect(await (await get(tls.origin, never, direct)).text()).toBe('ok');
      expect(proxy.heads.length).toBe(1);
    } finally {
      for (const name of Object.keys(variables)) delete process.env[name];
      await tls.close();
    }
  });

  test.each<[string, ScriptedProxy['answer'], RegExp, RegExp]>([
    [
      'wants a password',
      { say: 'HTTP/1.1 407 No\r\n\r\n' },
      /the proxy answers 407/,
      /wants a user and password/,
    ],
    ['refuses the server', { say: 'HTTP/1.1 403 No\r\n\r\n' }, /the proxy answers 403/, /allow CONNECT/],
    ['cuts', 'cut', /the connection was closed, by the proxy or behind it: ECONNRESET$/, /allows CONNECT/],
    [
      'sends something else than TLS behind its answer',
      { write: `HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(100)}` },
      /what comes through the proxy is no TLS$/,
      /leaves what it carries as it is/,
    ],
    [
      'does not end its answer',
      { write: `HTTP/1.1 200 OK\r\n${`x: ${'y'.repeat(60_000)}\r\n`.repeat(40)}` },
      /headers of the answer, of the proxy or behind it, have no end$/,
      /host and port of the proxy/,
    ],
    [
      'is none',
      { say: `SSH-2.0-x\r\n${' '.repeat(20_000)}` },
      /is no HTTP proxy$/,
      /host and port of the proxy/,
    ],
  ])('tells that the proxy %s', async (_what, answer, message, hint) => {
    proxy.answer = answer;
    const failed: unknown = await get('https://127.0.0.1:1/', never, createFetch({}, route)).catch(
      (error) => error,
    );
    const error = networkError(failed, 'Cannot get it', never);
    if (!(error instanceof AgentError)) throw new Error(String(error));
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain('verbose');
    expect(String(error.hint)).toMatch(hint);
    // The log takes userinfo out of URLs: what to write must not be lost with it.
    expect(redact(String(error.hint))).toBe(String(error.hint));
  });

  test('tells that the proxy is not there', async () => {
    const port = 1;
    const fetch = createFetch({}, (host) => ({ host, port }));
    await expect(get('https://127.0.0.1:2/', never, fetch)).rejects.toThrow(
      'the proxy cannot be reached: ECONNREFUSED',
    );
  });
});
