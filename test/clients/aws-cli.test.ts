/** The AWS CLI, unchanged, with nothing but the shell variables that the sandbox writes. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bucketName } from '../../src/sandbox/sandbox.ts';
import { pythonClients } from '../support/clients-python.ts';
import { ClientsSandbox } from '../support/clients-sandbox.ts';
import { command, metadataOf } from '../support/signing.ts';
import { toolTest } from '../support/tools.ts';
import { executable, noise, Run, sha256 } from '../support/world.ts';

const tools = await pythonClients();
let clients: ClientsSandbox;

beforeAll(async () => {
  clients = await ClientsSandbox.start();
});
afterAll(() => clients.close());

/** Runs `aws …`; the first tool is the interpreter that has the CLI as a module. */
async function aws(...args: string[]) {
  return await clients.run(tools[0]?.path ?? 'python3', ['-m', 'awscli', ...args]);
}

/** What `aws …` prints; it must succeed, without a warning. */
async function output(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await aws(...args);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return stdout;
}

/** Each command is an interpreter that loads the whole CLI: a second of work, and more on a busy machine. */
function cliTest(name: string, play: () => Promise<void>): void {
  toolTest(tools, name, play, 120_000);
}

const url = (key: string) => `s3://${bucketName}/${key}`;

cliTest('aws s3 cp uploads a small file, which the shadow follows, and brings it back', async () => {
  await writeFile(clients.path('hoge.txt'), 'hoge\n');
  await output('s3', 'cp', clients.path('hoge.txt'), url('odd key+é/hoge.txt'));
  await clients.sandbox.lambdas.idle();
  expect(clients.sandbox.shadow('test-thing')?.['state']).toMatchObject({
    desired: { s3: { url: url('odd key+é/hoge.txt'), hash: sha256('hoge\n') } },
  });
  expect(await output('s3', 'cp', url('odd key+é/hoge.txt'), '-')).toBe('hoge\n');
});

cliTest('the tutorial: two times aws s3 cp, and the executable has the file', async () => {
  const device = await clients.sandbox.device('test-thing');
  const run = new Run(await executable(), ['--config', device.configPath], device.dir);
  try {
    for (const content of ['hoge\n', 'fuga\n']) {
      await writeFile(clients.path('test.txt'), content);
      await output('s3', 'cp', clients.path('test.txt'), url('test.txt'));
      await run.logged(`hash=${sha256(content)} bytes=5`);
      expect(await readFile(join(device.dir, 'tmpfile'), 'utf8')).toBe(content);
    }
    expect(await run.stop()).toBe(0);
  } finally {
    await run.stop('SIGKILL');
  }
});

cliTest('what shadow-agent sign prints uploads the file with its signature, as a shell runs it', async () => {
  const file = clients.path("an odd 'name' $HOME");
  await writeFile(file, 'signed\n');
  await command(clients.sandbox.dir, 'keygen', 'signing.key');
  const options = [
    '--key',
    'signing.key',
    '--property',
    's3',
    '--sequence',
    '7',
    '--to',
    url("it's $(here)"),
  ];
  const line = await command(clients.sandbox.dir, 'sign', file, ...options);
  const python = tools[0]?.path ?? 'python3';
  const shell = await clients.run('sh', ['-c', `aws() { '${python}' -m awscli "$@"; }\n${line}`]);
  expect({ exitCode: shell.exitCode, stderr: shell.stderr }).toEqual({ exitCode: 0, stderr: '' });
  const { metadata } = clients.sandbox.s3.store.head(bucketName, "it's $(here)");
  expect(metadata).toEqual(
    await metadataOf(clients.sandbox.dir, 'signed\n', { key: 'signing.key', sequence: 7 }),
  );
});

test('of two files that are signed one after the other, the later has the higher sequence, above all seconds', async () => {
  await command(clients.sandbox.dir, 'keygen', 'order.key');
  await writeFile(clients.path('release'), 'release\n');
  const sign = () =>
    command(clients.sandbox.dir, 'sign', clients.path('release'), '--key', 'order.key', '--property', 's3');
  const sequences: number[] = [];
  for (let count = 0; count < 4; count += 1) {
    sequences.push(Number(/shadow-agent-sequence=(\d+)\n$/.exec(await sign())?.[1]));
  }
  expect(sequences).toEqual([...new Set(sequences)].sort((one, other) => one - other));
  expect(sequences.every((sequence) => Number.isSafeInteger(sequence) && sequence > 1e12)).toBe(true);
});

cliTest('aws s3 cp uploads 20 MB in parts and downloads them in ranges', async () => {
  const content = noise(20_000_000);
  await writeFile(clients.path('large'), content);
  await output('s3', 'cp', '--no-progress', clients.path('large'), url('large'));
  await clients.sandbox.lambdas.idle();
  const { eTag, size } = clients.sandbox.s3.store.head(bucketName, 'large');
  expect([eTag.replaceAll('"', '').slice(32), size]).toEqual(['-3', 20_000_000]);
  expect(clients.sandbox.shadow('test-thing')?.['state']).toMatchObject({
    desired: { s3: { hash: sha256(content) } },
  });

  await output('s3', 'cp', '--no-progress', url('large'), clients.path('again'));
  expect(sha256(await readFile(clients.path('again')))).toBe(sha256(content));
  const { requests } = clients.sandbox.s3;
  const gets = requests.filter(
    ({ method, key, accessKeyId }) =>
      method === 'GET' && key === 'large' && accessKeyId === clients.sandbox.operator.accessKeyId,
  );
  expect(gets.map(({ status }) => status)).toEqual([206, 206, 206]);
});

cliTest('aws s3 ls, mv and rm see what is there', async () => {
  await clients.sandbox.s3.store.put(bucketName, 'dir/one', '1');
  const [buckets, top] = await Promise.all([output('s3', 'ls'), output('s3', 'ls', url('di'))]);
  expect(buckets).toMatch(new RegExp(`^[-\\d]+ [:\\d]+ ${bucketName}\n$`));
  expect(top).toMatch(/^ +PRE dir\/\n$/);
  await output('s3', 'mv', url('dir/one'), url('dir/two & <three>'));
  expect(await output('s3', 'ls', url('dir/'))).toMatch(/^[-\d]+ [:\d]+ +1 two & <three>\n$/);
  await output('s3', 'rm', '--recursive', url('dir/'));
  const { exitCode } = await aws('s3', 'ls', url('dir/'));
  expect(exitCode).toBe(1);
});

cliTest('aws s3api and s3 tell of errors by code and text', async () => {
  const [missing, bucket, head] = await Promise.all([
    aws('s3api', 'get-object', '--bucket', bucketName, '--key', 'none', 'out'),
    aws('s3', 'ls', 's3://no-such-bucket-here'),
    aws('s3', 'cp', url('none'), '-'),
  ]);
  expect(missing.stderr).toContain('An error occurred (NoSuchKey) when calling the GetObject operation');
  expect(bucket.stderr).toContain('(NoSuchBucket)');
  expect(head.stderr).toContain('(404) when calling the HeadObject operation');
});

cliTest('aws iot-data updates, gets, lists and deletes shadows', async () => {
  const thing = ['--thing-name', 'cli-thing'];
  const state = { desired: { a: 1 }, reported: { a: 0 } };
  /** Payloads go to a file, not to stdout. */
  const shadow = async (verb: string, ...args: string[]) => {
    await output('iot-data', `${verb}-thing-shadow`, ...thing, ...args, 'payload.json');
    return JSON.parse(await readFile(clients.path('payload.json'), 'utf8'));
  };
  const payload = ['--payload', JSON.stringify({ state })];
  expect(await shadow('update', ...payload)).toMatchObject({ state, version: 1 });
  expect(await shadow('get')).toMatchObject({ state: { ...state, delta: { a: 1 } }, version: 1 });
  await shadow('update', '--shadow-name', 'files', ...payload);
  const listed = await output('iot-data', 'list-named-shadows-for-thing', ...thing);
  expect(JSON.parse(listed).results).toEqual(['files']);
  expect(await shadow('delete')).toMatchObject({ version: 1 });
  const gone = await aws('iot-data', 'get-thing-shadow', ...thing, 'payload.json');
  expect(gone.stderr).toContain('(ResourceNotFoundException) when calling the GetThingShadow operation');
});
