/** Each step to a TLS connection: the way, the proxy's answer, and whom it ends at. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createServer, type Socket } from 'node:net';
import { Secret } from '../../src/core/credentials.ts';
import { type ForwardProxy, Unreachable } from '../../src/io/proxy.ts';
import { openSecure, type SecureOptions } from '../../src/io/socket.ts';
import { createPki, type KeyPair, type Pki } from '../../src/sandbox/pki.ts';
import { listenTls, type TlsListener } from '../../src/sandbox/tls-listener.ts';
import { ScriptedProxy } from '../support/proxy.ts';

const never = new AbortController().signal;
const pki = await createPki();
const device = await pki.issueDevice('test-thing');
const limits = { tcpMs: 300, proxyMs: 300, tlsMs: 300 };

let server: TlsListener;
let proxy: ScriptedProxy;
/** What clients have said, in the order of their connections. */
let said: string[];

async function serve(identity: KeyPair = pki.server): Promise<TlsListener> {
  const served: Pki = { ...pki, server: identity };
  return listenTls({ pki: served, mutual: true, alpnProtocols: ['x-amzn-mqtt-ca'] }, (socket) => {
    socket.on('data', (data) => said.push(`${socket.alpnProtocol} ${socket.servername} ${data}`));
  });
}

beforeEach(async () => {
  said = [];
  server = await serve();
  proxy = await ScriptedProxy.start();
});
afterEach(async () => {
  await proxy.close();
  await server.close();
});

function options(changes: Partial<SecureOptions> = {}): SecureOptions {
  return { host: '127.0.0.1', port: server.port, ...device, ca: pki.caCert, limits, ...changes };
}

function way(login?: ForwardProxy['login']): ForwardProxy {
  return { host: '127.0.0.1', port: proxy.port, ...(login === undefined ? {} : { login }) };
}

async function refusal(changes: Partial<SecureOptions>, signal = never): Promise<Error> {
  try {
    (await openSecure(options(changes), signal)).destroy();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error('it did not fail');
}

async function hello(changes: Partial<SecureOptions>): Promise<void> {
  const socket = await openSecure(options(changes), never);
  socket.write('hello');
  while (said.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.destroy();
  await closed;
}

describe('a connection through a proxy', () => {
  test('asks for the server by its name, and speaks TLS with it end to end', async () => {
    proxy.target = server.port;
    await hello({ host: 'localhost', proxy: way(), alpnProtocols: ['x-amzn-mqtt-ca'] });
    expect(proxy.heads).toEqual([
      `CONNECT localhost:${server.port} HTTP/1.1\r\nHost: localhost:${server.port}\r\n\r\n`,
    ]);
    expect(said).toEqual(['x-amzn-mqtt-ca localhost hello']);
  });

  test('shows user and password', async () => {
    await hello({ proxy: way({ user: 'jo', password: new Secret('p:ä') }) });
    const basic = Buffer.from('jo:p:ä').toString('base64');
    expect(proxy.heads[0]).toContain(`\r\nProxy-Authorization: Basic ${basic}\r\n`);
  });

  test.each<[string, ScriptedProxy['answer'], RegExp, RegExp]>([
    [
      'wants a password',
      { say: 'HTTP/1.1 407 No\r\n\r\n' },
      /^the proxy answers 407$/,
      /wants a user and password/,
    ],
    [
      'refuses the server',
      { say: 'HTTP/1.0 403 Forbidden\r\n\r\n' },
      /^the proxy answers 403$/,
      /allow CONNECT/,
    ],
    [
      'cannot reach it',
      { say: 'HTTP/1.1 502 Bad\r\n\r\n' },
      /^the proxy answers 502$/,
      /check whether the proxy/,
    ],
    [
      'is none',
      { say: `SSH-2.0-x\r\n${' '.repeat(20_000)}` },
      /is no HTTP proxy/,
      /host and port of the proxy/,
    ],
    [
      'does not end its answer',
      { say: `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(4_000)}` },
      /is no HTTP proxy/,
      /host and port of the proxy/,
    ],
    ['cuts', 'cut', /^the proxy closed the connection without an answer$/, /allows CONNECT/],
    ['stalls', 'silence', /^the proxy did not answer in 0.3 s$/, /^undefined$/],
    [
      'cuts what it carries',
      'carry and cut',
      /^the connection was closed, by the proxy or/,
      /allows CONNECT/,
    ],
    ['says something else and waits', { write: 'SSH-2.0-x\r\n' }, /is no HTTP proxy/, /host and port of the/],
    [
      'sends something else than TLS behind its answer',
      { write: `HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(100)}` },
      /^what comes through the proxy is no TLS$/,
      /leaves what it carries as it is/,
    ],
    ['says a word and cuts', { say: 'SSH-2.0-x\r\n' }, /is no HTTP proxy/, /host and port of the proxy/],
  ])('where the proxy %s says so', async (_what, answer, message, hint) => {
    proxy.answer = answer;
    const error = await refusal({ proxy: way() });
    expect(error.message).toMatch(message);
    expect(String(error instanceof Unreachable ? error.hint : undefined)).toMatch(hint);
    expect(said).toEqual([]);
  });

  test('stands where an interim answer came before', async () => {
    proxy.interim = 'HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n';
    await hello({ proxy: way() });
    expect(said).toEqual(['false false hello']);
  });

  test('to a server that does not speak TLS says so', async () => {
    const plain = createServer((socket) => void socket.end('220 hello\r\n'));
    await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
    const address = plain.address();
    if (address === null || typeof address === 'string') throw new Error('there is no port');
    const error = await refusal({ port: address.port, proxy: way() });
    expect(error.message).toBe('what comes through the proxy is no TLS');
    plain.close();
  });

  test('an interim answer without end is no answer', async () => {
    proxy.answer = { write: 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(4_000) };
    expect((await refusal({ proxy: way() })).message).toMatch(/is no HTTP proxy/);
  });

  test('another password is asked for where there was one, and it is not shown', async () => {
    proxy.answer = { say: 'HTTP/1.1 407 No\r\n\r\n' };
    const error = await refusal({ proxy: way({ user: 'jo', password: new Secret('hunter22') }) });
    expect(error instanceof Unreachable && error.hint).toContain('another user or password');
    expect(JSON.stringify([error, error.message, error.stack])).not.toContain('hunter22');
  });

  test('where nobody listens says that it is the proxy', async () => {
    await proxy.close();
    const error = await refusal({ proxy: way() });
    expect(error.message).toMatch(/^the proxy cannot be reached: .*ECONNREFUSED/);
    proxy = await ScriptedProxy.start();
  });
});

describe('a connection', () => {
  test('is given up when its signal is aborted, at each step', async () => {
    proxy.answer = 'silence';
    const abort = new AbortController();
    const reason = new Error('stop');
    const failed = refusal({ proxy: way(), limits: { ...limits, proxyMs: 60_000 } }, abort.signal);
    while (proxy.heads.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort(reason);
    expect(await failed).toBe(reason);
    expect(await refusal({}, abort.signal)).toBe(reason);
  });

  test('to a server that takes it and says nothing ends with its limit', async () => {
    const sockets: Socket[] = [];
    const mute = createServer((socket) => void sockets.push(socket));
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const address = mute.address();
    if (address === null || typeof address === 'string') throw new Error('there is no port');
    const error = await refusal({ port: address.port });
    expect(error.message).toBe('no TLS handshake in 0.3 s');
    for (const socket of sockets) socket.destroy();
    mute.close();
  });

  for (const host of ['localhost', '127.0.0.1']) {
    for (const proxied of [false, true]) {
      const name = `to ${host}${proxied ? ' through a proxy' : ''}`;
      const through = () => (proxied ? { proxy: way() } : {});

      test(`${name} is refused where the certificate is of another name`, async () => {
        const other = await serve(await pki.issueServer(['other.example', '10.1.2.3']));
        const error = await refusal({ host, port: other.port, ...through() });
        expect(error.message).toMatch(/does not match|altnames|Hostname/i);
        await other.close();
      });

      test(`${name} is refused where another authority vouches for it`, async () => {
        const error = await refusal({ host, ca: (await createPki()).caCert, ...through() });
        expect(error.message).toMatch(/certificate|issuer|self.signed/i);
      });

      test(`${name} is refused where the certificate has ended, or has not begun`, async () => {
        const dayMs = 86_400_000;
        const old = await serve(
          await pki.issueServer([host], {
            notBeforeMs: Date.now() - 9 * dayMs,
            notAfterMs: Date.now() - dayMs,
          }),
        );
        expect((await refusal({ host, port: old.port, ...through() })).message).toMatch(/expired/i);
        await old.close();
        const early = await serve(await pki.issueServer([host], { notBeforeMs: Date.now() + dayMs }));
        expect((await refusal({ host, port: early.port, ...through() })).message).toMatch(/not yet valid/i);
        await early.close();
      });
    }
  }
});
