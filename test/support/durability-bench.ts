/** A device that can be put back to where it was, so that the same update can be killed, cut and starved many times. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import type { JsonObject } from '../../src/core/json.ts';
import type { Owner } from '../../src/io/accounts.ts';
import { fileId } from '../../src/io/part.ts';
import type { PutOptions } from '../../src/sandbox/s3/store.ts';
import type { Device } from '../../src/sandbox/sandbox.ts';
import { own } from './durability-disk.ts';
import { parseCalls, type TracedCall } from './durability-syscalls.ts';
import type { TraceJob } from './durability-tracer.ts';
import { fileOf, type Tool } from './tools.ts';
import { bucketName, executable, Run, sha256, type World } from './world.ts';

/** Linux, whose ptrace the tracer uses. */
export const linux: Tool = fileOf('/proc/self/mem', 'linux-image-generic');

const property = 's3';
const name = 'app.bin';
export const oldMode = 0o640;
export const newMode = 0o750;

export class Bench {
  readonly world: World;
  readonly device: Device;
  /** Below these lies all that the agent changes. */
  readonly roots: string[];
  readonly stateDir: string;
  readonly #saved: string;
  readonly #log: string;
  #desired: JsonObject = {};
  #before = '';
  /** Whom the target belonged to when it was saved, and so belongs to ever after. */
  #owner: Owner = own;

  private constructor(world: World, device: Device, stateRoot: string | undefined) {
    this.world = world;
    this.device = device;
    this.roots = stateRoot === undefined ? [device.dir] : [device.dir, stateRoot];
    this.stateDir = join(stateRoot ?? device.dir, 'state');
    this.#saved = join(device.dir, 'saved');
    this.#log = join(device.dir, 'calls');
    mkdirSync(this.#saved);
  }

  /** A device whose file is `data/app.bin`; its state is beside that directory, or in a new one in `stateRoot`. */
  static async create(
    world: World,
    thingName: string,
    stateRoot?: string,
    file: JsonObject = {},
  ): Promise<Bench> {
    const root = stateRoot === undefined ? undefined : mkdtempSync(join(stateRoot, 'shadow-agent-'));
    const files = [{ property, path: `data/${name}`, mode: newMode.toString(8).padStart(4, '0'), ...file }];
    // The file belongs to another user, so that an update has a chown in it; root's agent would be strict about that.
    const config = { strict: false, ...(root === undefined ? {} : { stateDir: join(root, 'state') }) };
    return new Bench(world, await world.sandbox.device(thingName, { files, config }), root);
  }

  /** Removes what lies outside of the world's directory. */
  close(): void {
    for (const root of this.roots.slice(1)) rmSync(root, { recursive: true, force: true });
  }

  get dataDir(): string {
    return join(this.device.dir, 'data');
  }
  get target(): string {
    return join(this.dataDir, name);
  }
  get stateFile(): string {
    return join(this.stateDir, 'state.json');
  }
  /** Where the file is kept that the target held when it was saved. */
  get previous(): string {
    return join(this.stateDir, 'previous', `${fileId(property, this.target)}.${this.#before.slice(0, 16)}`);
  }
  partOf(bytes: Uint8Array): string {
    return join(
      this.dataDir,
      `.shadow-agent.${fileId(property, this.target)}.${sha256(bytes).slice(0, 16)}.part`,
    );
  }

  /** Uploads an object and desires it in a shadow that has nothing else. */
  async desire(bytes: Uint8Array, options?: PutOptions): Promise<void> {
    const hash = sha256(bytes);
    await this.world.put(hash, bytes, options);
    this.#desired = { [property]: { url: `s3://${bucketName}/${hash}`, hash } };
    this.#resetShadow();
  }

  #resetShadow(): void {
    this.world.sandbox.shadows.delete(this.device.thingName);
    this.world.sandbox.desire(this.device.thingName, this.#desired);
  }

  /** Remembers target and state as they are now. */
  save(): void {
    this.#owner = statSync(this.target, { throwIfNoEntry: false }) ?? own;
    this.#before = existsSync(this.target) ? sha256(readFileSync(this.target)) : '';
    for (const [from, to] of this.#places()) copy(from, to);
  }

  /** Puts target, state and shadow back to what was remembered. */
  restore(): void {
    for (const [to, from] of this.#places()) copy(from, to);
    this.#resetShadow();
  }

  #places(): Array<[place: string, saved: string]> {
    return [
      [this.dataDir, join(this.#saved, 'data')],
      [this.stateDir, join(this.#saved, 'state')],
    ];
  }

  /** Runs the agent with --once to its end, by itself or as the last arguments of a program. */
  async once(program: string[] = []): Promise<Run> {
    const run = await this.start(program);
    await run.exit;
    return run;
  }

  /** Begins such a run. */
  start(program: string[] = []): Promise<Run> {
    return this.#run(['--once'], program);
  }

  /** Has the previous file put back, while no agent runs. */
  async rollback(): Promise<Run> {
    const run = await this.#run(['rollback', property]);
    await run.exit;
    return run;
  }

  async #run(command: string[], program: string[] = []): Promise<Run> {
    const agent = [await executable(), ...command, '--config', this.device.configPath];
    const [first = '', ...rest] = [...program, ...agent];
    const run = new Run(first, rest, this.device.dir);
    this.world.runs.push(run);
    return run;
  }

  /** The same under the tracer. */
  async traced(job: Partial<TraceJob> = {}): Promise<{ run: Run; calls: TracedCall[] }> {
    const full: TraceJob = { roots: this.roots, log: this.#log, dataBytes: 0, ...job };
    const run = await this.once([process.execPath, tracer, JSON.stringify(full)]);
    return { run, calls: parseCalls(readFileSync(this.#log, 'utf8')) };
  }

  /** What is wrong with the target, which must be one of these files, each with its mode, and of its owner; undefined where nothing is. */
  fault(...allowed: Array<'absent' | readonly [Uint8Array, number]>): string | undefined {
    if (!existsSync(this.target)) return allowed.includes('absent') ? undefined : 'the target is away';
    const bytes = readFileSync(this.target);
    const { mode: type, uid, gid } = statSync(this.target);
    const mode = type & 0o7777;
    const isAllowed = allowed.some((one) => one !== 'absent' && bytes.equals(one[0]) && mode === one[1]);
    if (!isAllowed) return `the target has ${bytes.length} other bytes or mode 0${mode.toString(8)}`;
    const isOwned = uid === this.#owner.uid && gid === this.#owner.gid;
    return isOwned ? undefined : `the target is of ${uid}:${gid}`;
  }

  /** All names below a directory, those of directories too. */
  names(directory: string): string[] {
    return existsSync(directory) ? readdirSync(directory, { recursive: true, encoding: 'utf8' }) : [];
  }

  /** Tells whether the shadow shows as installed what it desires. */
  isReported(): boolean {
    const state = this.world.sandbox.shadow(this.device.thingName)?.['state'];
    const { desired, reported } = v.parse(sectionsSchema, state);
    return Bun.deepEquals(reported?.[property], desired[property]);
  }
}

const sectionSchema = v.object({ [property]: v.optional(v.unknown()) });
const sectionsSchema = v.object({ desired: sectionSchema, reported: v.optional(sectionSchema) });

const tracer = join(import.meta.dirname, 'durability-tracer.ts');

/** Makes one directory what another is, with modes and owners; gone where the other is not there. */
function copy(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true });
  if (!existsSync(from)) return;
  const { status, stderr } = spawnSync('cp', ['-a', from, to]);
  if (status !== 0) throw new Error(`cp: ${stderr}`);
}
