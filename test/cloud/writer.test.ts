/** How the writer holds its pace, with AWS's client on a transport that is played. */
import { expect, test } from 'bun:test';
import { Readable } from 'node:stream';
import { IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';
import { SQSClient } from '@aws-sdk/client-sqs';
import { paceRequests } from '../../src/cloud/pace.ts';
import { formatPage } from '../../src/cloud/release.ts';
import { publishTo } from '../../src/cloud/shadow.ts';
import { createWriter } from '../../src/cloud/writer.ts';

const publication = {
  property: 's3',
  release: {
    url: 's3://bucket/key',
    hash: 'ab'.repeat(32),
    size: 5,
    versionId: null,
    sequencer: '0055AED6DCD90281E5',
    uploadedAt: '2019-09-03T19:37:27.192Z',
  },
};

/** A client whose requests are answered with a status; 200 brings a shadow. */
function played(answer: (method: string) => Promise<number>): IoTDataPlaneClient {
  return new IoTDataPlaneClient({
    region: 'us-east-1',
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' },
    maxAttempts: 5,
    requestHandler: {
      handle: async ({ method }: { method: string }) => {
        const statusCode = await answer(method);
        const body = Readable.from([Buffer.from('{"state":{},"version":1}')]);
        const headers: Record<string, string> =
          statusCode === 429 ? { 'x-amzn-errortype': 'ThrottlingException' } : {};
        return { response: { statusCode, headers, body } };
      },
    },
  });
}

test('every request waits for its turn, also those that the client repeats when it is throttled', async () => {
  const sent: string[] = [];
  const client = played(async (method) => {
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
  const shadows = played(async (method) => {
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
