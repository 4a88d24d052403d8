import { type IoTClient, ListThingsInThingGroupCommand } from '@aws-sdk/client-iot';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { enqueue } from './queue.ts';
import type { Publication } from './release.ts';

// AWS IoT API, ListThingsInThingGroup: at most 250. They make ten messages, which is one batch of SQS.
const listed = 250;
const thingsInPage = 25;

/**
 * Hands the things of a group, and of its child groups, to the queue in pages.
 * @returns how many things there are
 * @throws Error of the clients, as for a group that is not there; what was queued before stays so
 */
export async function queueGroup(
  clients: { iot: IoTClient; sqs: SQSClient },
  queueUrl: string,
  thingGroupName: string,
  publication: Publication,
): Promise<number> {
  let count = 0;
  let nextToken: string | undefined;
  do {
    const request = { thingGroupName, recursive: true, maxResults: listed };
    const answer = await clients.iot.send(
      new ListThingsInThingGroupCommand(nextToken === undefined ? request : { ...request, nextToken }),
    );
    const things = answer.things ?? [];
    const pages = [];
    for (let start = 0; start < things.length; start += thingsInPage) {
      pages.push({ ...publication, things: things.slice(start, start + thingsInPage) });
    }
    await enqueue(clients.sqs, queueUrl, pages);
    count += things.length;
    nextToken = answer.nextToken;
  } while (nextToken !== undefined && nextToken !== '');
  return count;
}
