/** Every command that the documents show is run, here or by the one that is named, and none stands there that is not. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Board, boards } from './support/board.ts';
import { pythonClients } from './support/clients-python.ts';
import { ClientsSandbox } from './support/clients-sandbox.ts';
import { blockOf, commandsIn, inlineOf, shellBlocks } from './support/documents.ts';
import { fileOf, program, toolTest } from './support/tools.ts';
import { executable, sha256, until } from './support/world.ts';

const repository = dirname(import.meta.dir);

/** Who runs the commands of a section: the file takes them from there. */
const runBy: Record<string, string> = {
  'shadow-agent': '.ci/run',
  'Set up AWS': 'test/documents.test.ts',
  'When an upload fails': 'test/documents.test.ts',
  Fleets: 'test/documents.test.ts',
  'On a board': 'test/documents.test.ts',
  'Signed files': 'test/documents.test.ts',
  Rollback: 'test/scenarios/rollback.test.ts',
  'Update the agent itself': 'test/scenarios/self-update.test.ts',
  'The sandbox': 'test/documents.test.ts',
};

/** Who runs the commands within the text, by how they begin. */
const inlineRunBy: Record<string, string> = {
  'aws s3api put-object --checksum-algorithm SHA256': 'test/documents.test.ts',
  'bash .ci/run': '.github/workflows/ci.yml',
  'bun run bench check': '.ci/run',
  'bun run bench delta': 'test/benches.test.ts',
  'bun run bench fleet': 'test/benches.test.ts',
  'bun run bench growth': 'test/benches.test.ts',
  'bun run bench idle': 'test/benches.test.ts',
  'bun run bench soak --seconds ': '.ci/run',
  'bun run bench speed': 'test/benches.test.ts',
  'bun run bench transfer': '.ci/run',
  'bun run build': '.github/workflows/ci.yml',
  'bun run check': '.ci/run',
  'bun run demo --keep': 'test/documents.test.ts',
  'bun run demo': '.ci/run',
  'bun run sandbox': 'test/documents.test.ts',
  'bun run test': '.ci/run',
  'openssl pkeyutl -sign -rawin': 'test/documents.test.ts',
  'zstd -19 shadow-agent': 'test/readme.test.ts',
  'zstd -d --rm shadow-agent.zst && chmod +x shadow-agent': 'test/readme.test.ts',
};

/** What looks like a command and is the name of something: a row of a table, a step of a picture, a level of zstd. */
const names = ['aws s3 cp', 'curl \\| tee \\| openssl', 'zstd -19'];

const own = 'test/documents.test.ts';
const documents = globSync('**/*.md', {
  exclude: (path) => ['node_modules', 'dist', '.git', '.demo', '.sandbox'].includes(path),
});

test('every block of commands has somebody who takes it from its section and runs it', async () => {
  expect(documents).toContain('README.md');
  const sections = documents.flatMap(shellBlocks).map(({ section }) => section);
  expect(sections.toSorted()).toEqual(Object.keys(runBy).toSorted());
  for (const [section, path] of Object.entries(runBy)) {
    const uses = (await readFile(path, 'utf8')).split(`'${section}'`).length - 1;
    if (path !== '.ci/run')
      expect(uses, section).toBeGreaterThanOrEqual(path === own && section.includes(' ') ? 2 : 1);
  }
});

test('every command within the text has somebody who runs it', async () => {
  // The changelog tells what was, not what to type.
  const told = documents.filter((path) => path !== 'CHANGELOG.md').flatMap(inlineOf);
  const commands = commandsIn(told).filter((code) => !names.includes(code));
  expect(commands.length).toBeGreaterThan(10);
  const known = Object.keys(inlineRunBy);
  expect(commands.filter((code) => !known.some((start) => code.startsWith(start)))).toEqual([]);
  expect(known.filter((start) => !commands.some((code) => code.startsWith(start)))).toEqual([]);
  for (const [start, path] of Object.entries(inlineRunBy)) {
    const text = (await readFile(path, 'utf8')).replaceAll('bun@1.4.5', 'bun');
    // The list above is one place in this file; the test is another.
    const least = path === own ? 2 : 1;
    expect(text.split(wordsOf(start, path)).length - 1, start).toBeGreaterThanOrEqual(least);
  }
});

/** What whoever runs a command says of it. */
function wordsOf(start: string, path: string): string {
  if (path === 'test/benches.test.ts') return `bench('${start.split(' ').at(-1)}'`;
  // These are taken from the text.
  return start.startsWith('zstd') ? 'zstd ' : start;
}

test('the commands to begin with are those of package.json, and CI runs them', async () => {
  const script = await readFile('.ci/run', 'utf8');
  const { scripts } = JSON.parse(await readFile('package.json', 'utf8'));
  const commands = blockOf('shadow-agent')
    .split('\n')
    .map((line) => line.replace(/ +#.*/, ''));
  expect(commands).toEqual(['demo', 'test'].map((name) => `npx -y bun@1.4.5 run ${name}`));
  for (const name of ['demo', 'test']) {
    expect(Object.keys(scripts)).toContain(name);
    expect(script).toContain(`bun run ${name}\n`);
  }
});

test('the demo that is kept runs until Ctrl-C, and says what to play', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-demo-'));
  const command = 'bun run demo --keep';
  const args = command.replace('bun run demo', join(repository, 'src/sandbox/demo.ts')).split(' ');
  const child = spawn(process.execPath, args, { cwd: dir, stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const closed = once(child, 'close');
    await until('what to play', () => output.includes('Stop with Ctrl-C.') || child.exitCode !== null);
    child.kill('SIGINT');
    const [code] = await closed;
    expect(output).toContain('It works.');
    expect(code).toBe(0);
  } finally {
    child.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  }
}, 120_000);

const python = await pythonClients();
const qemu = program('qemu-aarch64-static', 'qemu-user-static');
const boardTools = [boards(), qemu, fileOf('/usr/aarch64-linux-gnu/lib', 'libc6-arm64-cross'), ...python];

/** A directory in which the reader types, with what the machine of a reader has in PATH. */
class Desk {
  readonly dir: string;
  readonly bin: string;
  readonly #env: Record<string, string | undefined>;

  private constructor(dir: string, path: string, env: Record<string, string>) {
    this.dir = dir;
    this.bin = join(dir, 'bin');
    this.#env = { HOME: dir, LANG: 'C.UTF-8', NO_PROXY: '*', ...env, PATH: `${this.bin}:${path}` };
  }

  static async create(path = process.env['PATH'] ?? '', env: Record<string, string> = {}): Promise<Desk> {
    const desk = new Desk(await mkdtemp(join(tmpdir(), 'shadow-agent-desk-')), path, env);
    await mkdir(desk.bin);
    await symlink(join(repository, 'src'), join(desk.dir, 'src'));
    return desk;
  }

  async program(name: string, body: string): Promise<void> {
    await writeFile(join(this.bin, name), `#!/bin/sh\n${body}\n`);
    await chmod(join(this.bin, name), 0o755);
  }

  /** Types commands; the first one that fails ends it. */
  async type(commands: string, env: Record<string, string> = {}): Promise<string> {
    const child = spawn('sh', ['-ec', commands], { cwd: this.dir, env: { ...this.#env, ...env } });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`exit ${code} of:\n${commands}\n${output}`);
    return output;
  }

  close(): Promise<void> {
    return rm(this.dir, { recursive: true, force: true });
  }
}

describe('the sandbox', () => {
  let clients: ClientsSandbox;
  beforeAll(async () => {
    clients = await ClientsSandbox.start();
    await clients.sandbox.device('test-thing');
  });
  afterAll(() => clients.close());

  toolTest(
    python,
    'takes the commands of its section',
    async () => {
      const desk = await Desk.create();
      try {
        await symlink(clients.sandbox.dir, join(desk.dir, '.sandbox'));
        await writeFile(join(desk.dir, 'FILE'), 'hoge\n');
        await desk.program('aws', `exec ${python[0]?.path} -m awscli "$@"`);
        const commands = blockOf('The sandbox')
          .replaceAll('bun run sandbox', `${process.execPath} src/sandbox/main.ts`)
          .replace('[s3://bucket/key]', '');
        const output = await desk.type(commands);
        expect(output).toContain('/FILE');
        const put = 'aws s3api put-object --checksum-algorithm SHA256';
        await desk.type(
          `. .sandbox/env && ${put} --bucket 123456789012-iot-test-files --key own --body FILE`,
        );
        await clients.sandbox.lambdas.idle();
        expect(JSON.stringify(clients.sandbox.shadow('test-thing'))).toContain('/own');
        expect(output).toContain('123456789012-iot-test-files');
      } finally {
        await desk.close();
      }
    },
    120_000,
  );
});

/** Types the commands of a section to the AWS CLI, against a service that answers each operation so. */
async function typeToAws(section: string, answers: Record<string, string>) {
  const asked: Array<[operation: string, body: string]> = [];
  const service = createServer(async (request, response) => {
    const body = await text(request);
    const target = String(request.headers['x-amz-target'] ?? '');
    const operation = target.split('.').at(-1) || (/Action=(\w+)/.exec(body)?.[1] ?? '');
    asked.push([operation, body]);
    response.end(answers[operation] ?? '');
  }).listen(0, '127.0.0.1');
  await once(service, 'listening');
  const address = service.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const desk = await Desk.create();
  try {
    // The variable for it does not lead SQS.
    const endpoint = `--endpoint-url http://127.0.0.1:${port}`;
    await desk.program('aws', `exec ${python[0]?.path} -m awscli ${endpoint} "$@"`);
    const output = await desk.type(blockOf(section), {
      AWS_ACCESS_KEY_ID: 'a',
      AWS_SECRET_ACCESS_KEY: 'b',
      AWS_DEFAULT_REGION: 'us-east-1',
    });
    return { output, asked };
  } finally {
    service.close();
    await desk.close();
  }
}

describe('the commands for signed files', () => {
  let desk: Desk;
  beforeAll(async () => {
    desk = await Desk.create();
    await desk.program('shadow-agent', `exec ${await executable()} "$@"`);
    await desk.program('aws', 'printf "%s\\n" "$@" >>asked');
    await writeFile(join(desk.dir, 'model.bin'), 'hoge\n');
    await writeFile(join(desk.dir, 'release.sh'), blockOf('Signed files').replace(/^.*keygen.*\n/m, ''));
  });
  afterAll(() => desk.close());

  test('make a key, sign and upload', async () => {
    const output = await desk.type(blockOf('Signed files'));
    expect(output).toContain('Public key: ');
    const asked = (await readFile(join(desk.dir, 'asked'), 'utf8')).split('\n');
    expect(asked.slice(0, 5)).toEqual(['s3', 'cp', 'model.bin', 's3://bucket/model.bin', '--metadata']);
  });

  toolTest([program('openssl')], 'have the same signature as what is told of for other signers', async () => {
    const sign =
      'shadow-agent sign model.bin --key signing.key --property s3 --to s3://bucket/key --sequence 7';
    const message = ['shadow-agent file signature v1', sha256('hoge\n'), '7', 's3'].join('\n');
    await writeFile(join(desk.dir, 'message'), message);
    await desk.type('openssl pkeyutl -sign -rawin -inkey signing.key -in message -out signature');
    const signature = (await readFile(join(desk.dir, 'signature'))).toString('base64');
    expect(await desk.type(sign)).toContain(`shadow-agent-signature=${signature},shadow-agent-sequence=7`);
  });

  test('fail in a script, with set -e or without, where the file cannot be signed', async () => {
    const before = await readFile(join(desk.dir, 'asked'), 'utf8');
    await rm(join(desk.dir, 'model.bin'));
    for (const shell of ['sh', 'sh -e']) {
      const failed = await desk.type(`${shell} release.sh`).catch((error: unknown) => String(error));
      expect(failed).toMatch(/exit [12] of:[\s\S]*error: .*model\.bin/);
    }
    expect(await readFile(join(desk.dir, 'asked'), 'utf8')).toBe(before);
  });
});

toolTest(
  python,
  'the AWS CLI takes the commands for fleets',
  async () => {
    const answers = { GetServiceQuota: '{"Quota":{"Value":400}}' };
    const { output, asked } = await typeToAws('Fleets', answers);
    expect(output).toBe('400\n');
    expect(asked.map(([operation]) => operation)).toEqual(['GetServiceQuota']);
  },
  60_000,
);

toolTest(
  python,
  'the AWS CLI takes the command that moves dead letters back, of the queue that the stack names',
  async () => {
    const arn = 'arn:aws:sqs:us-east-1:123456789012:dead';
    const outputs = ['PublisherDeadLetters', 'PagesDeadLetters'].map(
      (key) => `<member><OutputKey>${key}</OutputKey><OutputValue>${arn}-${key}</OutputValue></member>`,
    );
    const stack = `<StackName>shadow-agent</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>${outputs.join('')}</Outputs>`;
    const { asked } = await typeToAws('When an upload fails', {
      DescribeStacks: `<DescribeStacksResponse><DescribeStacksResult><Stacks><member>${stack}</member></Stacks></DescribeStacksResult></DescribeStacksResponse>`,
      StartMessageMoveTask: '{"TaskHandle":"x"}',
    });
    expect(asked.map(([operation]) => operation)).toEqual(['DescribeStacks', 'StartMessageMoveTask']);
    expect(JSON.parse(asked[1]?.[1] ?? '')).toEqual({ SourceArn: `${arn}-PagesDeadLetters` });
    const template = await readFile('src/cloud/template.yaml', 'utf8');
    expect(template).toMatch(/^ {2}PagesDeadLetters:/m);
  },
  60_000,
);

describe('a reader of the README', () => {
  toolTest(
    boardTools,
    'gets from nothing to a file on an arm64 board, and to a service there',
    async () => {
      const clients = await ClientsSandbox.start();
      const board = await Board.start(qemu.path);
      const desk = await Desk.create(`${board.bin}:${process.env['PATH']}`);
      try {
        await aws(desk, clients);
        const arm64 = await executable('linux-arm64');
        await desk.program('npx', `shift 2; exec bun "$@"`);
        await desk.program(
          'bun',
          `[ "$*" = "run build --target linux-arm64" ] && mkdir -p dist && cp ${arm64} dist/`,
        );

        const [make, use] = split(blockOf('Set up AWS'), 'scp ');
        await desk.type(make);
        await pointAtSandbox(desk, clients);
        expect(await desk.type(use)).toContain('hoge\n');

        await desk.type('ssh board "pkill -f [t]est-thing/agent"; rm -r dist/test-thing');
        await desk.type(provision(make), { FILE: '/var/lib/app/model.bin' });
        await pointAtSandbox(desk, clients);
        const [install, look] = split(blockOf('On a board'), 'ssh board shadow-agent status');
        const output = await desk.type(install);
        expect(output).toMatch(/^ok {4}s3 .*\/test\.txt is there/m);
        // The service has just been started, and may be connected before the shadow has answered.
        const tries = `for try in $(seq 60); do ${look.trim()} >status && grep -q current status && break; sleep 0.5; done; cat status`;
        const status = await desk.type(tries);
        expect(status).toContain('/var/lib/app/model.bin');
        expect(status).toContain('current');
        expect(await desk.type('ssh board cat /var/lib/app/model.bin')).toBe('hoge\n');
        expect(await desk.type('ssh board stat -c %U /var/lib/app/model.bin')).toBe('shadow-agent\n');
      } finally {
        await board.stop();
        await desk.close();
        await clients.close();
      }
    },
    300_000,
  );
});

/** The `aws` of the reader: the sandbox knows S3; what it does not know (CloudFormation, IoT's control plane) is played. */
async function aws(desk: Desk, { sandbox }: ClientsSandbox): Promise<void> {
  const { configPath } = await sandbox.device('test-thing');
  const { endpoint, credentialEndpoint } = JSON.parse(await readFile(configPath, 'utf8'));
  const given = join(desk.dir, 'given');
  await cp(dirname(configPath), given, { recursive: true });
  await copyFile(join(sandbox.dir, 'ca.pem'), join(given, 'ca.pem'));
  await desk.program('curl', `for last; do :; done; cp ${given}/ca.pem "$last"`);
  await desk.program(
    'aws',
    `case "$*" in
  s3*) . ${sandbox.dir}/env && exec ${python[0]?.path} -m awscli "$@" ;;
  "cloudformation deploy"*) [ "$4" = dist/template.yaml ] ;;
  *"'Bucket'"*) echo 123456789012-iot-test-files ;;
  *"'DevicePolicy'"*) echo shadow-agent-device ;;
  *"'RoleAlias'"*) echo ${String(credentialEndpoint).split('/').at(-2)} ;;
  *"'Property'"*) echo s3 ;;
  *iot:Data-ATS*) echo ${endpoint} ;;
  *iot:CredentialProvider*) echo ${String(credentialEndpoint).split('/')[0]} ;;
  *create-keys-and-certificate*)
    while [ $# -gt 0 ]; do
      [ "$1" = --certificate-pem-outfile ] && cp ${given}/certificate.pem "$2"
      [ "$1" = --private-key-outfile ] && cp ${given}/private.key "$2"
      shift
    done
    echo arn:aws:iot:us-east-1:123456789012:cert/abc ;;
esac`,
  );
}

/** What a device of AWS need not be told: where S3 is, in which region, and whom it is to trust. */
async function pointAtSandbox(desk: Desk, { sandbox }: ClientsSandbox): Promise<void> {
  const path = join(desk.dir, 'dist/test-thing/agent.json');
  const config = JSON.parse(await readFile(path, 'utf8'));
  const s3 = { region: 'us-east-1', endpoint: sandbox.endpoints.s3, ca: 'AmazonRootCA1.pem' };
  await writeFile(path, JSON.stringify({ ...config, s3 }));
}

/** Parts a block in front of the first line that begins so. */
function split(block: string, start: string): [string, string] {
  const at = block.search(new RegExp(`^${start}`, 'm'));
  if (at < 0) throw new Error(`no line begins with ${start}`);
  return [block.slice(0, at), block.slice(at)];
}

function provision(block: string): string {
  return block.slice(block.indexOf('src/cloud/provision.sh'));
}
