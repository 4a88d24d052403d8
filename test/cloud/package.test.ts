/** dist/publisher.zip and dist/template.yaml: what is in them, the same each time, and that it runs on Node as in Lambda. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawn, spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { crc32 } from 'node:zlib';
import { buildPublisher } from '../../build.ts';
import { withCode } from '../../src/cloud/package.ts';
import { formatPage } from '../../src/cloud/release.ts';
import { zip } from '../../src/cloud/zip.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { bucketName, Sandbox } from '../../src/sandbox/sandbox.ts';
import { readTemplate, resourcesOf } from '../support/cloudformation.ts';
import { publication } from '../support/played-shadows.ts';
import { program, toolTest } from '../support/tools.ts';
import { sha256 } from '../support/world.ts';

const node = program('node', 'nodejs');
const unzip = program('unzip');
const cfnLint = program('cfn-lint', 'python3-pip (then: pip install cfn-lint)');
const project = join(import.meta.dirname, '../..');
/** Under the project, so that Node finds AWS's clients, which are in Lambda's runtime. */
const work = join(project, 'dist/package-test');
let packed: Buffer;
let template: JsonObject;
let sandbox: Sandbox;

beforeAll(async () => {
  await mkdir(work, { recursive: true });
  await buildPublisher(work);
  packed = await readFile(join(work, 'publisher.zip'));
  await writeFile(join(work, 'index.mjs'), content(packed));
  template = await readTemplate(join(work, 'template.yaml'));
  // Where Lambda puts inline code, no package.json makes an ES module of it.
  await mkdir(join(work, 'inline'));
  await writeFile(join(work, 'inline/package.json'), '{}');
  await writeFile(join(work, 'inline/index.js'), inlineCode('Publisher'));
  sandbox = await Sandbox.start({ dir: await mkdtemp(join(tmpdir(), 'shadow-agent-')) });
});
afterAll(async () => {
  await sandbox.close();
  await rm(sandbox.dir, { recursive: true, force: true });
  await rm(work, { recursive: true, force: true });
});

/** What the template has CloudFormation write into index.js of a function. */
function inlineCode(name: 'Publisher' | 'Writer'): string {
  const resource = resourcesOf(template, { BucketName: 'files', Target: 'group' })[name];
  return JSON.parse(JSON.stringify(resource)).Properties.Code.ZipFile;
}

/** The only file of an archive that is not compressed. */
function content(archive: Buffer): Buffer {
  const start = 30 + archive.readUInt16LE(26) + archive.readUInt16LE(28);
  return archive.subarray(start, start + archive.readUInt32LE(18));
}

test('the same sources give the same bytes, wherever they lie, whoever builds, and wherever they are written', async () => {
  const elsewhere = join(work, 'elsewhere');
  for (const name of ['src', 'build.ts', 'package.json', 'tsconfig.json']) {
    await cp(join(project, name), join(elsewhere, name), { recursive: true });
  }
  await symlink(join(project, 'node_modules'), join(elsewhere, 'node_modules'));
  const script = `await (await import(${JSON.stringify(join(elsewhere, 'build.ts'))})).buildPublisher(process.argv[1])`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', script, join(work, 'again')], {
    cwd: tmpdir(),
    env: { ...process.env, NODE_ENV: 'production', TZ: 'Asia/Tokyo' },
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  for (const name of ['publisher.zip', 'template.yaml']) {
    const [first, again] = await Promise.all(
      [join(work, name), join(work, 'again', name)].map((path) => readFile(path)),
    );
    expect([name, sha256(again ?? '')]).toEqual([name, sha256(first ?? 'none')]);
  }
});

test('the archive tells no time but the first day of its format', () => {
  const midnight = 0;
  const firstOf1980 = (1 << 5) | 1;
  const directory = packed.readUInt32LE(packed.length - 6);
  // The time lies at 10 in a local header, at 12 in the directory; behind it the date.
  for (const time of [10, directory + 12]) {
    expect([packed.readUInt16LE(time), packed.readUInt16LE(time + 2)]).toEqual([midnight, firstOf1980]);
  }
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

test('the template that is built is the one of the sources with the code of both functions in it', async () => {
  const given = { BucketName: 'files', Target: 'group' };
  const sources = resourcesOf(await readTemplate(join(project, 'src/cloud/template.yaml')), given);
  const built = resourcesOf(template, given);
  expect(Object.keys(built)).toEqual(Object.keys(sources));
  for (const [name, resource] of Object.entries(sources)) {
    const withoutCode = JSON.parse(JSON.stringify(built[name]));
    if (withoutCode.Type === 'AWS::Lambda::Function')
      withoutCode.Properties.Code = '../../dist/publisher.zip';
    expect(withoutCode).toEqual(resource);
  }
  expect(inlineCode('Writer')).toBe(inlineCode('Publisher'));
  const required = [...inlineCode('Writer').matchAll(/\brequire\("([^"]+)"\)/g)].map(([, name = '']) => name);
  expect(required.length).toBeGreaterThan(4);
  expect(required.filter((name) => !/^(@aws-sdk\/client-|node:)/.test(name))).toEqual([]);
});

test('code comes through the template unchanged, and a template too large for CloudFormation is refused', () => {
  const source = '# a comment\n      Code: ../../dist/publisher.zip\n';
  const [, text = ''] = /ZipFile: (".*") \}/.exec(withCode(source, '"\'$& $1\n\\`')) ?? [];
  expect(JSON.parse(text)).toBe('"\'$& $1\n\\`');
  expect(withCode(source, '')).not.toContain('comment');
  expect(() => withCode(source, 'x'.repeat(51_200))).toThrow('CloudFormation takes 51200 without a bucket');
});

toolTest([cfnLint], 'cfn-lint finds nothing in the template that is built', () => {
  const { status, stdout } = spawnSync(cfnLint.path, [join(work, 'template.yaml')], { encoding: 'utf8' });
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
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

/** Calls a handler once, in a process of its own: what it returned, and how long it took. */
async function invoke(
  module: string,
  handler: 'publish' | 'write',
  event: JsonValue,
  settings: Record<string, string>,
) {
  // Lambda's runtime requires what is called .js, and imports what is called .mjs.
  const load = module.endsWith('.mjs') ? 'await import' : '(await import("node:module")).createRequire("/")';
  const script = `
    const { ${handler} } = ${load}(${JSON.stringify(join(work, module))});
    const startMs = performance.now();
    const answer = await ${handler}(JSON.parse(process.env.EVENT));
    console.log(performance.now() - startMs);
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
  const [elapsedMs, answer] = out.trim().split('\n').slice(-2);
  return { exitCode, err, answer, elapsedMs: Number(elapsedMs) };
}

function eventFor(key: string): JsonValue {
  return {
    source: 'aws.s3',
    'detail-type': 'Object Created',
    time: '2021-11-12T00:00:00Z',
    detail: { bucket: { name: bucketName }, object: { key, size: 5, sequencer: '00617F08299329D189' } },
  };
}

describe.each(['index.mjs', 'inline/index.js'])('on Node %s', (module) => {
  toolTest([node], 'it publishes to things and groups, set up by its environment alone', async () => {
    await sandbox.s3.store.put(bucketName, 'groups/fleet/hoge.txt', 'hoge\n');
    await sandbox.lambdas.idle();
    sandbox.groups.add('fleet', ['a', 'b']);
    const queueUrl = `${sandbox.endpoints.controlPlane}/123456789012/shadow-agent`;
    const settings = { TARGET: 'key', PROPERTY: 's3', SHADOW_NAME: 'files', QUEUE_URL: queueUrl };
    const published = await invoke(module, 'publish', eventFor('groups/fleet/hoge.txt'), settings);
    expect(published).toMatchObject({ exitCode: 0 });
    await sandbox.lambdas.idle();
    for (const thing of ['a', 'b']) {
      expect(sandbox.shadow(thing, 'files')?.['state']).toMatchObject({
        desired: { s3: { hash: sha256('hoge\n'), size: 5 } },
      });
    }
  });

  toolTest([node], 'the writer answers which messages are to come again', async () => {
    const event = { Records: [{ messageId: 'm1', body: 'nonsense', eventSource: 'aws:sqs' }] };
    const written = await invoke(module, 'write', event, {
      QUEUE_URL: 'https://sqs.invalid/q',
      REQUESTS_PER_SECOND: '10',
    });
    expect(written.answer).toBe('{"batchItemFailures":[{"itemIdentifier":"m1"}]}');
  });

  toolTest([node], 'what the environment lacks is named', async () => {
    const { exitCode, err } = await invoke(module, 'publish', eventFor('key'), { TARGET: 'key' });
    expect(exitCode).not.toBe(0);
    expect(err).toContain('The environment variable PROPERTY is not set');
  });
});

describe('as deployed', () => {
  const module = 'inline/index.js';
  const toThing = { TARGET: 'things/board', PROPERTY: 's3' };

  /** Puts an object, and waits until the sandbox's own publisher is done with it. */
  async function put(key: string): Promise<void> {
    await sandbox.s3.store.put(bucketName, key, 'hoge\n');
    await sandbox.lambdas.idle();
  }

  toolTest(
    [node],
    'the writer sends as many requests a second as the environment says, and no more',
    async () => {
      const things = ['paced-1', 'paced-2', 'paced-3'];
      for (const thing of things) sandbox.desire(thing, {});
      const body = formatPage({ ...publication, things });
      const event = { Records: [{ messageId: 'm1', body, eventSource: 'aws:sqs' }] };
      const settings = { QUEUE_URL: 'https://sqs.invalid/q', REQUESTS_PER_SECOND: '4' };
      const { answer, elapsedMs } = await invoke(module, 'write', event, settings);
      expect(answer).toBe('{"batchItemFailures":[]}');
      // A read and a write of each: five waits of a quarter second, of which a timer may fall short by a little.
      expect(elapsedMs).toBeGreaterThan(1240);
    },
  );

  toolTest([node], 'the publisher outlasts a burst of throttling within one call', async () => {
    await put('burst.txt');
    sandbox.faults.set('data-plane-429', 1, 3);
    const published = await invoke(module, 'publish', eventFor('burst.txt'), toThing);
    expect(published).toMatchObject({ exitCode: 0 });
    expect(sandbox.faults.peek('data-plane-429')).toBeUndefined();
    expect(sandbox.shadow('board')?.['state']).toMatchObject({
      desired: { s3: { url: `s3://${bucketName}/burst.txt`, hash: sha256('hoge\n') } },
    });
  });

  toolTest(
    [node],
    'an object is asked for without the checksum that its body would be checked with again',
    async () => {
      await put('read.txt');
      const { length } = sandbox.s3.requests;
      const { exitCode } = await invoke(module, 'publish', eventFor('read.txt'), toThing);
      expect(exitCode).toBe(0);
      expect(sandbox.s3.requests.slice(length)).toMatchObject([
        { method: 'HEAD', checksumMode: 'ENABLED' },
        { method: 'GET', checksumMode: undefined },
      ]);
    },
  );
});
