/**
 * READ FIRST. The agent: a link that knows what the shadow desires, a reporter that tells it what is, and for each
 * file one loop of decide → perform → record. What to do is decided in core/reconcile.ts; how bytes come is in
 * io/download.ts, how they become the file in io/install.ts.
 */
import type { AgentConfig, OpenToOthers } from './config.ts';
import { parseDesired } from './core/artifact.ts';
import { Counters } from './core/counters.ts';
import { AgentError, type Problem } from './core/errors.ts';
import { type JsonValue, member } from './core/json.ts';
import { lastAnswerIn, metricsText } from './core/metrics.ts';
import { portsOf } from './core/ports.ts';
import { type ShadowDocument, shadowPrefix } from './core/shadow.ts';
import { type AgentStatus, statusOfLink, statusOfWarning, wallTime } from './core/status.ts';
import { timeText } from './core/words.ts';
import { FileKeeper } from './file.ts';
import { createConnect } from './io/broker.ts';
import { type Clock, systemClock } from './io/clock.ts';
import { type Answer, type ControlRequest, takeControl } from './io/control.ts';
import { CredentialsProvider } from './io/credentials-provider.ts';
import { CurrentIdentity } from './io/current-identity.ts';
import { endSurvivors } from './io/hook-note.ts';
import type { Identity } from './io/identity.ts';
import { createLogger, type Logger } from './io/log.ts';
import { createMetered } from './io/metered.ts';
import { formerMetrics, keepMetricsFile } from './io/metrics-file.ts';
import { keepProgressLine } from './io/progress-line.ts';
import { routeBy } from './io/proxy.ts';
import { createRanges } from './io/ranges.ts';
import { Reporter } from './io/reporter.ts';
import { Room } from './io/room.ts';
import { createFetch } from './io/runtime.ts';
import { createGetObject } from './io/s3.ts';
import { ServerTime } from './io/server-time.ts';
import { warnOfUnknownSequences } from './io/signature.ts';
import { respell } from './io/spelling.ts';
import { State } from './io/state.ts';
import { deviceTls, s3Tls } from './io/tls-identity.ts';
import { ShadowLink } from './link.ts';

export interface RunOptions {
  /** Bring every file up to date once, then end. */
  once: boolean;
  /** Aborted to shut down. */
  signal: AbortSignal;
  version: string;
  /** Of the configuration; logged at the start. */
  warnings?: readonly Problem[];
  /** What others could read or replace while it runs. */
  openToOthers?: OpenToOthers;
}

// SIGTERM to exit takes under 5 s: this much for the last report, 2 s for the disconnect.
const lastReportMs = 2_000;

/**
 * Runs the agent until the signal is aborted or, with `once`, until every file is as desired.
 *
 * @throws AgentError with `once` why a file could not be brought up to date (each is in the log), or that it was stopped
 * before; when another agent holds the state directory, or that cannot be written
 */
export async function runAgent(config: AgentConfig, identity: Identity, options: RunOptions): Promise<void> {
  const log = createLogger(config.log);
  let answer: Answer = () => {
    throw new AgentError('INSTALL', 'The agent has only begun to start', { hint: 'ask again' });
  };
  const control = await takeControl(config.stateDir, (request) => answer(request));
  try {
    await endSurvivors(config.stateDir, log, options.signal);
    // To begin anew would take old signatures again.
    const isPrecious = config.files.some(({ verify }) => verify !== undefined);
    const state = await State.open(config.stateDir, log, isPrecious);
    await state.keepTo(
      shadowPrefix(config.thingName, config.shadowName),
      config.files.map(({ property }) => property),
    );
    for (const file of config.files) await respell(file, state);
    warnOfUnknownSequences(config.files, state, log);
    const agent = new Agent(config, identity, options, systemClock, log, state);
    answer = (request) => agent.answer(request);
    await agent.run();
  } finally {
    await control.close();
  }
}

class Agent {
  readonly #config: AgentConfig;
  readonly #identity: CurrentIdentity;
  readonly #startedMs: number;
  readonly #options: RunOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #keepers: FileKeeper[];
  readonly #link: ShadowLink;
  readonly #reporter: Reporter;
  readonly #credentials: CredentialsProvider;
  readonly #counters: Counters;
  /** Aborted once the last report is out: until then the link outlives the files. */
  readonly #offline = new AbortController();

  constructor(
    config: AgentConfig,
    identity: Identity,
    options: RunOptions,
    clock: Clock,
    log: Logger,
    state: State,
  ) {
    this.#config = config;
    this.#startedMs = clock.nowMs();
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    const { random } = Math;
    const serverTime = new ServerTime(clock);
    const route = routeBy(config.proxy);
    const { cert, key, ca, s3 } = config;
    const paths = { cert, key, ca, ...(s3.ca === undefined ? {} : { s3Ca: s3.ca }) };
    const access = { strict: config.strict, openToOthers: options.openToOthers?.ofIdentity };
    this.#identity = new CurrentIdentity(identity, paths, clock, log, access);
    this.#link = new ShadowLink({
      connect: createConnect({
        ports: portsOf(config.endpoint),
        route,
        mqtt: async () => this.#broker(await this.#identity.look()),
      }),
      host: config.endpoint.host,
      clientId: config.clientId,
      prefix: shadowPrefix(config.thingName, config.shadowName),
      resyncSeconds: config.resyncSeconds,
      jitterSeconds: config.jitterSeconds,
      clock,
      log,
      random,
      held: () => new Map(this.#keepers.map((keeper) => [keeper.property, keeper.desiredValue])),
      onUp: () => {
        for (const keeper of this.#keepers) keeper.linkUp();
      },
      onDown: () => this.#reporter.see(undefined),
      onTrouble: ({ code }) => {
        this.#counters.failLink(code);
        for (const keeper of this.#keepers) keeper.linkFailed();
      },
      onNews: () => this.#credentials.warm(),
      onDocument: (document) => {
        this.#onDocument(document);
        void this.#identity.look();
      },
    });
    this.#reporter = new Reporter({
      version: options.version,
      properties: config.files.map((file) => file.property),
      clock,
      log,
      random,
      send: (patch) => this.#link.report(patch),
      reread: () => this.#link.ring(),
      signal: this.#offline.signal,
    });
    this.#credentials = new CredentialsProvider({
      endpoint: config.credentialEndpoint,
      thingName: config.thingName,
      fetch: createFetch(async () => deviceTls(await this.#identity.look()), route),
      clock,
      serverTime,
      signal: options.signal,
    });
    const { connections, maxBytesPerSecond } = config.s3;
    const single = createGetObject({
      address: config.s3,
      credentials: this.#credentials,
      fetch: createFetch(async () => s3Tls(await this.#identity.look()), route),
      clock,
      serverTime,
    });
    // What runs ahead would not be held to a limit.
    const getObject =
      maxBytesPerSecond > 0
        ? createMetered({ getObject: single, bytesPerSecond: maxBytesPerSecond, clock })
        : createRanges({ getObject: single, connections, clock });
    this.#counters = new Counters(config.files.map((file) => file.property));
    const room = new Room();
    this.#keepers = config.files.map(
      (file) =>
        new FileKeeper(file, {
          stateDir: config.stateDir,
          stallSeconds: config.stallSeconds,
          digest: config.digest,
          once: options.once,
          clock,
          log,
          random,
          state,
          reporter: this.#reporter,
          link: this.#link,
          getObject,
          room,
          openOnTheWay: config.strict ? options.openToOthers?.onTheWayTo : undefined,
          counters: this.#counters,
        }),
    );
  }

  #broker({ certPem, keyPem, caPem }: Identity) {
    const { endpoint, clientId, keepAliveSeconds } = this.#config;
    const { host } = endpoint;
    return { host, clientId, keepAliveSeconds, cert: certPem, key: keyPem, ca: caPem };
  }

  async run(): Promise<void> {
    const { version, signal, warnings = [] } = this.#options;
    const { thingName, shadowName, files } = this.#config;
    this.#log.info('shadow-agent starts', {
      version,
      thing: thingName,
      shadow: shadowName,
      files: files.length,
    });
    for (const { path, message, hint } of warnings) this.#log.warning(`${path}: ${message}`, { hint });
    const link = this.#link.run(this.#offline.signal);
    const ended = new AbortController();
    const told = [
      this.#keepMetrics(ended.signal),
      keepProgressLine(() => this.#status().files, this.#clock, ended.signal),
    ];
    const ends = await Promise.all(this.#keepers.map((keeper) => keeper.run(signal)));
    await Promise.race([this.#reporter.idle(), this.#clock.sleep(lastReportMs, this.#offline.signal)]);
    this.#offline.abort();
    await link;
    ended.abort();
    await Promise.all(told);
    this.#log.info('shadow-agent ends');
    const failure = ends.find((end) => end !== undefined);
    if (failure !== undefined) throw failure;
  }

  async #keepMetrics(signal: AbortSignal): Promise<void> {
    const { metricsFile: path } = this.#config;
    if (path === undefined) return;
    const formerAnswer = lastAnswerIn(await formerMetrics(path));
    const render = () => metricsText(this.#counters, this.#status(), formerAnswer);
    await keepMetricsFile({ path, render, clock: this.#clock, log: this.#log, signal });
  }

  #onDocument(document: ShadowDocument | undefined): void {
    for (const keeper of this.#keepers) {
      const value = document === undefined ? undefined : member(document.desired, keeper.property);
      const desired = parseDesired(value, keeper.rules);
      keeper.desire(
        desired.kind === 'absent' ? { kind: 'absent', noShadow: document === undefined } : desired,
      );
    }
    if (document === undefined) this.#log.info('The thing has no shadow yet');
    this.#reporter.see(document?.reported ?? {});
  }

  /** Answers what a command of the same device asks for. */
  async answer(request: ControlRequest): Promise<JsonValue> {
    if (request.command === 'status') return this.#status();
    const { property } = request;
    const keeper = this.#keepers.find((one) => one.property === property);
    if (keeper === undefined) {
      throw new AgentError('CONFIG_INVALID', `The running agent keeps no file "${property}"`, {
        hint: 'restart it, so that it reads its configuration anew',
      });
    }
    const { installed, held } = await keeper.rollback(this.#options.signal);
    return { installed: installed?.sha256 ?? null, held: held?.sha256 ?? null };
  }

  #status(): AgentStatus {
    const { thingName, shadowName, sourceHash } = this.#config;
    const moment = { nowMs: this.#clock.nowMs(), wallMs: this.#clock.wallMs() };
    return {
      version: this.#options.version,
      pid: process.pid,
      startedAt: wallTime(this.#startedMs, moment),
      thing: thingName,
      shadow: shadowName ?? null,
      configHash: sourceHash ?? null,
      link: statusOfLink(this.#link.state, moment),
      certificate: { notAfter: timeText(this.#identity.value.notAfterMs) },
      warnings: this.#identity.refused.map((refusal) => statusOfWarning(refusal, moment)),
      files: Object.fromEntries(this.#keepers.map((keeper) => [keeper.property, keeper.status()])),
    };
  }
}
