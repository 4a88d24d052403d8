/** src/cloud/template.yaml: each role may do what its code does, where it does it, and nothing else. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { shadowPrefix } from '../../src/core/shadow.ts';
import { readTemplate, resourcesOf, statementsOf } from '../support/cloudformation.ts';
import { program, toolTest } from '../support/tools.ts';

const root = join(import.meta.dirname, '../..');
const path = join(root, 'src/cloud/template.yaml');
const bucket = 'arn:aws:s3:::files';
const iot = 'arn:aws:iot:us-east-1:123456789012';
const targets = ['thing', 'group', 'key'] as const;
type Target = (typeof targets)[number];

let template: JsonObject;
beforeAll(async () => {
  template = await readTemplate(path);
});

function stack(Target: Target, parameters: JsonObject = {}): Record<string, JsonObject> {
  return resourcesOf(template, { BucketName: 'files', Target, Name: 'board', ...parameters });
}

/** What a request needs of IAM. Source: the service authorization reference; a HEAD is a GetObject there. */
const readObject = ['s3:GetObject', 's3:GetObjectVersion', 's3:ListBucket'];
const actionsOf: Record<string, string[]> = {
  HeadObjectCommand: readObject,
  GetObjectCommand: readObject,
  GetThingShadowCommand: ['iot:GetThingShadow'],
  UpdateThingShadowCommand: ['iot:UpdateThingShadow'],
  ListThingsInThingGroupCommand: ['iot:ListThingsInThingGroup'],
  SendMessageBatchCommand: ['sqs:SendMessage'],
};

/** The commands that a module of src/cloud, and what it imports of it, sends. */
async function commandsOf(module: string, seen = new Set<string>()): Promise<Set<string>> {
  seen.add(module);
  const code = await readFile(join(root, module), 'utf8');
  const commands = new Set([...code.matchAll(/new (\w+Command)\(/g)].map(([, name = '']) => name));
  const imported = [...code.matchAll(/^import (?!type)[^;]*? from '(\.\/[^']+)'/gm)]
    .map(([, specifier = '']) => normalize(join(module, '..', specifier)))
    .filter((other) => !seen.has(other));
  for (const other of imported) for (const name of await commandsOf(other, seen)) commands.add(name);
  return commands;
}

/** `action resource` for each pair that a role allows. */
function allowed(resource: JsonObject | undefined): string[] {
  return statementsOf(resource)
    .filter(({ Effect }) => Effect === 'Allow')
    .flatMap(({ actions, resources }) =>
      actions.flatMap((action) => resources.map((on) => `${action} ${on}`)),
    )
    .sort();
}

const actionsIn = (pairs: readonly string[]) => new Set(pairs.map((pair) => pair.split(' ')[0] ?? ''));

describe('the roles', () => {
  test('the scan finds the commands of both functions', async () => {
    expect([...(await commandsOf('src/cloud/publisher.ts'))].sort()).toEqual([
      'GetObjectCommand',
      'GetThingShadowCommand',
      'HeadObjectCommand',
      'ListThingsInThingGroupCommand',
      'SendMessageBatchCommand',
      'UpdateThingShadowCommand',
    ]);
    expect((await commandsOf('src/cloud/writer.ts')).size).toBe(3);
  });

  test('each function may call what its code calls, and Lambda what it does for it: no action more', async () => {
    const log = ['logs:CreateLogStream', 'logs:PutLogEvents'];
    const needs = async (module: string) =>
      [...(await commandsOf(module))].flatMap((name) => actionsOf[name] ?? [`unknown: ${name}`]);
    const byKey = stack('key');
    expect(actionsIn(allowed(byKey['PublisherRole']))).toEqual(
      new Set([...(await needs('src/cloud/publisher.ts')), ...log].sort()),
    );
    const poll = ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes'];
    expect([...actionsIn(allowed(byKey['WriterRole']))].sort()).toEqual(
      [...new Set([...(await needs('src/cloud/writer.ts')), ...log, ...poll])].sort(),
    );
  });

  const publisherBase = [
    'logs:CreateLogStream <PublisherLog.Arn>',
    'logs:PutLogEvents <PublisherLog.Arn>',
    `s3:GetObject ${bucket}/*`,
    `s3:GetObjectVersion ${bucket}/*`,
    `s3:ListBucket ${bucket}`,
    'sqs:SendMessage <PublisherDeadLetters.Arn>',
  ];
  const shadowOf = (thing: string) => [
    `iot:GetThingShadow ${iot}:thing/${thing}`,
    `iot:UpdateThingShadow ${iot}:thing/${thing}`,
  ];
  const groupOf = (group: string) => [
    `iot:ListThingsInThingGroup ${iot}:thinggroup/${group}`,
    'sqs:SendMessage <Pages.Arn>',
  ];
  const publisherNeeds: Record<Target, string[]> = {
    thing: shadowOf('board'),
    group: groupOf('board'),
    key: [...shadowOf('*'), ...groupOf('*')],
  };

  test.each(targets)('with the target %s the publisher reaches what that target needs', (target) => {
    const expected = [...publisherBase, ...publisherNeeds[target]].sort();
    expect(allowed(stack(target)['PublisherRole'])).toEqual(expected);
  });

  test('a named shadow narrows the roles to it', () => {
    const named = { ShadowName: 'files' };
    expect(allowed(stack('thing', named)['PublisherRole'])).toEqual(
      [...publisherBase, ...shadowOf('board/files')].sort(),
    );
    expect(allowed(stack('group', named)['WriterRole'])).toContain(
      `iot:UpdateThingShadow ${iot}:thing/*/files`,
    );
  });

  test('a device reads the bucket of its target, and by key only what is its own or for groups', () => {
    const read = (on: string) => [`s3:GetObject ${bucket}/${on}`, `s3:GetObjectVersion ${bucket}/${on}`];
    expect(allowed(stack('thing')['DeviceRole'])).toEqual(read('*'));
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of IAM
    const own = 'things/${credentials-iot:ThingName}/*';
    expect(allowed(stack('key')['DeviceRole'])).toEqual([...read('groups/*'), ...read(own)].sort());
  });

  test.each(targets)('with the target %s no role allows all actions or all resources', (target) => {
    const resources = Object.values(stack(target));
    const pairs = resources
      .filter(({ Type }) => Type === 'AWS::IAM::Role' || Type === 'AWS::IoT::Policy')
      .flatMap(allowed);
    expect(pairs.length).toBeGreaterThan(10);
    expect(pairs.filter((pair) => /^\S*\*\S* |[ :]\*$/.test(pair))).toEqual([]);
  });
});

describe('the policy of devices', () => {
  /** Whether the policy allows it to the thing `board`; in IoT policies only `*` and `?` are wildcards. */
  function allows(policy: JsonObject | undefined, action: string, resource: string): boolean {
    return allowed(policy)
      .map((pair) => pair.replaceAll(/\$\{iot:Connection\.Thing\.ThingName\}/g, 'board'))
      .some((pair) => {
        const pattern = pair.split('*').map((part) => part.replace(/[$()+.?[\\\]^{|}]/g, '\\$&'));
        return new RegExp(`^${pattern.join('.*')}$`).test(`${action} ${iot}:${resource}`);
      });
  }

  test.each([undefined, 'files'])(
    'the agent may do all that it does on the shadow %p, and no other thing’s',
    (name) => {
      const policy = stack('thing', name === undefined ? {} : { ShadowName: name })['DevicePolicy'];
      const own = shadowPrefix('board', name);
      const other = shadowPrefix('other', name);
      const answers = ['get/accepted', 'get/rejected', 'update/accepted', 'update/rejected', 'update/delta'];
      expect(allows(policy, 'iot:Connect', 'client/board')).toBe(true);
      expect(allows(policy, 'iot:Connect', 'client/other')).toBe(false);
      for (const [prefix, expected] of [
        [own, true],
        [other, false],
      ] as const) {
        for (const verb of ['get', 'update']) {
          expect(allows(policy, 'iot:Publish', `topic/${prefix}/${verb}`)).toBe(expected);
        }
        for (const answer of answers) {
          expect(allows(policy, 'iot:Subscribe', `topicfilter/${prefix}/${answer}`)).toBe(expected);
          expect(allows(policy, 'iot:Receive', `topic/${prefix}/${answer}`)).toBe(expected);
        }
      }
      expect(allows(policy, 'iot:Publish', `topic/${own}/delete`)).toBe(false);
      // AWS IoT quotas: 2,048 characters without blanks.
      expect(JSON.stringify(policy?.['Properties']).length).toBeLessThan(2048);
    },
  );

  test('a certificate connects only when the thing is attached to it, and is traded at the alias alone', () => {
    const [connect] = statementsOf(stack('thing')['DevicePolicy']);
    expect(connect?.Condition).toEqual({ Bool: { 'iot:Connection.Thing.IsAttached': 'true' } });
    expect(allowed(stack('thing')['DevicePolicy'])).toContain(
      'iot:AssumeRoleWithCertificate <DeviceRoleAlias.RoleAliasArn>',
    );
  });
});

describe('the resources', () => {
  test('the bucket keeps versions, is encrypted and private, refuses plain HTTP, and outlives the stack', () => {
    const { Bucket, BucketPolicy } = stack('thing');
    expect(Bucket).toMatchObject({
      DeletionPolicy: 'Retain',
      Properties: {
        VersioningConfiguration: { Status: 'Enabled' },
        BucketEncryption: { ServerSideEncryptionConfiguration: [{}] },
        PublicAccessBlockConfiguration: { BlockPublicAcls: true, RestrictPublicBuckets: true },
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

  test('only S3 may call the publisher, for this bucket of this account', () => {
    const { PublisherPermission, ...others } = stack('key');
    expect(PublisherPermission).toMatchObject({
      Properties: {
        Principal: 's3.amazonaws.com',
        SourceAccount: '123456789012',
        SourceArn: bucket,
        FunctionName: '<Publisher>',
      },
    });
    const types = Object.values(others).map(({ Type }) => Type);
    expect(types).not.toContain('AWS::Lambda::Permission');
    expect(types).not.toContain('AWS::SQS::QueuePolicy');
    expect(types).not.toContain('AWS::Lambda::Url');
  });

  test('each role is assumed by its one service', () => {
    const trusted = Object.entries(stack('key')).flatMap(([name, resource]) => {
      if (resource['Type'] !== 'AWS::IAM::Role') return [];
      const { Statement } = JSON.parse(JSON.stringify(resource)).Properties.AssumeRolePolicyDocument;
      return [[name, Statement]];
    });
    const by = (Service: string) => [{ Effect: 'Allow', Principal: { Service }, Action: 'sts:AssumeRole' }];
    expect(Object.fromEntries(trusted)).toEqual({
      PublisherRole: by('lambda.amazonaws.com'),
      WriterRole: by('lambda.amazonaws.com'),
      DeviceRole: by('credentials.iot.amazonaws.com'),
    });
  });
});

const cfnLint = program('cfn-lint', 'python3-pip (then: pip install cfn-lint)');
toolTest([cfnLint], 'cfn-lint finds nothing in the template', () => {
  const { status, stdout } = spawnSync(cfnLint.path, [path], { encoding: 'utf8' });
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
});
