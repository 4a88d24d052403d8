/** boto3, unchanged, with nothing but the shell variables that the sandbox writes. */
import { afterAll, beforeAll, expect } from 'bun:test';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as v from 'valibot';
import type { JsonObject } from '../../src/core/json.ts';
import { bucketName } from '../../src/sandbox/sandbox.ts';
import { pythonClients } from '../support/clients-python.ts';
import { ClientsSandbox } from '../support/clients-sandbox.ts';
import { toolTest } from '../support/tools.ts';
import { noise, sha256 } from '../support/world.ts';

const tools = await pythonClients();
const lineSchema = v.union([
  v.object({ answer: v.nullish(v.unknown()), error: v.optional(v.undefined()) }),
  v.object({ error: v.record(v.string(), v.unknown()) }),
]);
const versioned = 'versioned-files';
let clients: ClientsSandbox;
let peer: ReturnType<ClientsSandbox['spawn']> | undefined;
let lines: AsyncIterator<string> | undefined;

beforeAll(async () => {
  clients = await ClientsSandbox.start();
  clients.sandbox.s3.store.createBucket(versioned, { versioned: true });
  const [python] = tools;
  if (python?.found !== true) return;
  peer = clients.spawn(python.path, [join(import.meta.dir, 'boto3_peer.py')]);
  peer.stderr.pipe(process.stderr);
  lines = createInterface({ input: peer.stdout })[Symbol.asyncIterator]();
});
afterAll(async () => {
  peer?.stdin.end();
  if (peer !== undefined) await once(peer, 'close');
  await clients.close();
});

/** What a method of boto3 returned, or the code and status of its error. */
async function call(service: 's3' | 'iot-data', name: string, args: JsonObject): Promise<unknown> {
  if (peer === undefined || lines === undefined) throw new Error('boto3 was not started');
  peer.stdin.write(`${JSON.stringify({ service, call: name, arguments: args })}\n`);
  const { value, done } = await lines.next();
  if (done === true) throw new Error('boto3 has ended');
  const line = v.parse(lineSchema, JSON.parse(value));
  return line.error === undefined ? line.answer : { error: line.error };
}

const s3 = (name: string, Key: string, more: JsonObject = {}) =>
  call('s3', name, { Bucket: bucketName, Key, ...more });

toolTest(tools, 'get_object with Range is answered with that part, or with InvalidRange', async () => {
  await s3('put_object', 'ten', { Body: '0123456789' });
  expect(await s3('get_object', 'ten', { Range: 'bytes=3-5' })).toMatchObject({
    ...{ Body: { text: '345' }, ContentRange: 'bytes 3-5/10', ContentLength: 3 },
    ResponseMetadata: { HTTPStatusCode: 206 },
  });
  expect(await s3('get_object', 'ten', { Range: 'bytes=-4' })).toMatchObject({ Body: { text: '6789' } });
  expect(await s3('get_object', 'ten', { Range: 'bytes=10-' })).toMatchObject({
    error: { Code: 'InvalidRange', status: 416, ActualObjectSize: '10', RangeRequested: 'bytes=10-' },
  });
  expect(await s3('get_object', 'ten', { IfMatch: '"other"' })).toMatchObject({
    error: { Code: 'PreconditionFailed', status: 412, Condition: 'If-Match' },
  });
});

toolTest(tools, 'get_object with VersionId reads what was overwritten or deleted', async () => {
  const of = (name: string, more: JsonObject = {}) =>
    call('s3', name, { Bucket: versioned, Key: 'key', ...more });
  const put = v.object({ VersionId: v.string() });
  const one = v.parse(put, await of('put_object', { Body: 'one' }));
  const two = v.parse(put, await of('put_object', { Body: 'two' }));
  expect(await of('get_object')).toMatchObject({ Body: { text: 'two' }, ...two });
  expect(await of('get_object', one)).toMatchObject({ Body: { text: 'one' }, ...one });
  expect(await of('delete_object')).toMatchObject({ DeleteMarker: true });
  expect(await of('get_object')).toMatchObject({ error: { Code: 'NoSuchKey', status: 404 } });
  expect(await of('get_object', two)).toMatchObject({ Body: { text: 'two' } });
  const listed = await call('s3', 'list_object_versions', { Bucket: versioned });
  expect(listed).toMatchObject({ Versions: [two, one], DeleteMarkers: [{ Key: 'key', IsLatest: true }] });
});

toolTest(tools, 'upload_file and download_file carry 20 MB in parts and ranges', async () => {
  const content = noise(20_000_000);
  await writeFile(clients.path('large'), content);
  await call('s3', 'upload_file', { Filename: clients.path('large'), Bucket: bucketName, Key: 'large' });
  expect(await s3('head_object', 'large')).toMatchObject({
    ...{ ContentLength: 20_000_000, ETag: expect.stringMatching(/^"[0-9a-f]{32}-3"$/) },
  });
  await s3('download_file', 'large', { Filename: clients.path('again') });
  expect(sha256(await readFile(clients.path('again')))).toBe(sha256(content));
});

toolTest(tools, 'odd keys are put, listed and read', async () => {
  const keys = ['odd/ a+b', 'odd/%41', "odd/!'()*~", 'odd/日本 é', 'odd/a//b', 'odd/<&>"?#'];
  for (const key of keys) await s3('put_object', key, { Body: key });
  for (const key of keys) expect(await s3('get_object', key)).toMatchObject({ Body: { text: key } });
  const listed = v.parse(
    v.object({ Contents: v.array(v.object({ Key: v.string() })) }),
    await call('s3', 'list_objects_v2', { Bucket: bucketName, Prefix: 'odd/' }),
  );
  expect(listed.Contents.map(({ Key }) => Key).sort()).toEqual([...keys].sort());
});

toolTest(tools, 'a URL that is signed with version 4 is good without credentials', async () => {
  await clients.sandbox.s3.store.put(bucketName, 'é signed', 'for all');
  const Params = { Bucket: bucketName, Key: 'é signed' };
  const url = await call('s3', 'generate_presigned_url', { ClientMethod: 'get_object', Params });
  const response = await fetch(v.parse(v.string(), url), { tls: { ca: clients.sandbox.pki.caCert } });
  expect([response.status, await response.text()]).toEqual([200, 'for all']);
});

toolTest(tools, 'update_thing_shadow with an old version is ConflictException', async () => {
  const update = (payload: JsonObject) =>
    call('iot-data', 'update_thing_shadow', { thingName: 'boto3', payload: JSON.stringify(payload) });
  await update({ state: { desired: { a: 1 } } });
  expect(await update({ state: { desired: { a: 2 } }, version: 7 })).toMatchObject({
    error: { Code: 'ConflictException', Message: 'Version conflict', status: 409 },
  });
  const got = await call('iot-data', 'get_thing_shadow', { thingName: 'boto3' });
  const { payload } = v.parse(v.object({ payload: v.object({ text: v.string() }) }), got);
  expect(JSON.parse(payload.text)).toMatchObject({ state: { desired: { a: 1 } }, version: 1 });
});
