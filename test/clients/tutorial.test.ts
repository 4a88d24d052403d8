/** The Python program of the tutorial and the executable that replaces it, side by side on one sandbox. */
import { expect } from 'bun:test';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { isJsonObject, jsonEqual, member } from '../../src/core/json.ts';
import { bucketName, type Device, roleAlias } from '../../src/sandbox/sandbox.ts';
import { pythonClients } from '../support/clients-python.ts';
import { toolTest } from '../support/tools.ts';
import { noise, scenario, sha256, until, type World } from '../support/world.ts';

const tools = await pythonClients();
const thingName = 'tutorial-thing';
const prefix = 'tutorial/';

/** One run of the program, with the command line of the sample. */
class TutorialDevice {
  readonly path: string;
  readonly #world: World;
  readonly #child: ReturnType<typeof spawn>;
  readonly #exit: Promise<number | null>;
  output = '';

  constructor(world: World, { dir }: Device) {
    const { sandbox } = world;
    const ca = join(sandbox.dir, 'ca.pem');
    this.#world = world;
    this.path = join(dir, 'tmpfile');
    const args = [
      ...['--endpoint', '127.0.0.1', '--port', String(sandbox.broker.port), '--ca_file', ca],
      ...['--cert', join(dir, 'certificate.pem'), '--key', join(dir, 'private.key')],
      ...['--client_id', thingName, '--thing_name', thingName, '--shadow_property', 's3'],
      '--credential_endpoint',
      `127.0.0.1:${sandbox.credentials.port}/role-aliases/${roleAlias}/credentials`,
      ...['--path', this.path, '--s3_endpoint', sandbox.s3.url, '--s3_ca', ca],
    ];
    const program = join(import.meta.dir, 'tutorial_device.py');
    const env = { PATH: process.env['PATH'], HOME: dir, NO_PROXY: '*', AWS_EC2_METADATA_DISABLED: 'true' };
    this.#child = spawn(tools[0]?.path ?? 'python3', [program, ...args], { cwd: dir, env });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.#exit = new Promise((resolve) => this.#child.once('close', resolve));
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
  const state = world.sandbox.shadow(thingName)?.['state'];
  const values = isJsonObject(state) ? member(state, section) : undefined;
  const value = isJsonObject(values) ? member(values, 's3') : undefined;
  return isJsonObject(value) ? value : undefined;
}

toolTest(tools, "the tutorial's program and the executable follow the same uploads side by side", () =>
  scenario(async (world) => {
    const { sandbox } = world;
    sandbox.lambdas.route({ bucket: bucketName, prefix, target: `things/${thingName}`, property: 's3' });
    const registered = await sandbox.device(thingName);
    const tutorial = new TutorialDevice(world, registered);
    try {
      await Promise.all([world.start(), tutorial.said('the thing has no shadow yet')]);
      for (const content of ['hoge\n', 'fuga\n', noise(20_000_000)]) {
        const hash = sha256(content);
        await world.put('test.txt', content);
        await world.put(`${prefix}test.txt`, content);
        await Promise.all([world.inSync(hash), tutorial.inSync(hash)]);
        await tutorial.said(`reported ${hash}`);
        expect(sha256(await readFile(world.path()))).toBe(hash);
        expect(sha256(await readFile(tutorial.path))).toBe(hash);
      }
      const objects = { 'test.txt': 'test-thing', [`${prefix}test.txt`]: thingName };
      for (const [key, thing] of Object.entries(objects)) {
        const gets = world.gets().filter((get) => get.key === key);
        const holders = gets.map(({ accessKeyId }) => sandbox.sessions.find(accessKeyId ?? '')?.thingName);
        expect(new Set(holders)).toEqual(new Set([thing]));
      }
      expect(tutorial.output).not.toContain('wrong hash');
      expect(await tutorial.stop()).toBe(0);
    } finally {
      await tutorial.stop();
    }
  }),
);
