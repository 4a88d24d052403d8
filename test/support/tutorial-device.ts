/** The device of the tutorial: AWS's Python sample with boto3, in a process of its own. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { isJsonObject, type JsonObject, jsonEqual, member } from '../../src/core/json.ts';
import { type Device, roleAlias } from '../../src/sandbox/sandbox.ts';
import { until, type World } from './world.ts';

export const tutorialThing = 'tutorial-thing';

/** One run of the program, with the command line of the sample. */
export class TutorialDevice {
  readonly path: string;
  readonly #world: World;
  readonly #child: ReturnType<typeof spawn>;
  readonly #exit: Promise<number | null>;
  output = '';

  constructor(python: string, world: World, { dir }: Device) {
    const { sandbox } = world;
    const ca = join(sandbox.dir, 'ca.pem');
    this.#world = world;
    this.path = join(dir, 'tmpfile');
    const args = [
      ...['--endpoint', '127.0.0.1', '--port', String(sandbox.broker.port), '--ca_file', ca],
      ...['--cert', join(dir, 'certificate.pem'), '--key', join(dir, 'private.key')],
      ...['--client_id', tutorialThing, '--thing_name', tutorialThing, '--shadow_property', 's3'],
      '--credential_endpoint',
      `127.0.0.1:${sandbox.credentials.port}/role-aliases/${roleAlias}/credentials`,
      ...['--path', this.path, '--s3_endpoint', sandbox.s3.url, '--s3_ca', ca],
    ];
    const program = join(import.meta.dir, '../clients/tutorial_device.py');
    const env = { PATH: process.env['PATH'], HOME: dir, NO_PROXY: '*', AWS_EC2_METADATA_DISABLED: 'true' };
    this.#child = spawn(python, [program, ...args], { cwd: dir, env });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.#exit = new Promise((resolve) => this.#child.once('close', resolve));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async said(text: string): Promise<void> {
    await this.#until(`"${text}"`, () => this.output.includes(text));
  }

  /** Waits until the shadow shows this hash in both sections. */
  async inSync(hash: string): Promise<void> {
    await this.#until(`sync at ${hash.slice(0, 8)}`, () => {
      const desired = valueIn(this.#world, 'desired');
      return desired?.['hash'] === hash && jsonEqual(desired, valueIn(this.#world, 'reported') ?? null);
    });
  }

  async #until(what: string, isTrue: () => boolean): Promise<void> {
    try {
      await until(what, () => isTrue() || this.#child.exitCode !== null);
      if (!isTrue()) throw new Error(`it has ended before ${what}`);
    } catch (error) {
      throw new Error(`${error}; the tutorial's device said:\n${this.output}`);
    }
  }

  /** Ends the program as a user does with Ctrl-D. */
  async stop(): Promise<number | null> {
    this.#child.stdin?.end();
    return await this.#exit;
  }
}

function valueIn(world: World, section: string): JsonObject | undefined {
  const state = world.sandbox.shadow(tutorialThing)?.['state'];
  const values = isJsonObject(state) ? member(state, section) : undefined;
  const value = isJsonObject(values) ? member(values, 's3') : undefined;
  return isJsonObject(value) ? value : undefined;
}
