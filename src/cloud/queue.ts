import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { formatPage, type Page } from './release.ts';

// SQS developer guide, quotas of messages: a batch has 10.
const maxBatch = 10;

/** Sends pages to the queue. @throws Error of the client; when the queue refuses some */
export async function enqueue(sqs: SQSClient, queueUrl: string, pages: readonly Page[]): Promise<void> {
  for (let start = 0; start < pages.length; start += maxBatch) {
    const Entries = pages
      .slice(start, start + maxBatch)
      .map((page, index) => ({ Id: String(index), MessageBody: formatPage(page) }));
    const { Failed = [] } = await sqs.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
    if (Failed.length > 0) {
      throw new Error(`The queue refused ${Failed.length} of ${Entries.length} pages: ${Failed[0]?.Message}`);
    }
  }
}
