/** How pages are sent, with AWS's client on a queue that is played. */
import { expect, test } from 'bun:test';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { SQSClient } from '@aws-sdk/client-sqs';
import { enqueue } from '../../src/cloud/queue.ts';
import { publication } from '../support/played-shadows.ts';

/** A client whose queue refuses the second message of each batch where told so; `batches` are the sizes that came. */
function playedQueue(refuses: boolean): { sqs: SQSClient; batches: number[] } {
  const batches: number[] = [];
  const Failed = [{ Id: '1', SenderFault: true, Code: 'InvalidMessageContents', Message: 'bad character' }];
  const sqs = new SQSClient({
    region: 'us-east-1',
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' },
    endpoint: 'https://sqs.invalid',
    md5: false,
    requestHandler: {
      handle: async ({ body }: { body: string }) => {
        batches.push(JSON.parse(await text(Readable.from([body]))).Entries.length);
        const answer = { Successful: [], Failed: refuses ? Failed : [] };
        const headers = { 'content-type': 'application/x-amz-json-1.0' };
        const stream = Readable.from([Buffer.from(JSON.stringify(answer))]);
        return { response: { statusCode: 200, headers, body: stream } };
      },
    },
  });
  return { sqs, batches };
}

const pages = Array.from({ length: 23 }, (_, index) => ({ ...publication, things: [`thing-${index}`] }));

test('pages are sent ten at a time', async () => {
  const { sqs, batches } = playedQueue(false);
  await enqueue(sqs, 'https://sqs.invalid/q', pages);
  expect(batches).toEqual([10, 10, 3]);
});

test('a batch of which the queue refuses one message is an error that says why, and no more is sent', async () => {
  const { sqs, batches } = playedQueue(true);
  const sent = enqueue(sqs, 'https://sqs.invalid/q', pages);
  await expect(sent).rejects.toThrow('The queue refused 1 of 10 pages: bad character');
  expect(batches).toEqual([10]);
});
