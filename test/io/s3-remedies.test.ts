/** What S3 itself tells how to mend is mended at once, each kind once for a request, and what stays true is remembered. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { Artifact } from '../../src/core/artifact.ts';
import { createFetch, type Fetch, Pool } from '../../src/io/runtime.ts';
import { createGetObject, type GetObject } from '../../src/io/s3.ts';
import { ServerTime } from '../../src/io/server-time.ts';
import { bucket, fakeCredentials } from '../support/io-download-fixture.ts';
import { FakeClock } from '../support/io-fake-clock.ts';
import { caught } from '../support/io-helpers.ts';
import { ObjectServer, plain, xml } from '../support/io-object-server.ts';

const never = new AbortController().signal;
const serverMs = Date.UTC(2026, 5, 1);
const serverTime = new Date(serverMs).toISOString();
const skewed = xml(403, 'RequestTimeTooSkewed', `<ServerTime>${serverTime}</ServerTime>`);
const elsewhere = xml(301, 'PermanentRedirect', '', { 'x-amz-bucket-region': 'eu-west-1' });
const ok = plain(200, 'x');

let server: ObjectServer;
let time: ServerTime;
let getObject: GetObject;

beforeEach(async () => {
  server = await ObjectServer.start();
  server.otherwise = ok;
  getObject = aimedAt(server.origin);
});
afterEach(() => server.close());

/** The GET of a device whose clock is a year behind. */
function aimedAt(endpoint: string, pathStyle = true, fetch: Fetch = createFetch({})): GetObject {
  const clock = new FakeClock(Date.UTC(2025, 5, 1));
  time = new ServerTime(clock);
  const address = { region: 'us-east-1', endpoint, pathStyle, dualStack: false };
  return createGetObject({ address, credentials: fakeCredentials(), fetch, clock, serverTime: time });
}

function ask(name = bucket, pool?: Pool) {
  const artifact: Artifact = { url: `s3://${name}/k`, bucket: name, key: 'k', sha256: 'ab'.repeat(32) };
  return getObject({ artifact, offset: 0, ...(pool && { pool }) }, never);
}

function signedFor(what: 'date' | 'region' | 'key'): Array<string | undefined> {
  return server.requests.map(({ headers }) => {
    const [key, , region] = /Credential=(\S+?),/.exec(headers['authorization'] ?? '')?.[1]?.split('/') ?? [];
    return { date: headers['x-amz-date'], region, key }[what];
  });
}

describe('a clock that differs', () => {
  test('is mended with the ServerTime, which is used from then on', async () => {
    server.script = [skewed, ok, ok];
    expect((await ask()).kind).toBe('full');
    await ask();
    expect(signedFor('date')).toEqual(['20250601T000000Z', '20260601T000000Z', '20260601T000000Z']);
    expect(time.nowMs()).toBe(serverMs);
  });

  test('is mended once for a request', async () => {
    server.script = [skewed, skewed];
    const error = await caught(ask());
    expect([error.code, error.retry, error.hint]).toEqual([
      'S3',
      'slow',
      'set the clock of this device (NTP)',
    ]);
    expect(server.requests.length).toBe(2);
  });

  test('is learned from the Date of any answer before it is ever a fault', async () => {
    server.script = [plain(404, '', { date: new Date(serverMs).toUTCString() })];
    await caught(ask());
    await ask();
    expect(signedFor('date')[1]).toBe('20260601T000000Z');
  });
});

describe('a bucket of another region', () => {
  test('is remembered by itself: other buckets are asked where they were', async () => {
    server.script = [elsewhere];
    await ask();
    await ask();
    await ask('another-bucket');
    expect(signedFor('region')).toEqual(['us-east-1', 'eu-west-1', 'eu-west-1', 'us-east-1']);
  });

  test('that moves on is found again by the next request', async () => {
    server.script = [
      elsewhere,
      ok,
      xml(301, 'PermanentRedirect', '', { 'x-amz-bucket-region': 'eu-west-2' }),
    ];
    await ask();
    await ask();
    expect(signedFor('region')).toEqual(['us-east-1', 'eu-west-1', 'eu-west-1', 'eu-west-2']);
  });

  test('of another partition gets no request', async () => {
    server.script = [xml(301, 'PermanentRedirect', '', { 'x-amz-bucket-region': 'cn-north-1' })];
    expect((await caught(ask())).hint).toContain('cn-north-1');
    expect(signedFor('region')).toEqual(['us-east-1']);
  });
});

test('faults of every kind behind one another are mended in one request', async () => {
  server.script = [skewed, elsewhere, xml(400, 'ExpiredToken'), ok];
  expect((await ask()).kind).toBe('full');
  expect(signedFor('region')).toEqual(['us-east-1', 'us-east-1', 'eu-west-1', 'eu-west-1']);
  expect(signedFor('key')).toEqual(['ASIA1', 'ASIA1', 'ASIA1', 'ASIA2']);
});

test('faults that take turns do not make a loop', async () => {
  const turns = [skewed, elsewhere, xml(400, 'ExpiredToken')];
  server.script = Array.from({ length: 30 }, (_, turn) => turns[turn % turns.length] ?? ok);
  expect((await caught(ask())).retry).toBe('slow');
  expect(server.requests.length).toBe(4);
});

describe('a temporary redirect', () => {
  /** Reaches the server whatever the URL says, so that names of AWS lead to loopback too. */
  function recording(urls: string[]): Fetch {
    const fetch = createFetch({});
    return (url, options) => {
      urls.push(url);
      const { pathname } = new URL(url);
      return fetch(`${server.origin}${pathname}`, options);
    };
  }
  const redirect = (location: string) => xml(307, 'TemporaryRedirect', '', { location });

  test('to the endpoint itself in the other style is followed, for that request only', async () => {
    const urls: string[] = [];
    getObject = aimedAt('https://s3.local:9000', true, recording(urls));
    server.script = [redirect(`https://${bucket}.s3.local:9000/k`), ok, ok];
    await ask();
    await ask();
    expect(urls).toEqual([
      `https://s3.local:9000/${bucket}/k`,
      `https://${bucket}.s3.local:9000/k`,
      `https://s3.local:9000/${bucket}/k`,
    ]);
  });

  test('is found once for all ranges of a download', async () => {
    const urls: string[] = [];
    getObject = aimedAt('https://s3.local:9000', true, recording(urls));
    server.script = [redirect(`https://${bucket}.s3.local:9000/k`), ok, ok];
    const pool = new Pool();
    for (let range = 0; range < 3; range++) await ask(bucket, pool);
    await ask(bucket, new Pool());
    const elsewhere = `https://${bucket}.s3.local:9000/k`;
    const here = `https://s3.local:9000/${bucket}/k`;
    expect(urls).toEqual([here, elsewhere, elsewhere, elsewhere, here]);
  });

  test('is followed once for a request', async () => {
    getObject = aimedAt('https://s3.local:9000', true, recording([]));
    server.otherwise = redirect(`https://${bucket}.s3.local:9000/k`);
    expect((await caught(ask())).retry).toBe('slow');
    expect(server.requests.length).toBe(2);
  });

  test('to another host brings no request, and no token, there', async () => {
    const urls: string[] = [];
    getObject = aimedAt('https://s3.local:9000', true, recording(urls));
    server.script = [redirect(`https://evil.example/${bucket}/k`)];
    expect((await caught(ask())).message).toContain('HTTP 307');
    expect(urls).toEqual([`https://s3.local:9000/${bucket}/k`]);
  });
});
