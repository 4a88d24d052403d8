import { afterEach, beforeEach, describe, expect, spyOn, test } from 'bun:test';
import { systemClock } from '../../src/io/clock.ts';
import type { CredentialsProvider } from '../../src/io/credentials-provider.ts';
import { createFetch, type Fetch } from '../../src/io/runtime.ts';
import { startCredentialsProvider } from '../../src/sandbox/credentials-provider.ts';
import { createPki } from '../../src/sandbox/pki.ts';
import { createIot, type Iot } from '../sandbox/iot-fixture.ts';
import { providerOf } from '../support/io-credentials.ts';
import { caught, settle } from '../support/io-helpers.ts';

const never = new AbortController().signal;
let stop: AbortController;

beforeEach(() => {
  stop = new AbortController();
});

function provider(fetch: Fetch, port = 443): CredentialsProvider {
  return providerOf({ fetch, clock: systemClock, signal: stop.signal, port });
}

describe('an answer that is none', () => {
  test.each([
    ['no JSON', '<html>'],
    ['another shape', '{"credentials":{"accessKeyId":"A"}}'],
    [
      'a bad date',
      '{"credentials":{"accessKeyId":"A","secretAccessKey":"B","sessionToken":"C","expiration":"soon"}}',
    ],
    ['empty', ''],
  ])('(%s) is CREDENTIALS, and quotes nothing of it', async (_, text) => {
    const error = await caught(provider(async () => new Response(text)).get(never));
    expect([error.code, error.retry]).toEqual(['CREDENTIALS', 'soon']);
    if (text !== '') expect(`${error.message} ${String(error.cause)}`).not.toContain(text);
  });

  test('that never ends is not read to the end', async () => {
    let pulled = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        pulled += 1;
        controller.enqueue(new Uint8Array(16_384).fill(65));
      },
    });
    await caught(provider(async () => new Response(body)).get(never));
    expect(pulled).toBeLessThan(16);
  });

  test('no answer in 20 s is TIMEOUT, and names the proxy on the way', async () => {
    const late = new AbortController();
    const timeout = spyOn(AbortSignal, 'timeout').mockImplementation(() => late.signal);
    try {
      const silent = (_url: string, { signal }: { signal: AbortSignal }) =>
        new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      const fetch: Fetch = Object.assign(silent, { route: () => ({ host: '::1', port: 3128 }) });
      const asked = caught(provider(fetch).get(never));
      expect(timeout).toHaveBeenCalledWith(20_000);
      late.abort(new DOMException('timed out', 'TimeoutError'));
      const error = await asked;
      expect([error.code, error.retry]).toEqual(['TIMEOUT', 'soon']);
      expect(error.message).toContain('alias');
      expect(error.message).toContain(' through the proxy [::1]:3128: no answer');
      expect(error.hint).toContain('the proxy [::1]:3128 or what lies behind it is silent');
    } finally {
      timeout.mockRestore();
    }
  });
});

describe('against the credentials provider of the sandbox, over mutual TLS', async () => {
  const pki = await createPki();
  let iot: Iot;
  let server: Awaited<ReturnType<typeof startCredentialsProvider>>;

  beforeEach(async () => {
    iot = await createIot(pki);
    server = await startCredentialsProvider({ ...iot, roleAliases: new Map([['alias', {}]]) });
  });
  afterEach(() => server.close());

  function client(tls = {}): CredentialsProvider {
    return provider(createFetch({ ca: [pki.caCert], ...iot.device, ...tls }), server.port);
  }

  test('trades the certificate for credentials, with the name of the thing, once for fifty', async () => {
    const shared = client();
    const got = await Promise.all(Array.from({ length: 50 }, () => shared.get(never)));
    const session = iot.sessions.find(got[0]?.accessKeyId ?? '');
    expect(got[0]?.sessionToken.reveal()).toBe(session?.sessionToken ?? '?');
    expect(server.requests).toEqual([
      { path: '/role-aliases/alias/credentials', thingName: 'test-thing', status: 200 },
    ]);
  });

  test.each([
    [{ things: ['other'] }, 'attach-thing-principal'],
    [{ things: ['test-thing'], assumeRole: false }, 'iot:AssumeRoleWithCertificate'],
    [{ active: false }, 'activate the certificate'],
  ])('is refused for %o, class slow, with a hint', async (registration, hint) => {
    iot.things.register(iot.device.cert, registration);
    const error = await caught(client().get(never));
    expect([error.code, error.retry]).toEqual(['CREDENTIALS', 'slow']);
    expect(error.message).toContain('HTTP 403');
    expect(error.hint).toContain(hint);
  });

  test('a 503 is class soon', async () => {
    iot.faults.set('credentials-503', 1);
    const error = await caught(client().get(never));
    expect([error.code, error.retry]).toEqual(['CREDENTIALS', 'soon']);
  });

  test('a connection that is closed is class soon', async () => {
    iot.faults.set('credentials-refuse', 1);
    const error = await caught(client().get(never));
    expect(['NETWORK', 'CREDENTIALS']).toContain(error.code);
    expect(error.retry).toBe('soon');
  });

  test('a server that stalls is left as soon as the agent stops', async () => {
    iot.faults.set('credentials-stall', 1);
    const asked = client().get(never);
    while (server.requests.length === 0) await settle();
    const reason = new Error('shutdown');
    stop.abort(reason);
    await expect(asked).rejects.toBe(reason);
  });

  test('a server of another authority is not trusted, and says nothing to it', async () => {
    const other = await createPki();
    const error = await caught(client({ ca: [other.caCert] }).get(never));
    expect(error.retry).toBe('soon');
    expect(error.hint).toContain('"ca"');
    expect(server.requests).toEqual([]);
  });
});
