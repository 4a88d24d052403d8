/** The README's one command, with the AWS CLI as it is and a CloudFormation that takes down what it is sent. */
import { expect } from 'bun:test';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { buildPublisher } from '../../build.ts';
import { pythonClients } from '../support/clients-python.ts';
import { toolTest } from '../support/tools.ts';

const tools = await pythonClients();

const absent =
  '<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id shadow-agent does not exist</Message></Error></ErrorResponse>';
const answers: Record<string, { status: number; body: string }> = {
  DescribeStacks: { status: 400, body: absent },
  CreateChangeSet: {
    status: 200,
    body: '<R><CreateChangeSetResult><Id>arn:set</Id><StackId>arn:s</StackId></CreateChangeSetResult></R>',
  },
  DescribeChangeSet: {
    status: 200,
    body: '<R><DescribeChangeSetResult><Status>CREATE_COMPLETE</Status></DescribeChangeSetResult></R>',
  },
};

/** Listens on loopback as CloudFormation; `requests` are those that came. */
async function playCloudFormation() {
  const requests: URLSearchParams[] = [];
  const server = createServer(async (request, response) => {
    const parameters = new URLSearchParams(await text(request));
    requests.push(parameters);
    const { status, body } = answers[parameters.get('Action') ?? ''] ?? { status: 404, body: '' };
    response.writeHead(status).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { requests, server, url: `http://127.0.0.1:${address.port}` };
}

toolTest(
  tools,
  'aws cloudformation deploy sends the template that is built as it is, without a bucket to put it in',
  async () => {
    const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-'));
    const { requests, server, url } = await playCloudFormation();
    try {
      await buildPublisher(dir);
      const args = [
        '-m',
        'awscli',
        '--endpoint-url',
        url,
        'cloudformation',
        'deploy',
        '--no-execute-changeset',
      ];
      args.push('--template-file', join(dir, 'template.yaml'), '--stack-name', 'shadow-agent');
      args.push('--capabilities', 'CAPABILITY_IAM', '--parameter-overrides', 'BucketName=files');
      const keys = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret' };
      const env = { ...process.env, ...keys, AWS_DEFAULT_REGION: 'us-east-1' };
      const child = spawn(tools[0]?.path ?? 'python3', args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
      const [stderr, exitCode] = await Promise.all([
        text(child.stderr),
        new Promise((resolve) => child.once('close', resolve)),
      ]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      const created = requests.find((parameters) => parameters.get('Action') === 'CreateChangeSet');
      expect(created?.get('TemplateBody')).toBe(await readFile(join(dir, 'template.yaml'), 'utf8'));
      expect(created?.get('Parameters.member.1.ParameterValue')).toBe('files');
    } finally {
      server.close();
      await rm(dir, { recursive: true, force: true });
    }
  },
  120_000,
);
