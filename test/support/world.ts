/** A sandbox with one device and the compiled executable: what the scenarios play in. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildTarget, hostTarget, type Target } from '../../build.ts';
import { isJsonObject, type JsonObject, type JsonValue, jsonEqual, member } from '../../src/core/json.ts';
import type { PutOptions } from '../../src/sandbox/s3/store.ts';
import {
  type BrokerFactory,
  bucketName,
  type Device,
  type DeviceOptions,
  Sandbox,
} from '../../src/sandbox/sandbox.ts';

export { bucketName };

const built = new Map<Target, Promise<string>>();

/** The executable of a target, by default of this machine, built once for all tests of the process. */
export function executable(target = hostTarget()): Promise<string> {
  const path = built.get(target) ?? buildTarget(target, 'dist').then((result) => result.path);
  built.set(target, path);
  return path;
}

/** Waits until something is true; fails with its name. */
export async function until(what: string, isTrue: () => boolean, timeoutMs = 45_000): Promise<void> {
  const deadlineMs = Date.now() + timeoutMs;
  while (!isTrue()) {
    if (Date.now() > deadlineMs) throw new Error(`waited ${timeoutMs} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Bytes that no compression and no pattern makes smaller. */
export function noise(bytes: number): Buffer {
  return randomBytes(bytes);
}

/** Variables beside those of this process. */
type Environment = Readonly<Record<string, string>>;

/** One run of the executable. */
export class Run {
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  /** All that it has written to stderr. */
  log = '';
  /** All that it has written to stdout. */
  output = '';

  constructor(path: string, args: string[], cwd: string, env: Environment = {}) {
    this.child = spawn(path, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.log += chunk;
    });
    this.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.output += chunk;
    });
    this.exit = new Promise((resolve) => this.child.once('close', resolve));
  }

  async logged(text: string | RegExp): Promise<void> {
    const found = () => (typeof text === 'string' ? this.log.includes(text) : text.test(this.log));
    await until(`the log line ${text}`, found);
  }

  /** Ends the run and waits for it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.child.exitCode === null) this.child.kill(signal);
    return await this.exit;
  }
}

/** What runs on the device: a program and its first arguments. */
export type Command = readonly [program: string, ...args: string[]];

export interface WorldOptions extends DeviceOptions {
  /** Default: the sandbox's own broker. */
  startBroker?: BrokerFactory;
  /** Names of the servers besides those of loopback. */
  serverNames?: string[];
  /** Default: the executable for this machine. */
  command?: Command;
}

export class World {
  readonly sandbox: Sandbox;
  readonly device: Device;
  readonly runs: Run[] = [];
  /** What the sandbox has logged. */
  readonly log: readonly string[];
  readonly #command: Command;

  private constructor(sandbox: Sandbox, device: Device, log: readonly string[], command: Command) {
    this.sandbox = sandbox;
    this.device = device;
    this.log = log;
    this.#command = command;
  }

  static async create({
    startBroker,
    serverNames = [],
    command,
    ...options
  }: WorldOptions = {}): Promise<World> {
    const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-'));
    const lines: string[] = [];
    const log = (line: string): void => {
      lines.push(line);
    };
    const sandbox = await Sandbox.start({
      dir,
      log,
      serverNames,
      ...(startBroker === undefined ? {} : { startBroker }),
    });
    const device = await sandbox.device('test-thing', options);
    return new World(sandbox, device, lines, command ?? [await executable()]);
  }

  /** Starts the executable with the device's agent.json, or with other arguments. */
  async run(
    args: string[] = ['--config', this.device.configPath],
    cwd = this.device.dir,
    env: Environment = {},
  ): Promise<Run> {
    const [program, ...first] = this.#command;
    const run = new Run(program, [...first, ...args], cwd, env);
    this.runs.push(run);
    return run;
  }

  /** Starts the device and waits until the shadow knows of it. */
  async start(): Promise<Run> {
    const run = await this.run();
    await until(
      'the first report',
      () => this.reported('shadowAgent') !== undefined || run.child.exitCode !== null,
    );
    return run;
  }

  /** Uploads an object and waits until the publisher has written the desired state. */
  async put(key: string, body: Uint8Array | string, options?: PutOptions): Promise<void> {
    await this.sandbox.s3.store.put(bucketName, key, body, options);
    await this.sandbox.lambdas.idle();
  }

  desire(desired: JsonObject): void {
    this.sandbox.desire('test-thing', desired);
  }

  state(section: 'desired' | 'reported' | 'delta', shadowName?: string): JsonObject {
    const state = this.sandbox.shadow('test-thing', shadowName)?.['state'];
    const part = isJsonObject(state) ? member(state, section) : undefined;
    return isJsonObject(part) ? part : {};
  }

  reported(property: string): JsonValue | undefined {
    return member(this.state('reported'), property);
  }

  /** The status that the agent reports of one file. */
  status(property = 's3'): JsonObject {
    const path = ['shadowAgent', 'files', property];
    const found = path.reduce<JsonValue | undefined>(
      (value, key) => (isJsonObject(value) ? member(value, key) : undefined),
      this.state('reported'),
    );
    return isJsonObject(found) ? found : {};
  }

  /** Waits until the shadow shows this hash as installed and nothing is left to do. */
  async inSync(hash: string, property = 's3', timeoutMs?: number): Promise<void> {
    const isTrue = () => {
      const desired = member(this.state('desired'), property);
      if (!isJsonObject(desired) || desired['hash'] !== hash) return false;
      const { status, hash: answered } = this.status(property);
      return jsonEqual(desired, this.reported(property)) && status === 'current' && answered === hash;
    };
    await until(`${property} in sync at ${hash.slice(0, 8)}`, isTrue, timeoutMs);
  }

  async hasStatus(expected: JsonObject, property = 's3'): Promise<void> {
    const isTrue = () =>
      Object.entries(expected).every(([key, value]) => this.status(property)[key] === value);
    await until(`the status ${JSON.stringify(expected)}`, isTrue);
  }

  path(name = 'tmpfile'): string {
    return join(this.device.dir, name);
  }

  /** What the device's file holds; undefined where there is none. */
  file(name = 'tmpfile'): string | undefined {
    return existsSync(this.path(name)) ? readFileSync(this.path(name), 'utf8') : undefined;
  }

  /** GETs of objects by things that S3 has answered or cut. */
  gets() {
    const { s3, sessions } = this.sandbox;
    return s3.requests.filter(
      ({ method, key, accessKeyId }) =>
        method === 'GET' && key !== undefined && sessions.find(accessKeyId ?? '')?.thingName !== undefined,
    );
  }

  /** Shadow requests that the device has published. */
  published(verb: 'get' | 'update'): string[] {
    return this.sandbox.broker.messages
      .filter(({ direction, topic }) => direction === 'in' && topic.endsWith(`/shadow/${verb}`))
      .map(({ payload }) => payload);
  }

  async close(): Promise<void> {
    await Promise.all(this.runs.map((run) => run.stop('SIGKILL')));
    await this.sandbox.close();
    await rm(this.sandbox.dir, { recursive: true, force: true });
  }
}

/** Plays one scenario; where it fails, the logs of executable and sandbox are part of the failure. */
export async function scenario(play: (world: World) => Promise<void>, options?: WorldOptions): Promise<void> {
  const world = await World.create(options);
  try {
    await play(world);
  } catch (error) {
    const logs = world.runs.map((run) => run.log).join('\n--- next run\n');
    const reason = error instanceof Error ? error.stack : String(error);
    const told = `--- log of the device\n${logs}\n--- log of the sandbox\n${world.log.join('\n')}`;
    throw new Error(`${reason}\n${told}`);
  } finally {
    await world.close();
  }
}
