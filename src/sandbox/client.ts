/** What `bun run sandbox put`, `shadow`, `desire` and `fault` do to a sandbox that runs in another process. */
import { createReadStream } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import { Agent } from 'node:https';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import {
  GetThingShadowCommand,
  IoTDataPlaneClient,
  UpdateThingShadowCommand,
} from '@aws-sdk/client-iot-data-plane';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import * as v from 'valibot';
import { type Faults, isFaultName } from './faults.ts';
import { bucketName, region, type Sandbox } from './sandbox.ts';

const noteSchema = v.object({
  s3: v.string(),
  dataPlane: v.string(),
  controlPlane: v.string(),
  accessKeyId: v.string(),
  secretAccessKey: v.string(),
});
const faultSchema = v.object({
  name: v.pipe(v.string(), v.check(isFaultName, 'is no fault switch')),
  value: v.optional(v.number()),
  times: v.optional(v.number()),
});

/** Where a running sandbox is, and with which keys. */
type Note = v.InferOutput<typeof noteSchema>;

function notePath(dir: string): string {
  return join(dir, 'sandbox.json');
}

function socketPath(dir: string): string {
  return join(dir, 'control.sock');
}

/** Writes down where the sandbox is, for the commands and (`env`) for the AWS CLI, and takes orders for faults. */
export async function openToClients(sandbox: Sandbox): Promise<Server> {
  const { dir, operator } = sandbox;
  const note: Note = {
    ...sandbox.endpoints,
    accessKeyId: operator.accessKeyId,
    secretAccessKey: operator.secretAccessKey,
  };
  await writeFile(notePath(dir), `${JSON.stringify(note, null, 2)}\n`, { mode: 0o600 });
  await writeFile(join(dir, 'env'), shellVariables(dir, note), { mode: 0o600 });
  const server = createServer(async (incoming, response) => {
    try {
      response.end(setFault(sandbox.faults, JSON.parse(await text(incoming))));
    } catch (error) {
      response.statusCode = 400;
      response.end(error instanceof Error ? error.message : String(error));
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath(dir), resolve);
  });
  return server;
}

function shellVariables(dir: string, note: Note): string {
  const variables = {
    AWS_ACCESS_KEY_ID: note.accessKeyId,
    AWS_SECRET_ACCESS_KEY: note.secretAccessKey,
    AWS_DEFAULT_REGION: region,
    AWS_CA_BUNDLE: join(dir, 'ca.pem'),
    AWS_ENDPOINT_URL_S3: note.s3,
    AWS_ENDPOINT_URL_IOT_DATA_PLANE: note.dataPlane,
    AWS_ENDPOINT_URL_IOT: note.controlPlane,
    AWS_ENDPOINT_URL_SQS: note.controlPlane,
  };
  return Object.entries(variables)
    .map(([name, value]) => `export ${name}='${value}'\n`)
    .join('');
}

function setFault(faults: Faults, order: unknown): string {
  const { name, value, times } = v.parse(faultSchema, order);
  if (!isFaultName(name)) throw new Error(`${name} is no fault switch`);
  if (value === undefined) faults.clear(name);
  else faults.set(name, value, times);
  const on = faults.list().map((fault) => `${fault.name} ${fault.value}`);
  return on.length === 0 ? 'no faults are on' : `on: ${on.join(', ')}`;
}

/** Turns a fault switch of a running sandbox on or, without a value, off. Resolves to what is on then. */
export function orderFault(dir: string, name: string, value?: number, times?: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: socketPath(dir), method: 'POST' }, async (response) => {
      const answer = await text(response);
      if (response.statusCode === 200) resolve(answer);
      else reject(new Error(answer));
    });
    outgoing.on('error', () => reject(notRunning(dir)));
    outgoing.end(JSON.stringify({ name, value, times }));
  });
}

function notRunning(dir: string): Error {
  return new Error(`no sandbox runs in ${dir}; start one with: bun run sandbox`);
}

async function clientOptions(dir: string) {
  const note = await readFile(notePath(dir), 'utf8').catch(() => {
    throw notRunning(dir);
  });
  const { accessKeyId, secretAccessKey, ...endpoints } = v.parse(noteSchema, JSON.parse(note));
  const httpsAgent = new Agent({ ca: await readFile(join(dir, 'ca.pem'), 'utf8') });
  const credentials = { accessKeyId, secretAccessKey };
  return { endpoints, options: { region, credentials, requestHandler: { httpsAgent } } };
}

/** Uploads a file. @returns the URL of the object */
export async function putFile(dir: string, file: string, url?: string): Promise<string> {
  const target = url ?? `s3://${bucketName}/${basename(file)}`;
  const [, bucket, key] = /^s3:\/\/([^/]+)\/(.+)$/s.exec(target) ?? [];
  if (bucket === undefined || key === undefined) throw new Error(`${target} is not s3://bucket/key`);
  const { size } = await stat(file);
  const { endpoints, options } = await clientOptions(dir);
  const client = new S3Client({ ...options, endpoint: endpoints.s3, forcePathStyle: true });
  await client.send(
    new PutObjectCommand({ Bucket: bucket, Key: key, Body: createReadStream(file), ContentLength: size }),
  );
  return target;
}

/** Reads a shadow as formatted JSON. */
export async function readShadow(dir: string, thingName: string): Promise<string> {
  const { endpoints, options } = await clientOptions(dir);
  const client = new IoTDataPlaneClient({ ...options, endpoint: endpoints.dataPlane });
  const { payload } = await client.send(new GetThingShadowCommand({ thingName }));
  return JSON.stringify(JSON.parse(new TextDecoder().decode(payload)), null, 2);
}

/** Writes a JSON text to the desired state. */
export async function writeDesired(dir: string, thingName: string, desired: string): Promise<void> {
  const { endpoints, options } = await clientOptions(dir);
  const client = new IoTDataPlaneClient({ ...options, endpoint: endpoints.dataPlane });
  const payload = JSON.stringify({ state: { desired: JSON.parse(desired) } });
  await client.send(new UpdateThingShadowCommand({ thingName, payload: new TextEncoder().encode(payload) }));
}
