/** What src/cloud/template.yaml makes; who may do what in it is in permissions.test.ts. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { publish, write } from '../../src/cloud/lambda.ts';
import { parseProperty } from '../../src/config/grammar.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { outputsOf, readTemplate, resourcesOf, statementsOf } from '../support/cloudformation.ts';
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
      DeletionPolicy: 'RetainExceptOnCreate',
      UpdateReplacePolicy: 'Retain',
      DependsOn: 'PublisherPermission',
      Properties: {
        BucketName: 'files',
        VersioningConfiguration: { Status: 'Enabled' },
        BucketEncryption: {
          ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }],
        },
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
    expect(BucketPolicy).toMatchObject({
      Properties: { Bucket: '<Bucket>', PolicyDocument: { Statement: [{ Principal: '*' }] } },
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

  test('the property is one that the agent takes: a reserved name is refused with the reason', () => {
    const { AllowedPattern, ConstraintDescription, Default } = JSON.parse(JSON.stringify(template)).Parameters
      .Property;
    const allowed = new RegExp(AllowedPattern);
    const reserved = ['shadowAgent', '__proto__'];
    for (const name of reserved) {
      expect([name, parseProperty(name)]).toEqual([name, { problem: expect.any(String) }]);
      expect([name, allowed.test(name)]).toEqual([name, false]);
      expect(ConstraintDescription).toContain(name);
    }
    for (const name of ['', 'a b', 'a.b', 'a'.repeat(65)])
      expect([name, allowed.test(name)]).toEqual([name, false]);
    for (const name of [
      Default,
      'a',
      'a'.repeat(64),
      ...reserved.flatMap((word) => [`${word}1`, `a${word}`]),
    ]) {
      expect([name, allowed.test(name), parseProperty(name)]).toEqual([name, true, { value: name }]);
    }
  });

  test('one thing needs no queue and no writer', () => {
    const names = Object.keys(stack('thing'));
    expect(names.filter((name) => /Pages|Writer/.test(name))).toEqual([]);
  });

  test('what fails ends in a dead-letter queue', () => {
    const resources = stack('group');
    expect(resources['PublisherRetries']?.['Properties']).toEqual({
      FunctionName: '<Publisher>',
      Qualifier: '$LATEST',
      MaximumRetryAttempts: 2,
      DestinationConfig: { OnFailure: { Destination: '<PublisherDeadLetters.Arn>' } },
    });
    // 1,209,600 s are 14 days, the most that SQS keeps.
    const queue = { MessageRetentionPeriod: 1_209_600, SqsManagedSseEnabled: true };
    expect(resources['PublisherDeadLetters']?.['Properties']).toEqual(queue);
    expect(resources['PagesDeadLetters']?.['Properties']).toEqual(queue);
    expect(resources['Pages']?.['Properties']).toEqual({
      ...queue,
      VisibilityTimeout: 720,
      RedrivePolicy: { deadLetterTargetArn: '<PagesDeadLetters.Arn>', maxReceiveCount: 10 },
    });
  });

  const topic = 'arn:aws:sns:us-east-1:123456789012:calls';

  function alarmsOf(target: 'thing' | 'group', given: JsonObject = {}): Record<string, JsonObject> {
    const alarms = Object.entries(stack(target, given)).filter(
      ([, { Type }]) => Type === 'AWS::CloudWatch::Alarm',
    );
    return Object.fromEntries(
      alarms.map(([name, alarm]) => {
        const { AlarmDescription: _, ...properties } = JSON.parse(JSON.stringify(alarm)).Properties;
        return [name, properties];
      }),
    );
  }

  test('an alarm looks at each queue and each function, rings at the first failure, and tells the topic', () => {
    const alarm = (
      Namespace: string,
      MetricName: string,
      Name: string,
      Value: string,
      Statistic: string,
    ) => ({
      ...{ Namespace, MetricName, Dimensions: [{ Name, Value }], Statistic },
      ...{ Period: 300, EvaluationPeriods: 1, Threshold: 0, ComparisonOperator: 'GreaterThanThreshold' },
      ...{ TreatMissingData: 'notBreaching', AlarmActions: [topic] },
    });
    const waiting = (queue: string) =>
      alarm('AWS/SQS', 'ApproximateNumberOfMessagesVisible', 'QueueName', `<${queue}.QueueName>`, 'Maximum');
    const errors = (name: string) => alarm('AWS/Lambda', 'Errors', 'FunctionName', `<${name}>`, 'Sum');
    const ofPublisher = {
      PublisherFailures: waiting('PublisherDeadLetters'),
      PublisherErrors: errors('Publisher'),
    };
    const age = [
      'AWS/SQS',
      'ApproximateAgeOfOldestMessage',
      'QueueName',
      '<Pages.QueueName>',
      'Maximum',
    ] as const;
    expect(alarmsOf('thing', { AlarmTopicArn: topic })).toEqual(ofPublisher);
    expect(alarmsOf('group', { AlarmTopicArn: topic })).toEqual({
      ...ofPublisher,
      WriterFailures: waiting('PagesDeadLetters'),
      WriterErrors: errors('Writer'),
      PagesAge: { ...alarm(...age), EvaluationPeriods: 3, Threshold: 7200 },
    });
  });

  test('without a topic no alarm tells anybody', () => {
    expect(Object.values(alarmsOf('group')).filter((alarm) => 'AlarmActions' in alarm)).toEqual([]);
  });

  test('the functions run as their own roles, on the runtime that they are built for, and log for 30 days', () => {
    const { Publisher, PublisherLog, Writer, WriterLog } = stack('group');
    const common = (name: string) => ({
      ...{ Runtime: 'nodejs24.x', Architectures: ['arm64'] },
      ...{ Role: `<${name}Role.Arn>`, LoggingConfig: { LogGroup: `<${name}Log>` } },
    });
    expect(Publisher?.['Properties']).toMatchObject({
      ...common('Publisher'),
      Timeout: 900,
      MemorySize: 1769,
    });
    expect(Writer?.['Properties']).toMatchObject({ ...common('Writer'), Timeout: 120, MemorySize: 512 });
    for (const log of [PublisherLog, WriterLog]) expect(log?.['Properties']).toEqual({ RetentionInDays: 30 });
  });

  test('the alias of devices leads to their role, for an hour', () => {
    const { DeviceRoleAlias, DevicePolicy } = stack('thing');
    expect(DeviceRoleAlias?.['Properties']).toEqual({
      RoleAlias: 'stack-device',
      RoleArn: '<DeviceRole.Arn>',
      CredentialDurationSeconds: 3600,
    });
    expect(DevicePolicy).toMatchObject({ Properties: { PolicyName: 'stack-device' } });
  });

  test('the outputs are what provision.sh asks for, and the queues of what failed', async () => {
    const given = { BucketName: 'files', Target: 'thing', Name: 'board' };
    const outputs = {
      Bucket: '<Bucket>',
      DevicePolicy: '<DevicePolicy>',
      RoleAlias: '<DeviceRoleAlias>',
      Property: 's3',
      PublisherDeadLetters: '<PublisherDeadLetters.Arn>',
    };
    expect(outputsOf(template, given)).toEqual(outputs);
    expect(outputsOf(template, { ...given, Target: 'group', ShadowName: 'files', Property: 'p' })).toEqual({
      ...outputs,
      Property: 'p',
      ShadowName: 'files',
      PagesDeadLetters: '<PagesDeadLetters.Arn>',
    });
    const script = await readFile(join(root, 'src/cloud/provision.sh'), 'utf8');
    const asked = [...script.matchAll(/\$\(output (\w+)\)/g)].map(([, name = '']) => name);
    expect(asked.sort()).toEqual(['Bucket', 'DevicePolicy', 'Property', 'RoleAlias', 'ShadowName']);
    // The command that moves dead messages back.
    expect(await readFile(join(root, 'README.md'), 'utf8')).toContain("[?OutputKey=='PagesDeadLetters']");
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
    expect(WriterSource?.['Properties']).toEqual({
      FunctionName: '<Writer>',
      EventSourceArn: '<Pages.Arn>',
      BatchSize: 10,
      ScalingConfig: { MaximumConcurrency: 2 },
      FunctionResponseTypes: ['ReportBatchItemFailures'],
    });
    expect(variablesOf(Writer)).toEqual({ REQUESTS_PER_SECOND: 50, QUEUE_URL: '<Pages>' });
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
