/** The sandbox's things of groups and its sending of messages, asked by AWS's clients. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { IoTClient, ListThingsInThingGroupCommand } from '@aws-sdk/client-iot';
import { SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs';
import { Published } from '../support/published.ts';

let world: Published;
let iot: IoTClient;
let sqs: SQSClient;
beforeAll(async () => {
  world = await Published.start();
  const { endpoints, operator, dir } = world.sandbox;
  const { accessKeyId, secretAccessKey } = operator;
  const common = {
    ...{ region: 'us-east-1', endpoint: endpoints.controlPlane, maxAttempts: 1 },
    credentials: { accessKeyId, secretAccessKey },
    requestHandler: { httpsAgent: new Agent({ ca: await readFile(join(dir, 'ca.pem')) }) },
  };
  iot = new IoTClient(common);
  sqs = new SQSClient(common);
});
afterAll(async () => {
  iot.destroy();
  sqs.destroy();
  await world.close();
});

test('child groups are listed only where they are asked for', async () => {
  world.sandbox.groups.add('fleet', ['a']);
  world.sandbox.groups.add('child', ['b'], 'fleet');
  const things = async (recursive?: boolean) => {
    const request = { thingGroupName: 'fleet', ...(recursive === undefined ? {} : { recursive }) };
    return (await iot.send(new ListThingsInThingGroupCommand(request))).things;
  };
  expect([await things(), await things(false), await things(true)]).toEqual([['a'], ['a'], ['a', 'b']]);
});

test('a message with a character that SQS does not take is refused, and its neighbours are not', async () => {
  const QueueUrl = `${world.sandbox.endpoints.controlPlane}/123456789012/shadow-agent`;
  const bodies = ['good', '\uFFFE', '\uFFFF', '\u0001', 'tab\t, line\r\n, 🙂'];
  const Entries = bodies.map((MessageBody, index) => ({ Id: String(index), MessageBody }));
  const { Successful, Failed } = await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
  expect(Successful?.map(({ Id }) => Id)).toEqual(['0', '4']);
  expect(Failed?.map(({ Id, Code, SenderFault }) => [Id, Code, SenderFault])).toEqual(
    ['1', '2', '3'].map((id) => [id, 'InvalidMessageContents', true]),
  );
});
