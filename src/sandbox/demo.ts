/** `bun run demo`: the tutorial from start to end, with the compiled executable as the device. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { buildTarget, hostTarget } from '../../build.ts';
import { isJsonObject, type JsonObject, jsonEqual, member } from '../core/json.ts';
import { openToClients, putFile } from './client.ts';
import { bucketName, type Device, Sandbox } from './sandbox.ts';

const dir = resolve('.demo');
const url = `s3://${bucketName}/test.txt`;
const timeoutMs = 30_000;
const colour = process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '';

function paint(code: number, text: string): string {
  return colour ? `\u001b[${code}m${text}\u001b[0m` : text;
}

function print(line = ''): void {
  process.stdout.write(`${line}\n`);
}

function heading(text: string): void {
  print(`\n${paint(1, `== ${text}`)}`);
}

/** Starts the executable as the tutorial's device; its log goes to the screen, marked. */
function startDevice(executable: string, device: Device): ChildProcess {
  const child = spawn(executable, ['--config', device.configPath], { stdio: ['ignore', 'inherit', 'pipe'] });
  if (child.stderr !== null) {
    createInterface({ input: child.stderr }).on('line', (line) => print(`${paint(36, 'device |')} ${line}`));
  }
  return child;
}

/** Waits for something that the device is to bring about. */
async function until(what: string, child: ChildProcess, isTrue: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + timeoutMs;
  while (!isTrue()) {
    if (child.exitCode !== null) throw new Error(`the device ended with exit code ${child.exitCode}`);
    if (Date.now() > deadlineMs) throw new Error(`${what} did not come in ${timeoutMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Whether the shadow shows this hash as desired, and that the device has all that is desired. */
function isInSync(sandbox: Sandbox, hash: string): boolean {
  const state = sandbox.shadow('test-thing')?.['state'];
  const desired = section(state, 'desired');
  const isDesired = isJsonObject(desired) && desired['hash'] === hash;
  return isDesired && jsonEqual(desired, section(state, 'reported'));
}

function section(state: JsonObject[string] | undefined, name: string): JsonObject[string] | undefined {
  const part = isJsonObject(state) ? member(state, name) : undefined;
  return isJsonObject(part) ? member(part, 's3') : undefined;
}

async function upload(sandbox: Sandbox, device: Device, child: ChildProcess, text: string): Promise<void> {
  heading(`Upload "${text}" to ${url}`);
  const file = join(dir, `${text}.txt`);
  const hash = createHash('sha256').update(`${text}\n`).digest('hex');
  await writeFile(file, `${text}\n`);
  const seen = sandbox.broker.messages.length;
  await putFile(dir, file, url);
  await until('the report of the device', child, () => isInSync(sandbox, hash));

  const delta = sandbox.broker.messages.slice(seen).find(({ topic }) => topic.endsWith('/update/delta'));
  const state = delta === undefined ? 'none' : JSON.stringify(JSON.parse(delta.payload).state);
  print(`${paint(2, 'delta that the device got:')} ${state}`);
  const target = join(device.dir, 'tmpfile');
  const content = await readFile(target, 'utf8');
  if (content !== `${text}\n`) throw new Error(`the file on the device holds ${JSON.stringify(content)}`);
  print(`${paint(2, `$ cat ${relative('.', target)}`)}\n${content.trimEnd()}`);
  print(`${paint(2, 'shadow of test-thing:')}`);
  print(JSON.stringify(sandbox.shadow('test-thing')?.['state'], null, 2));
}

async function stop(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return child.exitCode;
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  return await ended;
}

function summary(seconds: number, executable: string): string {
  return `${paint(32, 'It works.')} Two uploads to S3 became the same file on the device, in ${seconds.toFixed(1)} s:
  1. each upload wrote its URL and SHA-256 into the desired state of the
     thing's shadow;
  2. the device heard of it over MQTT, traded its certificate for temporary
     credentials, fetched the object with a signed request, and compared the hash;
  3. it put the file in place atomically and reported it, so the delta cleared.
AWS was played by the sandbox on this machine; the device was the executable
${relative('.', executable)}.`;
}

const keepText = (command: string, config: string) => `
The sandbox and the device go on (--keep). Play with them, in a second terminal:

  echo piyo > piyo.txt && bun run sandbox --dir .demo put piyo.txt ${url}
  bun run sandbox --dir .demo fault s3-503 1 3      # three failures, then better
  bun run sandbox --dir .demo shadow
  ${command} status --config ${config}
  ${command} doctor --config ${config}

Stop with Ctrl-C.`;

async function main(keep: boolean): Promise<number> {
  heading('Build the executable for this machine');
  const { path: executable, bytes, seconds } = await buildTarget(hostTarget(), 'dist');
  print(`${relative('.', executable)}, ${(bytes / 1e6).toFixed(0)} MB, in ${seconds.toFixed(1)} s`);

  await rm(dir, { recursive: true, force: true });
  const sandbox = await Sandbox.start({ dir });
  const control = await openToClients(sandbox);
  const device = await sandbox.device('test-thing');
  heading('Start the device');
  print(paint(2, `$ ${relative('.', executable)} --config ${relative('.', device.configPath)}`));
  const child = startDevice(executable, device);
  try {
    await until('the connection of the device', child, () =>
      sandbox.broker.sessions().includes('test-thing'),
    );
    const startedMs = Date.now();
    await upload(sandbox, device, child, 'hoge');
    await upload(sandbox, device, child, 'fuga');
    const seconds = (Date.now() - startedMs) / 1000;
    const code = keep ? 0 : await stop(child);
    heading('Summary');
    print(summary(seconds, executable));
    if (!keep) return code === 0 ? 0 : 1;
    const interrupted = new Promise((resolve) => process.once('SIGINT', resolve));
    print(keepText(relative('.', executable), relative('.', device.configPath)));
    await interrupted;
    return (await stop(child)) === 0 ? 0 : 1;
  } finally {
    await stop(child);
    control.close();
    await sandbox.close();
  }
}

try {
  process.exitCode = await main(process.argv.includes('--keep'));
} catch (error) {
  process.stderr.write(`error: the demo failed: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
