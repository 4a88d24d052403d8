import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { Artifact } from '../../src/core/artifact.ts';
import type { AgentError } from '../../src/core/errors.ts';
import type { GetObject, ObjectAnswer } from '../../src/io/s3.ts';
import { bucket, getObjectFrom } from '../support/io-download-fixture.ts';
import { caught } from '../support/io-helpers.ts';
import { head, ObjectServer, plain, xml } from '../support/io-object-server.ts';

const never = new AbortController().signal;
const artifact: Artifact = { url: `s3://${bucket}/k`, bucket, key: 'k', sha256: 'ab'.repeat(32) };
let server: ObjectServer;
let getObject: GetObject;

beforeEach(async () => {
  server = await ObjectServer.start();
  getObject = getObjectFrom(server.origin);
});
afterEach(() => server.close());

function ask(
  changes: { offset?: number; ifMatch?: string; ifNoneMatch?: string } = {},
): Promise<ObjectAnswer> {
  return getObject({ artifact, offset: 0, ...changes }, never);
}

async function answerTo(...script: typeof server.script): Promise<ObjectAnswer> {
  server.script = script;
  return ask({ offset: 5, ifMatch: '"e"' });
}

async function errorFor(...script: typeof server.script): Promise<AgentError> {
  server.script = script;
  return caught(ask());
}

describe('a GET', () => {
  test('carries the conditions that it was given, and no others', async () => {
    server.otherwise = plain(200, 'x');
    await ask();
    await ask({ offset: 7, ifMatch: '"e"' });
    await ask({ ifNoneMatch: '"w"' });
    const sent = server.requests.map(({ method, target, headers }) => [
      method,
      target,
      headers['range'],
      headers['if-match'],
      headers['if-none-match'],
    ]);
    expect(sent).toEqual([
      ['GET', '/examplebucket/k', undefined, undefined, undefined],
      ['GET', '/examplebucket/k', 'bytes=7-', '"e"', undefined],
      ['GET', '/examplebucket/k', undefined, undefined, '"w"'],
    ]);
    for (const { headers } of server.requests) {
      expect(headers['accept-encoding']).toBe('identity');
      expect(headers['x-amz-security-token']).toBe('session-token');
      expect(headers['authorization']).toMatch(
        /^AWS4-HMAC-SHA256 Credential=ASIA1\/\d{8}\/us-east-1\/s3\/aws4_request/,
      );
      expect(headers['authorization']).toContain('x-amz-security-token');
      expect(headers['authorization']).not.toContain('accept-encoding');
    }
  });

  test('gives the whole with its size and ETag', async () => {
    server.script = [plain(200, 'hello', { etag: '"e"' })];
    const answer = await ask();
    expect(answer).toMatchObject({ kind: 'full', first: 0, size: 5, etag: '"e"' });
    if (!('body' in answer)) throw new Error('there is no body');
    expect(await new Response(answer.body).text()).toBe('hello');
  });

  test('gives the rest with its place', async () => {
    const answer = await answerTo(plain(206, 'world', { etag: '"e"', 'content-range': 'bytes 5-9/10' }));
    expect(answer).toMatchObject({ kind: 'rest', first: 5, size: 10, etag: '"e"' });
  });

  test.each([
    [304, 'unchanged'],
    [412, 'changed'],
    [416, 'past-end'],
  ] as const)('tells %i as %s', async (status, kind) => {
    expect(await answerTo(plain(status, status === 304 ? '' : '<Error/>'))).toEqual({ kind });
  });

  test('aborted before the answer rejects with the reason, and lets the connection go', async () => {
    const abort = new AbortController();
    const reason = new Error('stop');
    server.script = [() => abort.abort(reason)];
    await expect(getObject({ artifact, offset: 0 }, abort.signal)).rejects.toBe(reason);
    await server.requests[0]?.closed;
  });

  test('aborted while an error answer is read rejects with the reason', async () => {
    const abort = new AbortController();
    const reason = new Error('stop');
    server.script = [
      (socket) => {
        socket.write(head(503, { 'content-length': 1000 }));
        socket.write('<Error>', () => setTimeout(() => abort.abort(reason), 20));
      },
    ];
    await expect(getObject({ artifact, offset: 0 }, abort.signal)).rejects.toBe(reason);
  });
});

describe('an error answer', () => {
  test.each([
    [503, 'SlowDown', 'S3', 'soon'],
    [500, 'InternalError', 'S3', 'soon'],
    [503, 'ServiceUnavailable', 'S3', 'soon'],
    [400, 'RequestTimeout', 'S3', 'soon'],
    [403, 'AccessDenied', 'S3_DENIED', 'slow'],
    [403, 'SignatureDoesNotMatch', 'S3_DENIED', 'slow'],
    [404, 'NoSuchKey', 'S3_NOT_FOUND', 'slow'],
    [404, 'NoSuchVersion', 'S3_NOT_FOUND', 'slow'],
    [405, 'MethodNotAllowed', 'S3_NOT_FOUND', 'slow'],
    [404, 'NoSuchBucket', 'S3_NOT_FOUND', 'slow'],
  ] as const)('%i %s is %s, class %s', async (status, said, code, retry) => {
    const error = await errorFor(xml(status, said, '<Message>Why it is so.</Message>'));
    expect([error.code, error.retry]).toEqual([code, retry]);
    expect(error.message).toContain(`HTTP ${status} ${said}`);
    expect(error.message).toContain('Why it is so.');
    expect(error.message).toStartWith(`Cannot get the object s3://${bucket}/k: `);
    if (retry === 'slow') expect(error.hint).toBeString();
  });

  test('names the version where one is desired', async () => {
    server.script = [xml(404, 'NoSuchVersion')];
    const error = await caught(getObject({ artifact: { ...artifact, versionId: 'v1' }, offset: 0 }, never));
    expect(error.message).toContain(`s3://${bucket}/k?versionId=v1: HTTP 404 NoSuchVersion`);
  });

  test('without a body, or with one that is no XML, is told by its status', async () => {
    expect(await errorFor(plain(503, ''))).toMatchObject({ code: 'S3', retry: 'soon' });
    expect(await errorFor(plain(403, 'nope'))).toMatchObject({ code: 'S3_DENIED' });
    expect(await errorFor(plain(404, '<html>'))).toMatchObject({ code: 'S3_NOT_FOUND' });
  });

  test.each([
    ['a redirect', xml(301, 'PermanentRedirect', '', { 'x-amz-bucket-region': 'eu-west-1' })],
    ['a refused signature', xml(400, 'AuthorizationHeaderMalformed', '<Region>eu-west-1</Region>')],
  ])('that tells another region, by %s, has the request signed for that one, once', async (_, elsewhere) => {
    server.script = [elsewhere, plain(200, 'x'), plain(200, 'x')];
    expect((await ask()).kind).toBe('full');
    await ask();
    const scopes = server.requests.map(({ headers }) => headers['authorization']?.split('/')[2]);
    expect(scopes).toEqual(['us-east-1', 'eu-west-1', 'eu-west-1']);
    const error = await errorFor(...Array.from({ length: 5 }, () => elsewhere));
    expect(error).toMatchObject({ code: 'S3', retry: 'slow' });
    expect(error.hint).toContain('s3.region');
    expect(server.requests.length).toBeLessThanOrEqual(5);
  });

  test('of a wrong clock says so', async () => {
    const error = await errorFor(xml(403, 'RequestTimeTooSkewed'));
    expect(error.code).toBe('S3');
    expect(error.hint).toContain('clock');
  });

  test('never shows the token that S3 may send back', async () => {
    const inner = '<Message>The provided token is malformed.</Message><Token-0>session-token</Token-0>';
    const error = await errorFor(xml(400, 'InvalidToken', inner), xml(400, 'InvalidToken', inner));
    expect(`${error.message} ${error.hint} ${String(error.cause)}`).not.toContain('session-token');
  });

  test('is read to a limit, however long it is', async () => {
    let written = 0;
    server.script = [
      (socket) => {
        socket.write(head(500, { 'transfer-encoding': 'chunked' }));
        const more = (): void => {
          if (socket.destroyed) return;
          written += 10_000;
          socket.write(`2710\r\n${'x'.repeat(10_000)}\r\n`, () => setImmediate(more));
        };
        more();
      },
    ];
    const error = await caught(ask());
    expect(error.code).toBe('S3');
    expect(error.message.length).toBeLessThan(1000);
    await server.requests[0]?.closed;
    expect(written).toBeGreaterThan(0);
  });
});

describe('credentials that have ended', () => {
  test.each(['ExpiredToken', 'InvalidToken', 'TokenRefreshRequired', 'InvalidAccessKeyId'])(
    '(%s) are replaced once, at once',
    async (said) => {
      const answer = await answerTo(xml(400, said), plain(206, 'x', { 'content-range': 'bytes 5-5/6' }));
      expect(answer.kind).toBe('rest');
      const keys = server.requests.map(
        ({ headers }) => /Credential=(\w+)/.exec(headers['authorization'] ?? '')?.[1],
      );
      expect(keys).toEqual(['ASIA1', 'ASIA2']);
      expect(server.requests[1]?.headers['range']).toBe('bytes=5-');
    },
  );

  test('are no reason to go on asking: the second refusal is class slow', async () => {
    const error = await errorFor(xml(400, 'ExpiredToken'), xml(400, 'ExpiredToken'));
    expect([error.code, error.retry]).toEqual(['S3', 'slow']);
    expect(server.requests.length).toBe(2);
  });

  test('an abort before they are there rejects with its reason, and asks nothing of S3', async () => {
    const reason = new Error('stop');
    await expect(getObject({ artifact, offset: 0 }, AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(server.requests).toEqual([]);
  });
});
