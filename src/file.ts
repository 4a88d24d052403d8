/** One loop for one file: look, decide, perform, record. A failing file never holds up another. */
import type { FileConfig } from './config.ts';
import { type Desired, type DesiredRules, sameDesired } from './core/artifact.ts';
import { AgentError, toAgentError } from './core/errors.ts';
import { type JsonValue, jsonEqual } from './core/json.ts';
import {
  type Action,
  type Activity,
  decide,
  type Failure,
  type Installed,
  type Outcome,
  reconnected,
  record,
  reportOf,
  type Snapshot,
  settled,
} from './core/reconcile.ts';
import type { Clock } from './io/clock.ts';
import type { DigestEngine } from './io/digest.ts';
import { type Inspected, inspect, sameStamp } from './io/install.ts';
import { Latest } from './io/latest.ts';
import type { Logger } from './io/log.ts';
import type { Reporter } from './io/reporter.ts';
import type { GetObject } from './io/s3.ts';
import { type State, storable } from './io/state.ts';
import type { ShadowLink } from './link.ts';
import { type StateChange, update } from './update.ts';

export interface KeeperOptions {
  stateDir: string;
  stallSeconds: number;
  digest: DigestEngine;
  /** End as soon as the file is as desired, or an error that is not likely to pass is met. */
  once: boolean;
  clock: Clock;
  log: Logger;
  random: () => number;
  state: State;
  reporter: Reporter;
  link: ShadowLink;
  getObject: GetObject;
}

const hourMs = 3_600_000;
const onceRetryMs = 60_000;
// A download that ends sooner is not worth a message.
const firstProgressMs = 2_000;
const progressMs = 30_000;
// Before the rename the answer that desired this must be this young; a poor link has this long to give another.
const freshMs = 10_000;
const freshTimeoutMs = 5_000;

/** Keeps one file equal to what is desired of it. */
export class FileKeeper {
  readonly property: string;
  readonly rules: DesiredRules;
  readonly #file: FileConfig;
  readonly #options: KeeperOptions;
  readonly #desired = new Latest<Desired>({ kind: 'unknown' });
  /** Ends a wait, so that disk and clock are looked at again; it does not end an attempt. */
  readonly #nudge = new Latest(undefined);
  #snapshot: Snapshot = { desired: { kind: 'unknown' } };
  /** What the target was last seen to hold. */
  #found: Inspected | undefined;
  #linkIsNew = false;
  #onceUntilMs = Number.POSITIVE_INFINITY;

  constructor(file: FileConfig, options: KeeperOptions) {
    this.#file = file;
    this.#options = options;
    this.property = file.property;
    this.rules = file.allow === undefined ? {} : { allow: file.allow };
  }

  /** The desired value that is held now; undefined where there is none. */
  get desiredValue(): JsonValue | undefined {
    const desired = this.#desired.value;
    return 'value' in desired ? desired.value : undefined;
  }

  /** Takes what the full document desires. The same as before only has the disk looked at again. */
  desire(desired: Desired): void {
    if (sameDesired(desired, this.#desired.value)) this.#nudge.set(undefined);
    else this.#desired.set(desired);
  }

  /** A new connection is a reason to try at once what was likely to pass by itself. */
  linkUp(): void {
    this.#linkIsNew = true;
    this.#nudge.set(undefined);
  }

  /** The link has failed; with `once` that may end the run. */
  linkFailed(): void {
    this.#nudge.set(undefined);
  }

  /**
   * Runs until the signal is aborted or, with `once`, the file is settled.
   *
   * @returns with `once`, why the file is not as desired
   */
  async run(signal: AbortSignal): Promise<AgentError | undefined> {
    const { clock, once, random } = this.#options;
    if (!once) this.#snapshot = this.#loadFailure();
    while (!signal.aborted) {
      const stop = AbortSignal.any([signal, this.#desired.replaced]);
      const wake = AbortSignal.any([stop, this.#nudge.replaced]);
      this.#snapshot = await this.#observe(signal);
      this.#report('idle');
      const end = once ? this.#onceEnd() : undefined;
      if (end !== undefined) return end === 'done' ? undefined : end;
      const action = decide(this.#snapshot, clock.nowMs());
      const outcome = await this.#perform(action, stop, wake);
      this.#snapshot = record(this.#snapshot, outcome, clock.nowMs(), random());
      await this.#remember(outcome);
    }
    this.#report('stopping');
    return undefined;
  }

  /** What is desired and what is on the disk, as of now. */
  async #observe(signal: AbortSignal): Promise<Snapshot> {
    const { clock, log } = this.#options;
    const { installed: _, ...rest } = this.#snapshot;
    const snapshot: Snapshot = { ...rest, desired: this.#desired.value };
    const now = this.#linkIsNew ? reconnected(snapshot, clock.nowMs()) : snapshot;
    this.#linkIsNew = false;
    try {
      const installed = await this.#look(snapshot.desired, signal);
      return installed === undefined ? now : { ...now, installed };
    } catch (error) {
      const { message, hint } = toAgentError(error, 'INSTALL', `Cannot read ${this.#file.path}`);
      if (!signal.aborted) log.error(message, { file: this.property, hint });
      return now;
    }
  }

  /** Hashes the target where its stamp is not the known one, and stores what the next start can build on. */
  async #look(desired: Desired, signal: AbortSignal): Promise<Installed | undefined> {
    const { log, digest } = this.#options;
    const { path } = this.#file;
    const stored = this.#stored().installed;
    const before = this.#found ?? stored;
    const found = await inspect(path, before, digest, signal);
    this.#found = found;
    if (stored !== undefined && found?.sha256 !== stored.sha256 && found?.sha256 !== before?.sha256) {
      log.warning('The file is not what was installed', {
        file: this.property,
        path,
        found: found?.sha256 ?? 'nothing',
      });
    }
    if (found === undefined) return undefined;
    const { sha256, stamp } = found;
    const asDesired = desired.kind === 'artifact' && desired.artifact.sha256 === sha256;
    const value = asDesired ? desired.value : sha256 === stored?.sha256 ? stored.value : undefined;
    const installed: Installed = { sha256, ...(value === undefined ? {} : { value }) };
    const isNews =
      stored?.sha256 !== sha256 || !sameStamp(stored.stamp, stamp) || !jsonEqual(stored.value, value);
    if (isNews && (asDesired || sha256 === stored?.sha256))
      await this.#store({ installed: { ...installed, stamp } });
    return installed;
  }

  async #perform(action: Action, stop: AbortSignal, wake: AbortSignal): Promise<Outcome> {
    if (action.do === 'install') return this.#update(action, stop);
    const { clock } = this.#options;
    const { untilMs = Number.POSITIVE_INFINITY } = action;
    await clock.sleep(Math.min(untilMs, this.#onceUntilMs) - clock.nowMs(), wake);
    return { kind: 'waited' };
  }

  async #update(
    { artifact, value }: Extract<Action, { do: 'install' }>,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { clock, log, link, stateDir, stallSeconds, digest, getObject } = this.#options;
    const startedMs = clock.nowMs();
    const progress = new Progress(startedMs, (activity) => this.#report(activity));
    log.info('Updating', { file: this.property, url: artifact.url, hash: artifact.sha256 });
    try {
      const installed = await update({
        file: this.#file,
        artifact,
        value,
        installed: this.#snapshot.installed,
        stateDir,
        stallSeconds,
        digest,
        getObject,
        stored: () => this.#stored(),
        store: (change) => this.#store(change),
        onProgress: (bytes, size) => progress.at(bytes, size, clock.nowMs()),
        confirm: () => link.fresh(freshMs, freshTimeoutMs, signal),
        signal,
      });
      const { path } = this.#file;
      const seconds = Math.round((clock.nowMs() - startedMs) / 10) / 100;
      log.info('Installed', {
        file: this.property,
        path,
        hash: artifact.sha256,
        bytes: installed.stamp.size,
        seconds,
      });
      this.#found = installed;
      return { kind: 'installed', installed };
    } catch (error) {
      if (signal.aborted) {
        log.info('Update stopped', { file: this.property, hash: artifact.sha256 });
        return { kind: 'superseded' };
      }
      link.ring();
      const failed = toAgentError(error, 'INSTALL', `Cannot install ${this.#file.path}`);
      return { kind: 'failed', value, error: failed, gained: progress.gained && failed.retry === 'soon' };
    }
  }

  /** Logs a failure, and stores one whose wait a restart must not cut short. */
  async #remember(outcome: Outcome): Promise<void> {
    const { failure } = this.#snapshot;
    if (outcome.kind !== 'failed' || failure === undefined) return;
    const { clock, log } = this.#options;
    const { code, message, hint, attempt, retryAtMs } = failure;
    const retryInSeconds =
      retryAtMs === undefined ? undefined : Math.round((retryAtMs - clock.nowMs()) / 100) / 10;
    log.warning(message, { file: this.property, code, hint, attempt, retryInSeconds });
    const retryAtWallMs = retryAtMs === undefined ? undefined : clock.wallMs() + retryAtMs - clock.nowMs();
    await this.#store({ failure: storable(failure, retryAtWallMs) });
  }

  #loadFailure(): Snapshot {
    const { clock } = this.#options;
    const stored = this.#stored().failure;
    if (stored === undefined) return this.#snapshot;
    const waitMs = Math.min(Math.max(stored.retryAtMs - clock.wallMs(), 0), hourMs);
    const failure: Failure = { ...stored, retry: 'slow', retryAtMs: clock.nowMs() + waitMs };
    return { ...this.#snapshot, failure };
  }

  #stored() {
    return this.#options.state.file(this.property, this.#file.path);
  }

  /** The state file only spares work: where it cannot be written, the file is kept all the same. */
  async #store(change: StateChange): Promise<void> {
    const { state, log } = this.#options;
    try {
      await state.update(this.property, this.#file.path, change);
    } catch (error) {
      log.error('Cannot write the state file', { file: this.property, reason: String(error) });
    }
  }

  #onceEnd(): 'done' | AgentError | undefined {
    const { clock, link } = this.#options;
    const end = settled(this.#snapshot);
    if (end === 'done') return 'done';
    if (end !== 'pending') return new AgentError(end.code, `${this.property}: ${end.message}`);
    const trouble = this.#snapshot.desired.kind === 'unknown' ? link.state.lastError : this.#snapshot.failure;
    if (trouble === undefined) return undefined;
    this.#onceUntilMs = Math.min(this.#onceUntilMs, clock.nowMs() + onceRetryMs);
    const over = trouble.retry !== 'soon' || clock.nowMs() >= this.#onceUntilMs;
    return over ? new AgentError(trouble.code, `${this.property}: ${trouble.message}`) : undefined;
  }

  #report(activity: Activity): void {
    const { reporter } = this.#options;
    reporter.want(this.property, reportOf(this.#snapshot, activity, reporter.status(this.property)));
  }

  /** What `status` shows of this file. */
  status(): JsonValue {
    const { desired, installed, failure } = this.#snapshot;
    return {
      path: this.#file.path,
      installed: installed?.sha256 ?? null,
      desired: desired.kind === 'artifact' ? desired.artifact.sha256 : null,
      status: this.#options.reporter.status(this.property)?.status ?? null,
      failure:
        failure === undefined
          ? null
          : { code: failure.code, message: failure.message, attempt: failure.attempt },
    };
  }
}

/** Tells of a download after 2 s, and then every 30 s. */
class Progress {
  readonly #tell: (activity: Activity) => void;
  #nextMs: number;
  gained = false;

  constructor(startedMs: number, tell: (activity: Activity) => void) {
    this.#tell = tell;
    this.#nextMs = startedMs + firstProgressMs;
  }

  at(bytes: number, size: number, nowMs: number): void {
    this.gained = true;
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + progressMs;
    this.#tell({ bytes, size });
  }
}
