/** dist/publisher.zip: what is in it, that it is the same each time, and that it runs on Node as Lambda runs it. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { crc32 } from 'node:zlib';
import { buildPublisher } from '../../build.ts';
import { zip } from '../../src/cloud/zip.ts';
import type { JsonValue } from '../../src/core/json.ts';
import { bucketName, Sandbox } from '../../src/sandbox/sandbox.ts';
import { program, toolTest } from '../support/tools.ts';
import { sha256 } from '../support/world.ts';

const node = program('node', 'nodejs');
const unzip = program('unzip');
const project = join(import.meta.dirname, '../..');
/** Under the project, so that Node finds AWS's clients, which are in Lambda's runtime. */
const work = join(project, 'dist/package-test');
let packed: Buffer;
let sandbox: Sandbox;

beforeAll(async () => {
  await mkdir(work, { recursive: true });
  packed = await readFile(await buildPublisher(work));
  await writeFile(join(work, 'index.mjs'), content(packed));
  sandbox = await Sandbox.start({ dir: await mkdtemp(join(tmpdir(), 'shadow-agent-')) });
});
afterAll(async () => {
  await sandbox.close();
  await rm(sandbox.dir, { recursive: true, force: true });
  await rm(work, { recursive: true, force: true });
});

/** The only file of an archive that is not compressed. */
function content(archive: Buffer): Buffer {
  const start = 30 + archive.readUInt16LE(26) + archive.readUInt16LE(28);
  return archive.subarray(start, start + archive.readUInt32LE(18));
}

test('the same sources give the same bytes, wherever they are written', async () => {
  const again = await buildPublisher(join(work, 'again'));
  expect(sha256(await readFile(again))).toBe(sha256(packed));
});

test('it holds one module, which imports AWS clients and nothing else that is not in Node', () => {
  const code = content(packed).toString();
  expect(packed.readUInt32LE(14)).toBe(crc32(content(packed)));
  const imported = [...code.matchAll(/from "([^"]+)";/g)].map(([, name = '']) => name);
  const others = imported.filter((name) => !name.startsWith('@aws-sdk/client-') && !name.startsWith('node:'));
  expect(imported.length).toBeGreaterThan(4);
  expect(others).toEqual([]);
  const [, exported = ''] = /export \{([^}]*)\};\s*$/.exec(code) ?? [];
  expect(exported.match(/\w+(?=,|\s*$)/g)?.sort()).toEqual(['publish', 'write']);
});

toolTest([unzip], 'unzip takes an archive of ours, with names and bytes of every kind', async () => {
  const files = [
    { name: 'empty', content: new Uint8Array() },
    { name: 'dir/ünï.bin', content: new Uint8Array(70_000).map((_, index) => index) },
  ];
  const path = join(work, 'archive.zip');
  await writeFile(path, zip(files));
  const child = spawn(unzip.path, ['-q', '-o', path, '-d', join(work, 'out')], { stdio: 'inherit' });
  expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
  for (const file of files) {
    expect(sha256(await readFile(join(work, 'out', file.name)))).toBe(sha256(file.content));
  }
});

/** Calls a handler in a process of its own; what it returns is the last line. */
async function invoke(handler: 'publish' | 'write', event: JsonValue, settings: Record<string, string>) {
  const script = `
    import { ${handler} } from ${JSON.stringify(join(work, 'index.mjs'))};
    const answer = await ${handler}(JSON.parse(process.env.EVENT));
    console.log(JSON.stringify(answer ?? null));`;
  const { endpoints, operator, dir } = sandbox;
  const env = {
    ...{ AWS_REGION: 'us-east-1', NODE_EXTRA_CA_CERTS: join(dir, 'ca.pem'), EVENT: JSON.stringify(event) },
    ...{ AWS_ACCESS_KEY_ID: operator.accessKeyId, AWS_SECRET_ACCESS_KEY: operator.secretAccessKey },
    ...{ AWS_ENDPOINT_URL_S3: endpoints.s3, AWS_ENDPOINT_URL_IOT_DATA_PLANE: endpoints.dataPlane },
    ...{ AWS_ENDPOINT_URL_IOT: endpoints.controlPlane, AWS_ENDPOINT_URL_SQS: endpoints.controlPlane },
    ...settings,
  };
  const child = spawn(node.path, ['--input-type=module', '-e', script], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, err, exitCode] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise((resolve) => child.once('close', resolve)),
  ]);
  return { exitCode, err, answer: out.trim().split('\n').at(-1) };
}

function eventFor(key: string): JsonValue {
  return {
    source: 'aws.s3',
    'detail-type': 'Object Created',
    time: '2021-11-12T00:00:00Z',
    detail: { bucket: { name: bucketName }, object: { key, size: 5, sequencer: '00617F08299329D189' } },
  };
}

toolTest(
  [node],
  'on Node the module publishes to things and groups, set up by its environment alone',
  async () => {
    await sandbox.s3.store.put(bucketName, 'groups/fleet/hoge.txt', 'hoge\n');
    await sandbox.lambdas.idle();
    sandbox.groups.add('fleet', ['a', 'b']);
    const queueUrl = `${sandbox.endpoints.controlPlane}/123456789012/shadow-agent`;
    const settings = { TARGET: 'key', PROPERTY: 's3', SHADOW_NAME: 'files', QUEUE_URL: queueUrl };
    const published = await invoke('publish', eventFor('groups/fleet/hoge.txt'), settings);
    expect(published).toMatchObject({ exitCode: 0 });
    await sandbox.lambdas.idle();
    for (const thing of ['a', 'b']) {
      expect(sandbox.shadow(thing, 'files')?.['state']).toMatchObject({
        desired: { s3: { hash: sha256('hoge\n'), size: 5 } },
      });
    }
  },
);

toolTest([node], 'on Node the writer answers which messages are to come again', async () => {
  const event = { Records: [{ messageId: 'm1', body: 'nonsense', eventSource: 'aws:sqs' }] };
  const written = await invoke('write', event, {
    QUEUE_URL: 'https://sqs.invalid/q',
    REQUESTS_PER_SECOND: '10',
  });
  expect(written.answer).toBe('{"batchItemFailures":[{"itemIdentifier":"m1"}]}');
});

toolTest([node], 'what the environment lacks is named', async () => {
  const { exitCode, err } = await invoke('publish', eventFor('key'), { TARGET: 'key' });
  expect(exitCode).not.toBe(0);
  expect(err).toContain('The environment variable PROPERTY is not set');
});
