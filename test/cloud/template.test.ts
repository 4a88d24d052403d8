/** What src/cloud/template.yaml makes; who may do what in it is in permissions.test.ts. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { publish, write } from '../../src/cloud/lambda.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { readTemplate, resourcesOf, statementsOf } from '../support/cloudformation.ts';
import { program, toolTest } from '../support/tools.ts';

const root = join(import.meta.dirname, '../..');
const path = join(root, 'src/cloud/template.yaml');
const bucket = 'arn:aws:s3:::files';

let template: JsonObject;
beforeAll(async () => {
  template = await readTemplate(path);
});

function stack(Target: 'thing' | 'group' | 'key', parameters: JsonObject = {}): Record<string, JsonObject> {
  return resourcesOf(template, { BucketName: 'files', Target, Name: 'board', ...parameters });
}

describe('the resources', () => {
  test('the bucket keeps versions, is encrypted and private, refuses plain HTTP, and outlives the stack', () => {
    const { Bucket, BucketPolicy } = stack('thing');
    expect(Bucket).toMatchObject({
      DeletionPolicy: 'Retain',
      Properties: {
        VersioningConfiguration: { Status: 'Enabled' },
        BucketEncryption: { ServerSideEncryptionConfiguration: [{}] },
        PublicAccessBlockConfiguration: {
          BlockPublicAcls: true,
          BlockPublicPolicy: true,
          IgnorePublicAcls: true,
          RestrictPublicBuckets: true,
        },
        OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
        NotificationConfiguration: {
          LambdaConfigurations: [{ Event: 's3:ObjectCreated:*', Function: '<Publisher.Arn>' }],
        },
      },
    });
    expect(statementsOf(BucketPolicy)).toEqual([
      {
        Effect: 'Deny',
        actions: ['s3:*'],
        resources: [bucket, `${bucket}/*`],
        Condition: { Bool: { 'aws:SecureTransport': 'false' } },
      },
    ]);
  });

  test('the functions are told what lambda.ts reads of the environment', async () => {
    const code = await readFile(join(root, 'src/cloud/lambda.ts'), 'utf8');
    const read = [...code.matchAll(/\('([A-Z_]+)'\)|([A-Z_]{4,}):/g)].map(([, a, b]) => a ?? b ?? '');
    const { Publisher, Writer } = stack('key', { ShadowName: 'files' });
    const told = [Publisher, Writer].flatMap((one) => Object.keys(variablesOf(one)));
    expect(new Set(told)).toEqual(new Set(read));
    expect(variablesOf(stack('thing')['Publisher'])).toEqual({ TARGET: 'things/board', PROPERTY: 's3' });
    expect(variablesOf(stack('group')['Publisher'])).toMatchObject({
      TARGET: 'groups/board',
      QUEUE_URL: '<Pages>',
    });
    expect(variablesOf(Publisher)).toMatchObject({ TARGET: 'key', SHADOW_NAME: 'files' });
  });

  function variablesOf(resource: JsonObject | undefined): JsonObject {
    return JSON.parse(JSON.stringify(resource))?.Properties.Environment.Variables;
  }

  test('one thing needs no queue and no writer', () => {
    const names = Object.keys(stack('thing'));
    expect(names.filter((name) => /Pages|Writer/.test(name))).toEqual([]);
  });

  test('what fails ends in a dead-letter queue, and an alarm looks at each queue and each function', () => {
    const resources = stack('group');
    expect(resources['PublisherRetries']).toMatchObject({
      Properties: {
        MaximumRetryAttempts: 2,
        DestinationConfig: { OnFailure: { Destination: '<PublisherDeadLetters.Arn>' } },
      },
    });
    expect(resources['Pages']).toMatchObject({
      Properties: { RedrivePolicy: { deadLetterTargetArn: '<PagesDeadLetters.Arn>' } },
    });
    const alarms = Object.values(resources).filter(({ Type }) => Type === 'AWS::CloudWatch::Alarm');
    const watched = alarms.map((alarm) => JSON.parse(JSON.stringify(alarm)).Properties.Dimensions[0].Value);
    expect(watched.sort()).toEqual([
      '<Pages.QueueName>',
      '<PagesDeadLetters.QueueName>',
      '<Publisher>',
      '<PublisherDeadLetters.QueueName>',
      '<Writer>',
    ]);
  });

  test('an alarm rings at the first failure, and tells the topic that is given', () => {
    const alarms = (given: JsonObject) =>
      Object.values(stack('group', given))
        .filter(({ Type }) => Type === 'AWS::CloudWatch::Alarm')
        .map((alarm) => JSON.parse(JSON.stringify(alarm)).Properties);
    const topic = 'arn:aws:sns:us-east-1:123456789012:calls';
    for (const { MetricName, Threshold, ComparisonOperator, AlarmActions } of alarms({
      AlarmTopicArn: topic,
    })) {
      expect(ComparisonOperator).toBe('GreaterThanThreshold');
      expect([MetricName, Threshold]).toEqual([
        MetricName,
        MetricName === 'ApproximateAgeOfOldestMessage' ? 7200 : 0,
      ]);
      expect(AlarmActions).toEqual([topic]);
    }
    expect(alarms({}).filter((alarm) => 'AlarmActions' in alarm)).toEqual([]);
  });

  test('queues are encrypted', () => {
    const queues = Object.values(stack('key')).filter(({ Type }) => Type === 'AWS::SQS::Queue');
    expect(queues.length).toBe(3);
    for (const queue of queues) expect(queue).toMatchObject({ Properties: { SqsManagedSseEnabled: true } });
  });

  test('each function is started at what lambda.ts exports for it', () => {
    const { Publisher, Writer } = stack('group');
    expect(Publisher).toMatchObject({ Properties: { Handler: `index.${publish.name}` } });
    expect(Writer).toMatchObject({ Properties: { Handler: `index.${write.name}` } });
  });

  test('at the least rate a batch fits into half of the timeout, also where no thing has a shadow yet', () => {
    const read = JSON.parse(JSON.stringify(template));
    const { Writer, WriterSource, Pages } = read.Resources;
    // Pages of 25 things; four requests make and write a shadow.
    const requests = WriterSource.Properties.BatchSize * 25 * 4;
    const seconds = requests / read.Parameters.RequestsPerSecond.MinValue;
    expect(seconds).toBeLessThanOrEqual(Writer.Properties.Timeout / 2);
    // Lambda developer guide, with-sqs: the queue hides messages for six times the timeout.
    expect(Pages.Properties.VisibilityTimeout).toBe(6 * Writer.Properties.Timeout);
  });

  test('the writers run two at a time, and return what failed by message', () => {
    const { Writer, WriterSource } = stack('group');
    expect(Writer).toMatchObject({ Properties: { ReservedConcurrentExecutions: 2 } });
    expect(WriterSource).toMatchObject({
      Properties: {
        FunctionResponseTypes: ['ReportBatchItemFailures'],
        ScalingConfig: { MaximumConcurrency: 2 },
      },
    });
    // A new account has ten concurrent executions, of which none may be reserved.
    const small = stack('group', { ReserveWriters: 'false' });
    expect(small['Writer']?.['Properties']).not.toHaveProperty('ReservedConcurrentExecutions');
    expect(small['WriterSource']).toEqual(WriterSource);
  });
});

const cfnLint = program('cfn-lint', 'python3-pip (then: pip install cfn-lint)');
toolTest([cfnLint], 'cfn-lint finds nothing in the template', () => {
  const { status, stdout } = spawnSync(cfnLint.path, [path], { encoding: 'utf8' });
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
});
