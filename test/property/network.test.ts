/** Whatever S3 answers and whoever talks to the control socket: documented errors only, and the next request is served. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { AgentError } from '../../src/core/errors.ts';
import { type Control, takeControl } from '../../src/io/control.ts';
import type { Fetch } from '../../src/io/runtime.ts';
import { createGetObject, type ObjectAnswer } from '../../src/io/s3.ts';
import { ServerTime } from '../../src/io/server-time.ts';
import { CredentialsSource, providerOf } from '../support/io-credentials.ts';
import { FakeClock } from '../support/io-fake-clock.ts';
import { expectCleanPrototypes, hostileJson, longInputs, spoilt } from '../support/property-hostile.ts';
import { runs } from '../support/property-runs.ts';

const signal = new AbortController().signal;
const sha256 = '0'.repeat(64);
const artifact = { url: 's3://examplebucket/key', bucket: 'examplebucket', key: 'key', sha256 };

const headerText = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 20 }),
  fc.array(fc.integer({ min: 32, max: 255 }), { maxLength: 8 }).map((codes) => String.fromCharCode(...codes)),
  fc.constantFrom(
    '',
    '0',
    '-1',
    '1e9',
    '9'.repeat(40),
    'bytes 0-0/1',
    'bytes 5-4/3',
    'bytes */10',
    '"etag"',
    'W/"etag"',
  ),
);
const host = fc
  .array(
    fc.constantFrom(
      's3',
      'evil',
      'examplebucket',
      'dualstack',
      'us-west-2',
      'amazonaws',
      'com',
      'cn',
      's3-x',
      'user@x',
    ),
    { maxLength: 6 },
  )
  .map((labels) => labels.join('.'));
const location = fc.oneof(
  headerText,
  fc
    .tuple(fc.constantFrom('https', 'http', 'javascript', 'ftp'), host)
    .map(([scheme, name]) => `${scheme}://${name}/key`),
);
const date = fc.oneof(
  headerText,
  fc.constantFrom(
    'Thu, 01 Jan 2026 00:00:00 GMT',
    '+275760-09-13',
    '-271821-04-20',
    '9999-12-31',
    '1',
    '275760',
  ),
);
const headers = fc.record(
  {
    etag: headerText,
    'content-length': headerText,
    'content-range': headerText,
    'x-amz-bucket-region': fc.oneof(
      headerText,
      fc.constantFrom('us-west-2', 'cn-north-1', 'x.evil.example', '../..'),
    ),
    location,
    date,
  },
  { requiredKeys: [] },
);
const code = fc.constantFrom(
  'ExpiredToken',
  'RequestTimeTooSkewed',
  'AuthorizationHeaderMalformed',
  'TemporaryRedirect',
  'PermanentRedirect',
  'AccessDenied',
  'x',
);
const xml = fc
  .record({ code, region: fc.oneof(headerText, fc.constant('eu-west-1')), time: date })
  .map(
    (one) =>
      `<Error><Code>${one.code}</Code><Region>${one.region}</Region><ServerTime>${one.time}</ServerTime></Error>`,
  );
const status = fc.oneof(
  fc.integer({ min: 200, max: 599 }),
  fc.constantFrom(200, 206, 304, 307, 301, 400, 403, 412, 416),
);

/** What a runtime would hand on; undefined where these headers cannot come. */
function responseOf(code: number, fields: object, body: string): Response | undefined {
  try {
    return new Response([204, 205, 304].includes(code) ? null : body, {
      status: code,
      headers: new Headers(Object.entries(fields)),
    });
  } catch {
    return undefined;
  }
}

function s3(answer: () => Response) {
  const clock = new FakeClock(Date.parse('2026-01-01T00:00:00Z'));
  const asked: URL[] = [];
  const fetch: Fetch = async (url, { headers: sent }) => {
    asked.push(new URL(url));
    expect(sent.get('x-amz-date')).toMatch(/^\d{8}T\d{6}Z$/);
    return answer();
  };
  const credentials = providerOf({ fetch: new CredentialsSource(clock).fetch, clock, signal });
  const address = { region: 'us-east-1', pathStyle: false, dualStack: false };
  const getObject = createGetObject({
    address,
    credentials,
    fetch,
    clock,
    serverTime: new ServerTime(clock),
  });
  return { getObject, asked };
}

function expectAnswer(answer: ObjectAnswer): void {
  if (answer.kind !== 'full' && answer.kind !== 'rest') {
    expect(['unchanged', 'changed', 'past-end']).toContain(answer.kind);
    return;
  }
  expect(Number.isSafeInteger(answer.first)).toBe(true);
  expect(answer.size === undefined || (Number.isSafeInteger(answer.size) && answer.size >= 0)).toBe(true);
}

describe('S3', () => {
  test('may answer anything: it is an answer or a coded error, and stays in the partition', async () => {
    const property = fc.asyncProperty(
      status,
      headers,
      xml,
      fc.boolean(),
      async (code, fields, body, resume) => {
        fc.pre(responseOf(code, fields, body) !== undefined);
        const { getObject, asked } = s3(() => responseOf(code, fields, body) ?? new Response());
        const request = { artifact, offset: resume ? 5 : 0, ifMatch: fields.etag };
        try {
          const answer = await getObject(request, signal);
          expectAnswer(answer);
          if ('body' in answer) await answer.body.cancel();
        } catch (error) {
          expect(error).toBeInstanceOf(AgentError);
          expect(String(error)).not.toContain('token-ASIA');
        }
        expect(asked.length).toBeLessThanOrEqual(5);
        for (const url of asked)
          expect(url.origin).toMatch(/^https:\/\/([a-z0-9-]+\.)*s3[a-z0-9.-]*\.amazonaws\.com$/);
        expectCleanPrototypes();
      },
    );
    await fc.assert(property, { numRuns: runs(400) });
  });

  test('cannot spoil the next request with what it answers to this one', async () => {
    const property = fc.asyncProperty(status, headers, xml, async (code, fields, body) => {
      fc.pre(responseOf(code, fields, body) !== undefined);
      let isGood = false;
      const { getObject } = s3(() =>
        isGood ? new Response('object') : (responseOf(code, fields, body) ?? new Response()),
      );
      await getObject({ artifact, offset: 0 }, signal).catch(() => undefined);
      isGood = true;
      const answer = await getObject({ artifact, offset: 0 }, signal);
      expect(answer.kind).toBe('full');
    });
    await fc.assert(property, { numRuns: runs(400) });
  });
});

describe('the control socket', () => {
  let dir = '';
  let control: Control;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'shadow-agent-property-'));
    control = await takeControl(dir, () => ({ fine: true }));
  });
  afterAll(async () => {
    await control.close();
    await rm(dir, { recursive: true, force: true });
  });

  /** What comes back until the connection is closed. */
  function ask(...chunks: Uint8Array[]): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect(join(dir, 'agent.sock'));
      let text = '';
      socket.setEncoding('utf8');
      socket.on('data', (chunk: string) => {
        text += chunk;
      });
      // A caller who says too much is cut off.
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(text));
      for (const chunk of chunks) socket.write(chunk);
      socket.end('\n');
    });
  }

  test('answers any request with one line or none, and serves the next one', async () => {
    const request = spoilt(
      fc.oneof(
        hostileJson,
        fc.constantFrom('{"command":"status"}', '{"command":"x"}', '{"__proto__":{"command":"status"}}'),
      ),
    );
    const property = fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), async (chunks) => {
      const text = await ask(...chunks);
      expect(['', '{"error":"unknown request"}\n', '{"fine":true}\n']).toContain(text);
      expectCleanPrototypes();
    });
    await fc.assert(property, { numRuns: runs(150) });
    expect(await ask(Buffer.from('{"command":"status"}'))).toBe('{"fine":true}\n');
  });

  test('is not held up by what is long', async () => {
    for (const make of Object.values(longInputs))
      expect(await ask(Buffer.from(make(100_000)))).not.toContain('fine');
    expect(await ask(Buffer.from('{"command":"status"}'))).toBe('{"fine":true}\n');
  });
});
