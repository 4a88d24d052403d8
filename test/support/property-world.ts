import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { FileConfig } from '../../src/config.ts';
import { isJsonObject, type JsonObject, type JsonValue, member } from '../../src/core/json.ts';
import { ShadowService } from '../../src/sandbox/shadow-service.ts';
import { bytesOf, RecordingLog, sha256Of } from './io-helpers.ts';
import { TestAgent } from './property-agent.ts';
import { type ConnectFate, type Fate, FaultyBroker } from './property-broker.ts';
import { type BucketFate, FaultyBucket } from './property-bucket.ts';
import { ClockView, VirtualClock } from './property-clock.ts';

const thing = 'thing';
export const properties = ['s3', 'app', 'model'];
/** What objects can hold; each has another length. */
export const contents = [0, 5, 900, 2500, 4000].map((length, index) => bytesOf(length, index + 1));
export const hashes = contents.map(sha256Of);

/** What goes wrong, message by message, until the list is at its end. */
export interface Faults {
  messages: Fate[];
  connects: ConnectFate[];
  bucket: BucketFate[];
  /** Of the agent's random numbers. */
  seed: number;
}

// Long enough for disk work on a busy machine; nothing waits for it when all is well.
const restTimeoutMs = 20_000;
// The agent syncs what it writes; hundreds of worlds do so in memory, where that costs nothing.
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
export const resyncSeconds = 3600;

/** The agent's parts between a shadow service, a bucket and a directory, under a clock that the test moves. */
export class World {
  readonly clock = new VirtualClock();
  readonly log = new RecordingLog();
  readonly service = new ShadowService({ now: () => this.clock.wallMs() });
  readonly broker: FaultyBroker;
  readonly bucket: FaultyBucket;
  readonly dir: string;
  /** Topics whose messages are late by so many ms, where nothing else is wrong with them. */
  readonly slow = new Map<string, number>();
  readonly files: FileConfig[];
  readonly #startedMs = this.clock.nowMs();
  readonly #view = new ClockView(this.clock);
  readonly #faults: Faults;
  readonly #random: () => number;
  #agent: TestAgent | undefined;

  private constructor(dir: string, fileCount: number, faults: Faults) {
    this.dir = dir;
    this.#faults = { ...faults, messages: [...faults.messages], connects: [...faults.connects] };
    this.#faults.bucket = [...faults.bucket];
    this.#random = randomOf(faults.seed);
    this.files = properties.slice(0, fileCount).map((property) => ({
      property,
      path: join(dir, 'files', property),
      keepPrevious: property !== 'app',
    }));
    this.broker = new FaultyBroker({
      clock: this.clock,
      waiting: this.#view,
      service: this.service,
      thing,
      fate: (topic) =>
        this.#faults.messages.shift() ?? { delayMs: this.slow.get(topic) ?? 0, copies: 1, lost: false },
      connectFate: () => this.#faults.connects.shift() ?? { delayMs: 0, refused: false },
    });
    this.bucket = new FaultyBucket(
      this.#view,
      () => this.#faults.bucket.shift() ?? { kind: 'ok', delayMs: 0 },
    );
  }

  static async start(fileCount: number, faults: Faults): Promise<World> {
    const dir = await mkdtemp(join(base, 'shadow-agent-property-'));
    await mkdir(join(dir, 'files'));
    await mkdir(join(dir, 'state'));
    const world = new World(dir, fileCount, faults);
    await world.#startAgent();
    return world;
  }

  async close(): Promise<void> {
    await this.#stopAgent();
    await rm(this.dir, { recursive: true, force: true });
  }

  async restart(): Promise<void> {
    await this.#stopAgent();
    await this.#startAgent();
  }

  async #startAgent(): Promise<void> {
    this.#agent = await TestAgent.start({
      thing,
      stateDir: join(this.dir, 'state'),
      files: this.files,
      resyncSeconds,
      clock: this.#view,
      reporterClock: new ClockView(this.clock),
      log: this.log,
      random: this.#random,
      connect: this.broker.connect,
      getObject: this.bucket.getObject,
    });
  }

  async #stopAgent(): Promise<void> {
    const ended = this.#agent?.stop();
    // The link ends when its get is answered or lost.
    this.broker.cut();
    await ended;
  }

  /** No more faults from here on. */
  heal(): void {
    this.#faults.messages.length = 0;
    this.#faults.connects.length = 0;
    this.#faults.bucket.length = 0;
  }

  /** Lets time pass; everybody does meanwhile what there is to do. */
  advance(ms: number): Promise<void> {
    return this.clock.advance(ms, () => this.#rest());
  }

  /**
   * Resolves when nobody can go on without time or a message: each loop of the agent sleeps, or waits for the broker.
   */
  async #rest(): Promise<void> {
    const untilMs = Date.now() + restTimeoutMs;
    for (let quiet = 0, seen = -1; quiet < 3; ) {
      await new Promise((resolve) => setImmediate(resolve));
      const waiting = this.#view.sleepers + (this.broker.awaitsGet ? 1 : 0);
      quiet = waiting === this.#agent?.running && this.clock.activity === seen ? quiet + 1 : 0;
      seen = this.clock.activity;
      if (Date.now() > untilMs) {
        throw new Error(`No rest: ${waiting} of ${this.#agent?.running} loops wait\n${this.lastLog()}`);
      }
    }
  }

  /** An update by somebody else. */
  foreign(state: JsonObject, clientToken?: string): void {
    const request = { state, ...(clientToken === undefined ? {} : { clientToken }) };
    this.service.update(thing, undefined, Buffer.from(JSON.stringify(request)));
  }

  forget(): void {
    this.service.delete(thing);
  }

  /** Hours since the start, rounded up. */
  get hours(): number {
    return Math.ceil((this.clock.nowMs() - this.#startedMs) / 3_600_000);
  }

  /** A section of the document as the service holds it; `delta` too. */
  section(name: 'desired' | 'reported' | 'delta'): JsonObject {
    const reply = this.service.get(thing);
    const state = reply.ok ? member(reply.body, 'state') : undefined;
    const section = isJsonObject(state) ? member(state, name) : undefined;
    return isJsonObject(section) ? section : {};
  }

  get version(): JsonValue | undefined {
    const reply = this.service.get(thing);
    return reply.ok ? member(reply.body, 'version') : undefined;
  }

  /** The status that the agent shows of a file. */
  status(property: string): JsonValue | undefined {
    const agent = member(this.section('reported'), 'shadowAgent');
    const files = isJsonObject(agent) ? member(agent, 'files') : undefined;
    return isJsonObject(files) ? member(files, property) : undefined;
  }

  /** Hash of what a target holds. */
  async held(file: FileConfig): Promise<string | undefined> {
    return readFile(file.path).then(sha256Of, () => undefined);
  }

  /** Somebody on the device writes to a target, or removes it. */
  async tamper(file: FileConfig, text: string | undefined): Promise<void> {
    await mkdir(dirname(file.path), { recursive: true });
    if (text === undefined) await rm(file.path, { force: true });
    else await writeFile(file.path, text);
  }

  lastLog(): string {
    return this.log.entries
      .slice(-30)
      .map(({ level, message, fields }) => `${level} ${message} ${JSON.stringify(fields)}`)
      .join('\n');
  }
}

/** Mulberry32: the same numbers for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
