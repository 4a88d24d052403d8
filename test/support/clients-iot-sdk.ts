/** Drives `test/clients/iot-sdk.cjs`: the shadow client of AWS's device SDK in a process of its own. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as v from 'valibot';
import type { JsonObject } from '../../src/core/json.ts';
import type { Device, Sandbox } from '../../src/sandbox/sandbox.ts';

const lineSchema = v.variant('type', [
  v.object({ type: v.literal('ready') }),
  v.object({ type: v.literal('interrupt') }),
  v.object({ type: v.literal('resume') }),
  v.object({ type: v.literal('connection error'), message: v.string() }),
  v.object({
    type: v.literal('status'),
    name: v.string(),
    status: v.picklist(['established', 'lost', 'halted']),
  }),
  v.object({ type: v.literal('answer'), id: v.number(), body: v.optional(v.unknown()) }),
  v.object({ type: v.literal('error'), id: v.number(), message: v.string(), body: v.optional(v.unknown()) }),
  v.object({
    ...{ type: v.literal('message'), name: v.string() },
    ...{ body: v.optional(v.unknown()), error: v.optional(v.string()) },
  }),
]);
type Line = v.InferOutput<typeof lineSchema>;

/** How a call of the SDK ended: with what it resolved to, or with the modelled error of its rejection. */
export type Outcome = { ok: true; body: unknown } | { ok: false; message: string; body: unknown };

export class IotSdk {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: Line[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #exit: Promise<number | null>;
  #ended = false;
  #stderr = '';
  #calls = 0;

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#read(line);
      this.#wake();
    });
    this.#exit = new Promise((resolve) => {
      child.once('close', (code) => {
        this.#ended = true;
        this.#wake();
        resolve(code);
      });
    });
  }

  /** Connects a device and subscribes to all messages of its classic shadow and of one named shadow. */
  static async start(
    version: 'v1' | 'v2',
    sandbox: Sandbox,
    device: Device,
    shadowName: string,
  ): Promise<IotSdk> {
    const { thingName, dir } = device;
    const options = {
      ...{ host: '127.0.0.1', port: sandbox.broker.port, clientId: thingName, thingName, shadowName },
      ...{
        cert: join(dir, 'certificate.pem'),
        key: join(dir, 'private.key'),
        ca: join(sandbox.dir, 'ca.pem'),
      },
    };
    const program = join(import.meta.dir, '../clients/iot-sdk.cjs');
    const sdk = new IotSdk(spawn('node', [program, version, JSON.stringify(options)]));
    await sdk.#take(({ type }) => type === 'ready');
    return sdk;
  }

  /** Calls a method of the SDK's client by its name; the names of thing and shadow are added to the request. */
  async call(name: string, request: JsonObject = {}): Promise<Outcome> {
    this.#calls += 1;
    const id = this.#calls;
    this.#child.stdin.write(`${JSON.stringify({ id, call: name, request })}\n`);
    const line = await this.#take(
      (candidate) => (candidate.type === 'answer' || candidate.type === 'error') && candidate.id === id,
    );
    if (line.type === 'answer') return { ok: true, body: line.body };
    if (line.type === 'error') return { ok: false, message: line.message, body: line.body };
    throw new Error(`not an outcome: ${line.type}`);
  }

  /** Takes the oldest message of a subscription, waiting for it. @throws Error where the SDK could not read it */
  async next(name: string): Promise<unknown> {
    const line = await this.#take((candidate) => candidate.type === 'message' && candidate.name === name);
    if (line.type !== 'message' || line.error !== undefined) throw new Error(JSON.stringify(line));
    return line.body;
  }

  /** Waits until the SDK tells that its connection broke or is back. */
  async told(type: 'interrupt' | 'resume'): Promise<void> {
    await this.#take((line) => line.type === type);
  }

  /** Waits until the SDK tells how a subscription of version 2 stands. */
  async stream(name: string, status: 'established' | 'lost'): Promise<void> {
    await this.#take((line) => line.type === 'status' && line.name === name && line.status === status);
  }

  /** Names of the messages that nobody has taken. */
  get untaken(): string[] {
    return this.#lines.flatMap((line) => (line.type === 'message' ? [line.name] : []));
  }

  /** Forgets all that has arrived. */
  forget(): void {
    this.#lines.length = 0;
  }

  /** Disconnects; resolves to the exit code. */
  async end(): Promise<number | null> {
    this.#child.stdin.end();
    return await this.#exit;
  }

  async #take(isWanted: (line: Line) => boolean): Promise<Line> {
    for (;;) {
      const index = this.#lines.findIndex(isWanted);
      const [line] = index === -1 ? [] : this.#lines.splice(index, 1);
      if (line !== undefined) return line;
      if (this.#ended) throw new Error(`the SDK's process has ended: ${this.#stderr}`);
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve);
      });
    }
  }

  #read(line: string): void {
    const parsed = v.safeParse(lineSchema, JSON.parse(line));
    if (parsed.success) {
      this.#lines.push(parsed.output);
    } else {
      this.#stderr += `not understood: ${line}`;
      this.#child.kill();
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }
}
