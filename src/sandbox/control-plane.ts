import * as v from 'valibot';
import type { HttpAnswer } from './https-server.ts';
import { percentDecoded } from './percent.ts';
import type { Pki } from './pki.ts';
import { md5, type Queue } from './queue.ts';
import type { Sessions } from './sessions.ts';
import { type ApiRequest, failure, serveSignedApi } from './signed-api.ts';
import type { ThingGroups } from './thing-groups.ts';
import type { TlsListener } from './tls-listener.ts';

export interface ControlPlaneOptions {
  pki: Pki;
  sessions: Sessions;
  groups: ThingGroups;
  queue: Queue;
  port?: number;
}

const batchSchema = v.object({
  Entries: v.pipe(
    v.array(v.object({ Id: v.string(), MessageBody: v.pipe(v.string(), v.minLength(1)) })),
    v.minLength(1),
    // SQS developer guide, quotas of messages.
    v.maxLength(10),
  ),
});

/** What a message must not have. Source: SQS API, SendMessage, MessageBody: what XML 1.0 has no place for. */
const refused = /[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/u;

/** Starts what the publisher needs besides S3 and shadows: ListThingsInThingGroup of AWS IoT, SendMessageBatch of SQS. */
export async function startControlPlane({
  groups,
  queue,
  ...options
}: ControlPlaneOptions): Promise<TlsListener> {
  return serveSignedApi({ ...options, signingNames: ['iot', 'execute-api', 'sqs'] }, (request) => {
    if (request.session.sessionToken !== undefined) {
      return { status: 403, errorType: 'AccessDeniedException', body: { message: 'Access denied' } };
    }
    const action = request.headers['x-amz-target'];
    if (action === 'AmazonSQS.SendMessageBatch') return sendMessages(queue, request);
    const [, group] = /^\/thing-groups\/([^/]+)\/things$/.exec(request.url.pathname) ?? [];
    if (request.method === 'GET' && group !== undefined) {
      return listThings(groups, percentDecoded(group), request.url.searchParams);
    }
    return failure(404, 'Not Found');
  });
}

function sendMessages(queue: Queue, { body }: ApiRequest): HttpAnswer {
  const batch = v.safeParse(batchSchema, JSON.parse(new TextDecoder().decode(body)));
  if (!batch.success) return failure(400, 'The batch is malformed');
  const { Entries } = batch.output;
  const Successful = Entries.filter(({ MessageBody }) => !refused.test(MessageBody)).map(
    ({ Id, MessageBody }) => ({
      Id,
      MessageId: queue.send(MessageBody).messageId,
      MD5OfMessageBody: md5(MessageBody),
    }),
  );
  const Failed = Entries.filter(({ MessageBody }) => refused.test(MessageBody)).map(({ Id }) => ({
    ...{ Id, SenderFault: true, Code: 'InvalidMessageContents' },
    Message: 'Invalid binary character was found in the message body',
  }));
  return { status: 200, body: { Successful, Failed } };
}

function listThings(groups: ThingGroups, group: string, query: URLSearchParams): HttpAnswer {
  const things = groups.list(group, query.get('recursive') === 'true');
  if (things === undefined) return failure(404, `Thing group ${group} does not exist`);
  const maxResults = Number(query.get('maxResults') ?? 25);
  const start = Number(query.get('nextToken') ?? 0);
  if (!Number.isInteger(maxResults) || maxResults < 1 || maxResults > 250) {
    return failure(400, 'maxResults is from 1 to 250');
  }
  const end = start + maxResults;
  const more = end < things.length ? { nextToken: String(end) } : {};
  return { status: 200, body: { things: things.slice(start, end), ...more } };
}
