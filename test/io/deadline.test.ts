import { expect, test } from 'bun:test';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { systemClock } from '../../src/io/clock.ts';
import type { Route } from '../../src/io/proxy.ts';
import { createFetch } from '../../src/io/runtime.ts';
import { createGetObject } from '../../src/io/s3.ts';
import { blackHole, python } from '../support/black-hole.ts';
import { fakeCredentials } from '../support/io-download-fixture.ts';
import { caught } from '../support/io-helpers.ts';
import { ScriptedProxy } from '../support/proxy.ts';
import { toolTest } from '../support/tools.ts';

const artifact = { url: 's3://bucket/key', bucket: 'bucket', key: 'key', sha256: 'ab'.repeat(32) };

function get(
  port: number,
  limits: { connectMs: number; probeMs: number; headerMs: number },
  route: Route = () => undefined,
) {
  const getObject = createGetObject({
    address: {
      region: 'us-east-1',
      endpoint: `https://127.0.0.1:${port}`,
      pathStyle: true,
      dualStack: false,
    },
    credentials: fakeCredentials(),
    fetch: createFetch({}, route),
    clock: systemClock,
    limits,
  });
  return caught(getObject({ artifact, offset: 0 }, new AbortController().signal));
}

test('a server that takes the connection and never answers has the time that headers have', async () => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const startedMs = performance.now();
  const error = await get(port, { connectMs: 100, probeMs: 100, headerMs: 700 });
  expect(error).toMatchObject({ code: 'TIMEOUT', retry: 'soon' });
  expect(error.message).toContain('no answer in 0.7 s');
  expect(performance.now() - startedMs).toBeGreaterThan(600);
  for (const socket of sockets) socket.destroy();
  server.close();
});

test('a proxy that takes the connection and never answers is named', async () => {
  const proxy = await ScriptedProxy.start();
  proxy.answer = 'silence';
  const way = { host: '127.0.0.1', port: proxy.port };
  const error = await get(1, { connectMs: 100, probeMs: 100, headerMs: 200 }, () => way);
  expect(error.code).toBe('TIMEOUT');
  expect(error.hint).toContain(`the proxy 127.0.0.1:${proxy.port} or what lies behind it is silent`);
  await proxy.close();
});

toolTest(
  [python],
  'a server that takes no connection is given up by the time that connections have',
  async () => {
    await using hole = await blackHole();
    const error = await get(hole.port, { connectMs: 200, probeMs: 300, headerMs: 60_000 });
    expect(error).toMatchObject({ code: 'TIMEOUT', retry: 'soon' });
    expect(error.message).toContain('no connection in 0.5 s');
  },
);
