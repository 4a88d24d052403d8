/** How the writer holds its pace, with AWS's client on a transport that is played. */
import { expect, test } from 'bun:test';
import { SQSClient } from '@aws-sdk/client-sqs';
import { paceRequests } from '../../src/cloud/pace.ts';
import { formatPage } from '../../src/cloud/release.ts';
import { publishTo } from '../../src/cloud/shadow.ts';
import { createWriter } from '../../src/cloud/writer.ts';
import { playedShadows, publication } from '../support/played-shadows.ts';

test('every request waits for its turn, also those that the client repeats when it is throttled', async () => {
  const sent: string[] = [];
  const client = playedShadows(async (method) => {
    sent.push(method);
    return sent.length <= 2 ? 429 : 200;
  });
  let turns = 0;
  paceRequests(client, async () => {
    turns += 1;
  });
  expect(await publishTo(client, 'board', publication)).toBe('written');
  expect([sent, turns]).toEqual([['GET', 'GET', 'GET', 'POST'], 4]);
});

test('a batch is worked on across its pages, 50 things at once, so that slow answers hold the pace', async () => {
  let underWay = 0;
  let most = 0;
  let written = 0;
  let open = () => {};
  const full = new Promise<void>((resolve) => {
    open = resolve;
  });
  const shadows = playedShadows(async (method) => {
    underWay += 1;
    most = Math.max(most, underWay);
    if (underWay === 50) open();
    // No answer before so many are under way: with fewer this never ends.
    await full;
    underWay -= 1;
    if (method === 'POST') written += 1;
    return 200;
  });
  const pages = Array.from({ length: 10 }, (_, page) =>
    formatPage({
      ...publication,
      things: Array.from({ length: 25 }, (_, thing) => `thing-${page}-${thing}`),
    }),
  );
  const Records = pages.map((body, index) => ({ messageId: String(index), body }));
  const settings = { requestsPerSecond: 10_000, queueUrl: 'https://sqs.invalid/q' };
  const write = createWriter(settings, { shadows, sqs: new SQSClient({ region: 'us-east-1' }) }, () => {});
  expect(await write({ Records })).toEqual({ batchItemFailures: [] });
  expect([most, written]).toEqual([50, 250]);
});

test('the writer holds the rate of its settings over all things of a batch', async () => {
  let requests = 0;
  const shadows = playedShadows(async () => {
    requests += 1;
    return 200;
  });
  const waits: number[] = [];
  const clock = {
    nowMs: () => 0,
    sleep: async (milliseconds: number) => {
      waits.push(milliseconds);
    },
  };
  const settings = { requestsPerSecond: 4, queueUrl: 'https://sqs.invalid/q' };
  const clients = { shadows, sqs: new SQSClient({ region: 'us-east-1' }) };
  const write = createWriter(settings, clients, () => {}, clock);
  const bodies = [['a', 'b'], ['c']].map((things) => formatPage({ ...publication, things }));
  const Records = bodies.map((body, index) => ({ messageId: String(index), body }));
  expect(await write({ Records })).toEqual({ batchItemFailures: [] });
  // A read and a write of each; the clock stands, so the last of them waits for all before it.
  expect([requests, waits]).toEqual([6, [250, 500, 750, 1000, 1250]]);
});

test('what a message holds makes no line of its own in the log', async () => {
  const lines: string[] = [];
  const settings = { requestsPerSecond: 10_000, queueUrl: 'https://sqs.invalid/q' };
  const clients = { shadows: playedShadows(async () => 200), sqs: new SQSClient({ region: 'us-east-1' }) };
  const write = createWriter(settings, clients, (line) => lines.push(line));
  const release = { ...publication.release, url: 's3://bucket/a\nthing b: failed' };
  const body = formatPage({ ...publication, release, things: ['a'] });
  await write({ Records: [{ messageId: '1', body }] });
  expect(lines).toEqual(['s3://bucket/a?thing b: failed: 1 of 1 things written']);
});
