import type { FileConfig } from '../../src/config.ts';
import { parseDesired } from '../../src/core/artifact.ts';
import { Counters } from '../../src/core/counters.ts';
import { member } from '../../src/core/json.ts';
import { type ShadowDocument, shadowPrefix } from '../../src/core/shadow.ts';
import { FileKeeper } from '../../src/file.ts';
import type { Clock } from '../../src/io/clock.ts';
import type { Logger } from '../../src/io/log.ts';
import type { MqttLink } from '../../src/io/mqtt.ts';
import { Reporter } from '../../src/io/reporter.ts';
import { Room } from '../../src/io/room.ts';
import type { GetObject } from '../../src/io/s3.ts';
import { State } from '../../src/io/state.ts';
import { ShadowLink } from '../../src/link.ts';

export interface AgentParts {
  thing: string;
  stateDir: string;
  files: FileConfig[];
  resyncSeconds: number;
  /** Default: 0. */
  jitterSeconds?: number;
  /** By which files and link wait. */
  clock: Clock;
  /** By which the reporter waits. */
  reporterClock: Clock;
  log: Logger;
  random: () => number;
  connect: (signal: AbortSignal) => Promise<MqttLink>;
  getObject: GetObject;
}

/** The parts of the agent as src/agent.ts puts them together, on a link, a bucket and a clock of the test. */
export class TestAgent {
  readonly #link: ShadowLink;
  readonly #reporter: Reporter;
  readonly #keepers: FileKeeper[];
  readonly #stop = new AbortController();
  readonly #offline = new AbortController();
  readonly #ended: Promise<unknown>;
  /** Loops that have not ended: one for each file, and the link. */
  running: number;

  private constructor(parts: AgentParts, state: State) {
    const { clock, reporterClock, log, random, resyncSeconds, jitterSeconds = 0 } = parts;
    this.#link = new ShadowLink({
      connect: parts.connect,
      host: 'localhost',
      clientId: 'thing',
      prefix: shadowPrefix(parts.thing),
      resyncSeconds,
      jitterSeconds,
      clock,
      log,
      random,
      held: () => new Map(this.#keepers.map((keeper) => [keeper.property, keeper.desiredValue])),
      onUp: () => {
        for (const keeper of this.#keepers) keeper.linkUp();
      },
      onDown: () => this.#reporter.see(undefined),
      onTrouble: () => {
        for (const keeper of this.#keepers) keeper.linkFailed();
      },
      onNews: () => undefined,
      onDocument: (document) => this.#onDocument(document),
    });
    this.#reporter = new Reporter({
      version: '0.0.0',
      properties: parts.files.map((file) => file.property),
      clock: reporterClock,
      log,
      random,
      send: (patch) => this.#link.report(patch),
      reread: () => this.#link.ring(),
      signal: this.#offline.signal,
    });
    this.#keepers = parts.files.map(
      (file) =>
        new FileKeeper(file, {
          stateDir: parts.stateDir,
          stallSeconds: 30,
          digest: 'native',
          once: false,
          clock,
          log,
          random,
          state,
          reporter: this.#reporter,
          link: this.#link,
          getObject: parts.getObject,
          counters: new Counters(['s3']),
          room: new Room(),
        }),
    );
    this.running = this.#keepers.length + 1;
    const count = (loop: Promise<unknown>) => loop.finally(() => (this.running -= 1));
    this.#ended = Promise.all([
      count(this.#link.run(this.#offline.signal)),
      ...this.#keepers.map((keeper) => count(keeper.run(this.#stop.signal))),
    ]);
    // Whoever waits for the end learns of it.
    this.#ended.catch(() => undefined);
  }

  static async start(parts: AgentParts): Promise<TestAgent> {
    return new TestAgent(parts, await State.open(parts.stateDir, parts.log));
  }

  /** Ends as a killed process would be seen to: no last report. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#offline.abort();
    await this.#ended;
  }

  #onDocument(document: ShadowDocument | undefined): void {
    for (const keeper of this.#keepers) {
      const value = document === undefined ? undefined : member(document.desired, keeper.property);
      const desired = parseDesired(value, keeper.rules);
      keeper.desire(
        desired.kind === 'absent' ? { kind: 'absent', noShadow: document === undefined } : desired,
      );
    }
    this.#reporter.see(document?.reported ?? {});
  }
}
