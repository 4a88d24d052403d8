/**
 * One whole update without a test runner: install, kill in mid-download, resume after a restart, report. The agent runs
 * from its sources on the runtime that runs this file: `bun test/smoke.ts`, `deno run -A test/smoke.ts`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { isJsonObject, type JsonValue, member } from '../src/core/json.ts';
import { bucketName, type Device, Sandbox } from '../src/sandbox/sandbox.ts';

const isDeno = Reflect.has(globalThis, 'Deno');
const timeoutMs = 60_000;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function start(device: Device): ChildProcess {
  const main = resolve('src/main.ts');
  const args = [...(isDeno ? ['run', '-A'] : []), main, '--config', device.configPath];
  return spawn(process.execPath, args, { stdio: 'inherit' });
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  // Deno's child.kill() would make the exit look like a death by that signal.
  if (child.pid !== undefined) process.kill(child.pid, signal);
  return await ended;
}

async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = Date.now() + timeoutMs;
  while (!(await isTrue())) {
    if (Date.now() > deadlineMs) throw new Error(`waited in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  say(`ok: ${what}`);
}

function check(what: string, isTrue: boolean): void {
  if (!isTrue) throw new Error(`not so: ${what}`);
  say(`ok: ${what}`);
}

function reportedHash(sandbox: Sandbox): JsonValue | undefined {
  const path = ['state', 'reported', 's3', 'hash'];
  return path.reduce<JsonValue | undefined>(
    (value, key) => (isJsonObject(value) ? member(value, key) : undefined),
    sandbox.shadow('test-thing'),
  );
}

/** What the device asked of S3; the Lambda reads its objects as well. */
function gets(sandbox: Sandbox) {
  const ofThing = (accessKeyId = '') => sandbox.sessions.find(accessKeyId)?.thingName === 'test-thing';
  return sandbox.s3.requests.filter(({ method, accessKeyId }) => method === 'GET' && ofThing(accessKeyId));
}

async function partBytes(device: Device): Promise<number> {
  const parts = (await readdir(device.dir)).filter((name) => name.endsWith('.part'));
  const sizes = await Promise.all(parts.map(async (name) => (await stat(join(device.dir, name))).size));
  return Math.max(0, ...sizes);
}

async function play(sandbox: Sandbox, device: Device): Promise<void> {
  const object = randomBytes(6_000_000);
  const hash = createHash('sha256').update(object).digest('hex');
  sandbox.faults.set('s3-slow', 2_000_000);
  await sandbox.s3.store.put(bucketName, "a b+c'é.gz", object, { headers: { 'Content-Encoding': 'gzip' } });
  const first = start(device);
  await until('a part of 1.5 MB', async () => (await partBytes(device)) > 1_500_000);
  await stop(first, 'SIGKILL');
  sandbox.faults.clear();
  const second = start(device);
  try {
    await until('the report', () => reportedHash(sandbox) === hash);
    check('the file is the object', (await readFile(join(device.dir, 'tmpfile'))).equals(object));
    const [whole, rest] = gets(sandbox);
    check(
      'the second request was for the rest, pinned to the ETag',
      rest?.status === 206 && rest.ifMatch !== undefined,
    );
    const fetched = (whole?.bytesSent ?? 0) + (rest?.bytesSent ?? 0);
    check(
      `nothing on disk was fetched again (${fetched} of ${object.length} bytes)`,
      fetched < object.length * 1.2,
    );
  } finally {
    const code = await stop(second, 'SIGTERM');
    check('SIGTERM ends it with 0', code === 0);
  }
}

const sandbox = await Sandbox.start({ dir: await mkdtemp(join(tmpdir(), 'shadow-agent-smoke-')) });
try {
  await play(sandbox, await sandbox.device('test-thing'));
  say(`smoke test passed on ${isDeno ? 'Deno' : 'Bun'}`);
} finally {
  await sandbox.close();
  await rm(sandbox.dir, { recursive: true, force: true });
}
process.exit(0);
