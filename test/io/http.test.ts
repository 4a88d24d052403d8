import { afterEach, describe, expect, test } from 'bun:test';
import { AgentError } from '../../src/core/errors.ts';
import { networkError, readText } from '../../src/io/http.ts';
import { createFetch, type TlsIdentity } from '../../src/io/runtime.ts';
import { createPki, type KeyPair } from '../../src/sandbox/pki.ts';
import { ObjectServer, plain } from '../support/io-object-server.ts';

const never = new AbortController().signal;
const pki = await createPki();
const dayMs = 86_400_000;
let server: ObjectServer | undefined;

afterEach(async () => {
  await server?.close();
  server = undefined;
});

describe('readText', () => {
  test('gives a short body whole, characters that come in pieces included', async () => {
    const bytes = new TextEncoder().encode('é日本😀');
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
        controller.close();
      },
    });
    expect(await readText(new Response(stream), 100)).toBe('é日本😀');
    expect(await readText(new Response(null), 100)).toBe('');
    expect(await readText(new Response('12345'), 5)).toBe('12345');
  });

  test('gives no more than its limit of one that comes at once', async () => {
    const text = await readText(new Response('x'.repeat(1_000_000)), 1000);
    expect(text.length).toBeLessThanOrEqual(1000);
  });

  test('stops reading one that never ends, and lets it go', async () => {
    let pulled = 0;
    let cancelled = false;
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        pulled += 1;
        controller.enqueue(new Uint8Array(100).fill(65));
      },
      cancel: () => {
        cancelled = true;
      },
    });
    await readText(new Response(stream), 1000);
    expect(pulled).toBeLessThan(20);
    expect(cancelled).toBe(true);
  });
});

describe('networkError', () => {
  test('hands on an abort and a coded error as they are', () => {
    const reason = new Error('stop');
    const coded = new AgentError('S3', 'x');
    expect(networkError(reason, 'what', AbortSignal.abort(reason))).toBe(reason);
    expect(networkError(coded, 'what', never)).toBe(coded);
  });

  test('is NETWORK with what failed, why, and the cause', () => {
    const cause = Object.assign(new Error('connect\n  refused'), { code: 'ECONNREFUSED' });
    const error = networkError(cause, 'Cannot get x', never);
    expect(error).toMatchObject({ code: 'NETWORK', retry: 'soon', cause });
    expect(String(error)).toBe('AgentError: Cannot get x: ECONNREFUSED connect refused');
    expect(Reflect.get(Object(error), 'hint')).toStartWith('nothing takes connections there');
  });

  test('names the name service where a name has no address', () => {
    const cause = Object.assign(new Error('getaddrinfo ENOTFOUND s3.example'), { code: 'ENOTFOUND' });
    const error = networkError(cause, 'Cannot get x', never);
    expect(error).toMatchObject({
      hint: 'check the name in the endpoint, and the name service of this device',
    });
  });

  test.each([
    ['Unable to connect. Is the computer able to access the url?', 'Unable to connect'],
    ['Was there a typo in the url or port?', ''],
    [
      'It was closed. For more information, pass `verbose: true` in the second argument to fetch()',
      'It was closed',
    ],
  ])('leaves out of "%s" what is advice for programmers', (message, told) => {
    expect(networkError(new Error(message), 'what', never)).toMatchObject({ message: `what: ${told}` });
  });

  test('lives with anything that is thrown, and bounds it', () => {
    for (const thrown of ['text', 7, null, undefined, { a: 1 }, new Error('x'.repeat(10_000))]) {
      const error = networkError(thrown, 'what', never);
      expect(error).toBeInstanceOf(AgentError);
      expect(String(error).length).toBeLessThan(300);
    }
  });
});

describe('the hint for a TLS server', () => {
  async function failure(pair: KeyPair, tls: TlsIdentity): Promise<AgentError> {
    server = await ObjectServer.start(pair);
    server.otherwise = plain(200, 'ok');
    const get = createFetch(tls);
    const error = await get(server.origin, { headers: new Headers(), signal: never }).then(
      () => undefined,
      (thrown: unknown) => networkError(thrown, 'Cannot get x', never),
    );
    if (!(error instanceof AgentError)) throw new Error('the server was trusted');
    expect(error.code).toBe('NETWORK');
    expect(server.requests).toEqual([]);
    return error;
  }

  test('of another authority speaks of the CA', async () => {
    const error = await failure(pki.server, { ca: [(await createPki()).caCert] });
    expect(error.hint).toContain('CA');
  });

  test('that the bundled roots do not know speaks of the CA', async () => {
    expect((await failure(pki.server, {})).hint).toContain('CA');
  });

  test('with another host name speaks of endpoint and CA', async () => {
    const error = await failure(await pki.issueServer(['other.example']), { ca: [pki.caCert] });
    expect(error.hint).toContain('endpoint');
  });

  test('with a certificate that has expired speaks of the clock', async () => {
    const past = { notBeforeMs: Date.now() - 3 * dayMs, notAfterMs: Date.now() - dayMs };
    const error = await failure(await pki.issueServer(['127.0.0.1'], past), { ca: [pki.caCert] });
    expect(error.hint).toContain('clock');
  });

  test('with a certificate that is not valid yet speaks of the clock', async () => {
    const future = { notBeforeMs: Date.now() + dayMs, notAfterMs: Date.now() + 3 * dayMs };
    const error = await failure(await pki.issueServer(['127.0.0.1'], future), { ca: [pki.caCert] });
    expect(error.hint).toContain('clock');
  });

  test('is not needed where the server is right', async () => {
    server = await ObjectServer.start(pki.server);
    server.otherwise = plain(200, 'ok');
    const get = createFetch({ ca: [pki.caCert] });
    const response = await get(server.origin, { headers: new Headers(), signal: never });
    expect(await response.text()).toBe('ok');
  });
});
