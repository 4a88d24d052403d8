/** One loop for one file: look, decide, perform, record. A failing file never holds up another. */
import type { FileConfig } from './config.ts';
import { type Desired, type DesiredRules, sameDesired } from './core/artifact.ts';
import { AgentError, toAgentError } from './core/errors.ts';
import type { JsonValue } from './core/json.ts';
import { Progress } from './core/progress.ts';
import {
  type Action,
  type Activity,
  decide,
  type Failure,
  type Outcome,
  reconnected,
  record,
  reportOf,
  type Snapshot,
  settled,
} from './core/reconcile.ts';
import { type StatusOfFile, statusOfFile } from './core/status.ts';
import type { Clock } from './io/clock.ts';
import type { DigestEngine } from './io/digest.ts';
import { Latest } from './io/latest.ts';
import type { Logger } from './io/log.ts';
import type { Reporter } from './io/reporter.ts';
import type { Room } from './io/room.ts';
import type { GetObject } from './io/s3.ts';
import { type State, storable } from './io/state.ts';
import { Target } from './io/target.ts';
import type { Throttle } from './io/throttle.ts';
import type { ShadowLink } from './link.ts';
import { update } from './update.ts';

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
  /** Held by the downloads of all files together, as is the room on disk. */
  throttle: Throttle;
  room: Room;
}

const noAnswer = { code: 'TIMEOUT', message: 'The shadow service did not answer' } as const;
const hourMs = 3_600_000;
const onceRetryMs = 60_000;
// Before the rename the answer that desired this must be this young; a poor link has this long to give another.
const freshMs = 10_000;
const freshTimeoutMs = 5_000;

/** Keeps one file equal to what is desired of it. */
export class FileKeeper {
  readonly property: string;
  readonly rules: DesiredRules;
  readonly #file: FileConfig;
  readonly #options: KeeperOptions;
  readonly #target: Target;
  readonly #desired = new Latest<Desired>({ kind: 'unknown' });
  /** Ends a wait, so that disk and clock are looked at again; it does not end an attempt. */
  readonly #nudge = new Latest(undefined);
  #snapshot: Snapshot = { desired: { kind: 'unknown' } };
  #linkIsNew = false;
  /** The most bytes that were on disk for a desired value. */
  #best: { value: JsonValue; bytes: number } | undefined;
  #logged: Desired | undefined;
  /** Of the attempt that is under way. */
  #progress: Progress | undefined;
  #onceUntilMs = Number.POSITIVE_INFINITY;

  constructor(file: FileConfig, options: KeeperOptions) {
    this.#file = file;
    this.#options = options;
    this.property = file.property;
    const { state, log, digest } = options;
    this.#target = new Target({ property: file.property, path: file.path, digest, state, log });
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
      const outcome = await this.#observe(signal);
      this.#snapshot = record(this.#snapshot, outcome, clock.nowMs(), random());
      await this.#remember(outcome);
      this.#report('idle');
      const end = once ? this.#onceEnd() : undefined;
      if (end !== undefined) return end === 'done' ? undefined : end;
      const next = await this.#perform(decide(this.#snapshot, clock.nowMs()), stop, wake);
      this.#snapshot = record(this.#snapshot, next, clock.nowMs(), random());
      await this.#remember(next);
    }
    this.#report('stopping');
    return undefined;
  }

  /** Takes in what is desired and what is on the disk, as of now. A target that cannot be read is a failed attempt. */
  async #observe(signal: AbortSignal): Promise<Outcome> {
    const { clock } = this.#options;
    const { installed: _, ...rest } = this.#snapshot;
    const desired = this.#desired.value;
    const snapshot: Snapshot = { ...rest, desired };
    this.#snapshot = this.#linkIsNew ? reconnected(snapshot, clock.nowMs()) : snapshot;
    this.#linkIsNew = false;
    try {
      const installed = await this.#target.look(desired, signal);
      if (installed !== undefined) this.#snapshot = { ...this.#snapshot, installed };
      await this.#target.tidy(desired, installed);
      this.#logRefusal(desired);
      return { kind: 'waited' };
    } catch (error) {
      if (signal.aborted || desired.kind !== 'artifact') return { kind: 'waited' };
      const failed = toAgentError(error, 'INSTALL', `Cannot read ${this.#file.path}`);
      return { kind: 'failed', value: desired.value, error: failed, gained: false };
    }
  }

  /** Says once what cannot be done; a failed attempt is logged where it ends. */
  #logRefusal(desired: Desired): void {
    if (desired.kind !== 'refused' || desired === this.#logged) return;
    this.#logged = desired;
    const { code, message, hint } = desired;
    this.#options.log.warning(message, { file: this.property, code, hint });
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
    const { clock, log, link, stateDir, stallSeconds, digest, getObject, throttle, room } = this.#options;
    const startedMs = clock.nowMs();
    const best = this.#best?.value === value ? this.#best.bytes : 0;
    const progress = new Progress(startedMs, best);
    this.#progress = progress;
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
        throttle,
        room,
        target: this.#target,
        onProgress: (bytes, size) => {
          progress.take(bytes, size, clock.nowMs());
          if (progress.isReportDue(clock.nowMs()))
            this.#report({ bytes, ...(size === undefined ? {} : { size }) });
        },
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
      this.#target.installed(installed);
      return { kind: 'installed', value, installed };
    } catch (error) {
      if (signal.aborted) {
        log.info('Update stopped', { file: this.property, hash: artifact.sha256 });
        return { kind: 'superseded' };
      }
      this.#best = { value, bytes: progress.bestBytes };
      link.ring();
      const failed = toAgentError(error, 'INSTALL', `Cannot install ${this.#file.path}`);
      return { kind: 'failed', value, error: failed, gained: progress.gained && failed.retry === 'soon' };
    } finally {
      this.#progress = undefined;
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
    const stored = storable(failure, retryAtWallMs);
    if (stored !== undefined || this.#target.stored.failure !== undefined)
      await this.#target.store({ failure: stored });
  }

  #loadFailure(): Snapshot {
    const { clock } = this.#options;
    const stored = this.#target.stored.failure;
    if (stored === undefined) return this.#snapshot;
    const waitMs = Math.min(Math.max(stored.retryAtMs - clock.wallMs(), 0), hourMs);
    const failure: Failure = { ...stored, retry: 'slow', retryAtMs: clock.nowMs() + waitMs };
    return { ...this.#snapshot, failure };
  }

  #onceEnd(): 'done' | AgentError | undefined {
    const { clock, link } = this.#options;
    const end = settled(this.#snapshot);
    if (end === 'done') return 'done';
    if (end !== 'pending') return this.#reason(end);
    const trouble = this.#snapshot.desired.kind === 'unknown' ? link.state.lastError : this.#snapshot.failure;
    const isLate = clock.nowMs() >= this.#onceUntilMs;
    if (trouble === undefined) return isLate ? this.#reason(noAnswer) : undefined;
    this.#onceUntilMs = Math.min(this.#onceUntilMs, clock.nowMs() + onceRetryMs);
    return isLate || trouble.retry !== 'soon' ? this.#reason(trouble) : undefined;
  }

  #reason({ code, message, hint }: Pick<Failure, 'code' | 'message' | 'hint'>): AgentError {
    return new AgentError(code, `${this.property}: ${message}`, hint === undefined ? {} : { hint });
  }

  #report(activity: Activity): void {
    const { reporter } = this.#options;
    reporter.want(this.property, reportOf(this.#snapshot, activity, reporter.status(this.property)));
  }

  /** What `status` shows of this file. */
  status(): StatusOfFile {
    const { clock } = this.#options;
    const moment = { nowMs: clock.nowMs(), wallMs: clock.wallMs() };
    return statusOfFile(this.#file.path, this.#snapshot, this.#progress, moment);
  }
}
