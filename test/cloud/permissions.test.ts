/** Who may do what by src/cloud/template.yaml: each role what its code does, where it does it, and nothing else. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { shadowPrefix } from '../../src/core/shadow.ts';
import { readTemplate, resourcesOf, statementsOf } from '../support/cloudformation.ts';

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

/**
 * `action resource` for each pair that a role or an IoT policy allows. A pair that is refused, or allowed under a
 * condition, says so: no expectation takes it for another.
 */
function allowed(resource: JsonObject | undefined): string[] {
  return statementsOf(resource)
    .flatMap(({ Effect, actions, resources, Condition }) => {
      const effect = Effect === 'Allow' ? '' : `${Effect} `;
      const condition = Condition === undefined ? '' : ` if ${JSON.stringify(Condition)}`;
      return actions.flatMap((action) => resources.map((on) => `${effect}${action} ${on}${condition}`));
    })
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

  const read = (on: string) => [`s3:GetObject ${bucket}/${on}`, `s3:GetObjectVersion ${bucket}/${on}`];
  const publisherBase = [
    'logs:CreateLogStream <PublisherLog.Arn>',
    'logs:PutLogEvents <PublisherLog.Arn>',
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
    thing: [...read('*'), ...shadowOf('board')],
    group: [...read('*'), ...groupOf('board')],
    // Another key names nobody: it is not read.
    key: [...read('things/*'), ...read('groups/*'), ...shadowOf('*'), ...groupOf('*')],
  };

  test.each(targets)('with the target %s the publisher reaches what that target needs', (target) => {
    const expected = [...publisherBase, ...publisherNeeds[target]].sort();
    expect(allowed(stack(target)['PublisherRole'])).toEqual(expected);
  });

  const writerBase = [
    'logs:CreateLogStream <WriterLog.Arn>',
    'logs:PutLogEvents <WriterLog.Arn>',
    ...['DeleteMessage', 'GetQueueAttributes', 'ReceiveMessage', 'SendMessage'].map(
      (action) => `sqs:${action} <Pages.Arn>`,
    ),
  ];

  test.each(['group', 'key'] as const)(
    'with the target %s the writer reaches its queue and shadows',
    (target) => {
      expect(allowed(stack(target)['WriterRole'])).toEqual([...writerBase, ...shadowOf('*')].sort());
    },
  );

  test('a named shadow narrows the roles to it', () => {
    const named = { ShadowName: 'files' };
    expect(allowed(stack('thing', named)['PublisherRole'])).toEqual(
      [...publisherBase, ...read('*'), ...shadowOf('board/files')].sort(),
    );
    expect(allowed(stack('group', named)['WriterRole'])).toEqual(
      [...writerBase, ...shadowOf('*/files')].sort(),
    );
  });

  test('a device reads the bucket of its target, and by key only what is its own or for groups', () => {
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
    expect(pairs.filter((pair) => /^\S*\*\S* |[ :]\*(?: if|$)/.test(pair))).toEqual([]);
  });
});

describe('the policy of devices', () => {
  /** Whether the policy allows it to the thing `board`; in IoT policies only `*` and `?` are wildcards. */
  function allows(policy: JsonObject | undefined, action: string, resource: string): boolean {
    return allowed(policy)
      .map((pair) => pair.split(' if ')[0] ?? '')
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

  test.each([
    [undefined, 'shadow'],
    ['files', 'shadow/name/files'],
  ])('on the shadow %p it allows this and nothing else', (name, shadow) => {
    const { DevicePolicy } = stack('thing', name === undefined ? {} : { ShadowName: name });
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of AWS IoT
    const thing = '${iot:Connection.Thing.ThingName}';
    const on = (kind: string, verb: string) => `${iot}:${kind}/$aws/things/${thing}/${shadow}/${verb}`;
    expect(allowed(DevicePolicy)).toEqual([
      'iot:AssumeRoleWithCertificate <DeviceRoleAlias.RoleAliasArn>',
      // A certificate connects only as a thing that it is attached to.
      `iot:Connect ${iot}:client/${thing} if {"Bool":{"iot:Connection.Thing.IsAttached":"true"}}`,
      `iot:Publish ${on('topic', 'get')}`,
      `iot:Publish ${on('topic', 'update')}`,
      `iot:Receive ${on('topic', 'get/*')}`,
      `iot:Receive ${on('topic', 'update/*')}`,
      `iot:Subscribe ${on('topicfilter', 'get/*')}`,
      `iot:Subscribe ${on('topicfilter', 'update/*')}`,
    ]);
  });
});

describe('who calls and who assumes', () => {
  /** What gives nobody access to anything. A type that is not among them has its place in the test below. */
  const powerless = new Set([
    'AWS::CloudWatch::Alarm',
    'AWS::Lambda::EventInvokeConfig',
    'AWS::Lambda::EventSourceMapping',
    'AWS::Lambda::Function',
    'AWS::Logs::LogGroup',
    'AWS::S3::Bucket',
    'AWS::SQS::Queue',
  ]);

  test.each(targets)('with the target %s this gives access, and nothing beside it', (target) => {
    const types = Object.entries(stack(target)).map(([name, { Type }]) => [name, String(Type)] as const);
    expect(Object.fromEntries(types.filter(([, type]) => !powerless.has(type)))).toEqual({
      ...{ BucketPolicy: 'AWS::S3::BucketPolicy', PublisherPermission: 'AWS::Lambda::Permission' },
      ...{ DevicePolicy: 'AWS::IoT::Policy', DeviceRoleAlias: 'AWS::IoT::RoleAlias' },
      ...{ PublisherRole: 'AWS::IAM::Role', DeviceRole: 'AWS::IAM::Role' },
      ...(target === 'thing' ? {} : { WriterRole: 'AWS::IAM::Role' }),
    });
  });

  test.each(targets)(
    'with the target %s a role has what is read here of it, and no managed policy',
    (target) => {
      for (const { Type, Properties } of Object.values(stack(target))) {
        if (Type !== 'AWS::IAM::Role') continue;
        expect(Object.keys(Object(Properties)).sort()).toEqual(['AssumeRolePolicyDocument', 'Policies']);
      }
    },
  );

  test('only S3 may call the publisher, for this bucket of this account', () => {
    expect(stack('key')['PublisherPermission']).toMatchObject({
      Properties: {
        Principal: 's3.amazonaws.com',
        SourceAccount: '123456789012',
        SourceArn: bucket,
        FunctionName: '<Publisher>',
      },
    });
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
