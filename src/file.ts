/** One loop for one file: look, decide, perform, record. A failing file never holds up another. */
import { Applier } from './apply.ts';
import { AskedRollback } from './asked.ts';
import { type AttemptOptions, Attempts } from './attempt.ts';
import type { FileConfig } from './config.ts';
import { type Desired, type DesiredRules, sameDesired, wantedBy } from './core/artifact.ts';
import type { Counters } from './core/counters.ts';
import { type AgentError, toAgentError } from './core/errors.ts';
import type { JsonValue } from './core/json.ts';
import { dueOf, failedReapply } from './core/pending.ts';
import {
  type Action,
  decide,
  type Outcome,
  type Reason,
  reasonError,
  reconnected,
  record,
  type Snapshot,
} from './core/reconcile.ts';
import { type Activity, reportOf } from './core/report.ts';
import { released } from './core/rollback.ts';
import { failureOf, settled } from './core/standing.ts';
import { type StatusOfFile, statusOfFile } from './core/status.ts';
import { KeptFiles } from './io/kept.ts';
import { Latest } from './io/latest.ts';
import { isDone } from './io/patience.ts';
import type { Reporter } from './io/reporter.ts';
import type { State } from './io/state.ts';
import { Target } from './io/target.ts';
import { Memory } from './memory.ts';
import { Once } from './once.ts';

export interface KeeperOptions
  extends Omit<AttemptOptions, 'file' | 'target' | 'kept' | 'counters' | 'onProgress'> {
  stateDir: string;
  /** End as soon as the file is as desired, or an error that is not likely to pass is met. */
  once: boolean;
  random: () => number;
  state: State;
  reporter: Reporter;
  /** Of all files. */
  counters: Counters;
}

const isStopped = {
  code: 'INSTALL',
  message: 'Stopped before the file was as desired',
  hint: 'start it again: what has come so far is kept',
} as const;
// A network that comes up a moment after the device is to find nobody at work on what may be superseded.
const lateMs = 5_000;
// A hook that ends sooner is not worth a message.
const applyingMs = 2_000;
// What a full disk kept from being stored is not to wait for the next word of the shadow.
const storeAgainMs = 60_000;

interface Signals {
  /** The agent ends. */
  end: AbortSignal;
  /** … or somebody asks for a rollback. */
  stop: AbortSignal;
  /** … or something else is desired. */
  superseded: AbortSignal;
  /** … or disk and clock are to be looked at. */
  wake: AbortSignal;
}

/** Keeps one file equal to what is desired of it. */
export class FileKeeper {
  readonly property: string;
  readonly rules: DesiredRules;
  readonly #file: FileConfig;
  readonly #options: KeeperOptions;
  readonly #target: Target;
  readonly #attempts: Attempts;
  readonly #applier: Applier;
  readonly #memory: Memory;
  readonly #desired = new Latest<Desired>({ kind: 'unknown' });
  /** Ends a wait, so that disk and clock are looked at again; it does not end an attempt. */
  readonly #nudge = new Latest(undefined);
  /** That somebody asks ends an attempt, and a hook that runs. */
  readonly #asked: AskedRollback;
  readonly #once = new Once();
  #snapshot: Snapshot = { desired: { kind: 'unknown' } };
  #linkIsNew = false;
  #startedMs = Number.POSITIVE_INFINITY;
  #logged: Desired | undefined;

  constructor(file: FileConfig, options: KeeperOptions) {
    this.#file = file;
    this.#options = options;
    this.property = file.property;
    this.#asked = new AskedRollback(file.property);
    const { state, log, digest, stateDir, clock, openOnTheWay } = options;
    const { property, path } = file;
    this.#target = new Target({ property, path, digest, state, log });
    const parts = { file, target: this.#target, kept: new KeptFiles(stateDir, property, path) };
    const onProgress = (progress: Activity) => this.#report(progress);
    this.#attempts = new Attempts({ ...options, ...parts, onProgress });
    this.#applier = new Applier({ ...parts, stateDir, digest, log, openOnTheWay });
    this.#memory = new Memory({ ...parts, clock, log });
    this.rules = file;
  }

  /** The desired value that is held now; undefined where there is none. */
  get desiredValue(): JsonValue | undefined {
    const desired = this.#desired.value;
    return 'value' in desired ? desired.value : undefined;
  }

  /**
   * Takes what the full document desires. The same as before only has the disk looked at again. What is new is stored at
   * once: a hook or a slow disk may hold the loop up until a power cut.
   */
  desire(desired: Desired): void {
    if (sameDesired(desired, this.#desired.value)) this.#nudge.set(undefined);
    else {
      void this.#target.heed(desired);
      this.#desired.set(desired);
    }
  }

  /** A new connection is a reason to try at once what was likely to pass by itself. */
  linkUp(): void {
    this.#linkIsNew = true;
    this.#nudge.set(undefined);
  }

  /** The link has failed. With `once` that may end the run; else what was desired last is gone by until it is up. */
  linkFailed(): void {
    const { value } = this.#desired;
    const isEarly = this.#options.clock.nowMs() - this.#startedMs < lateMs;
    if (this.#options.once || isEarly || value.kind !== 'unknown' || value.last !== undefined)
      this.#nudge.set(undefined);
    else this.#desired.set(this.#memory.desired());
  }

  /** Runs until the signal is aborted or, with `once`, the file is settled. @returns with `once`, why it is not as desired */
  async run(signal: AbortSignal): Promise<AgentError | undefined> {
    const { once, clock } = this.#options;
    this.#startedMs = clock.nowMs();
    this.#snapshot = { ...this.#snapshot, ...this.#memory.load(once) };
    await this.#memory.tidy(this.#snapshot);
    try {
      while (!signal.aborted) {
        const stop = AbortSignal.any([signal, this.#asked.rings]);
        const superseded = AbortSignal.any([stop, this.#desired.replaced]);
        const wake = AbortSignal.any([superseded, this.#nudge.replaced]);
        // One time for the whole turn: what waits as it begins is not begun in it.
        const nowMs = clock.nowMs();
        await this.#record(await this.#observe(nowMs, signal));
        await this.#beginRollback(signal);
        this.#report('idle');
        const end = once ? this.#onceEnd() : undefined;
        if (end !== undefined) return end === 'done' ? undefined : end;
        const action = decide(this.#snapshot, nowMs);
        await this.#record(await this.#perform(action, { end: signal, stop, superseded, wake }));
      }
      this.#report('stopping');
      await isDone(this.#target.heed(this.#desired.value), signal);
      return once && settled(this.#snapshot) !== 'done' ? this.#error(isStopped) : undefined;
    } finally {
      // A file that holds the agent itself has the agent ended by its hook: it is back all the same.
      if (this.#asked.isBegun && this.#snapshot.pending?.step === 'reapply')
        this.#asked.answer(this.#snapshot);
      this.#asked.end();
    }
  }

  async #record(outcome: Outcome): Promise<void> {
    const { clock, random, counters } = this.#options;
    counters.count(this.property, this.#snapshot, outcome);
    const refused = failedReapply(this.#snapshot, outcome);
    this.#snapshot = record(this.#snapshot, outcome, clock.nowMs(), random());
    await this.#memory.remember(outcome, this.#snapshot);
    if (!this.#asked.isBegun) return;
    const { pending } = this.#snapshot;
    if (outcome.kind === 'failed') this.#asked.answer(this.#error(outcome.error));
    if (pending === undefined)
      this.#asked.answer(refused === undefined ? this.#snapshot : this.#error(refused));
  }

  /**
   * Puts the previous file back, and holds it until another hash is desired.
   *
   * @param signal aborted when the agent ends
   * @returns what is known of the file then
   * @throws AgentError HELD or INSTALL where there is no way back, or it cannot be gone; HOOK_FAILED where its hook failed
   */
  async rollback(signal: AbortSignal): Promise<Snapshot> {
    // One that is refused is to end neither a download nor a hook. What is there may change until it has its turn.
    await this.#applier.wayBack(this.#known(this.#desired.value), signal);
    return this.#asked.ask();
  }

  async #beginRollback(signal: AbortSignal): Promise<void> {
    if (!this.#asked.isWaiting) return;
    try {
      this.#snapshot = await this.#applier.begin(this.#snapshot, signal);
      this.#asked.begin();
    } catch (error) {
      if (signal.aborted) return;
      this.#asked.answer(toAgentError(error, 'INSTALL', `Cannot roll ${this.property} back`));
    }
  }

  /** Takes in what is desired and what is on the disk. A target that cannot be read is a failed attempt, if one is due. */
  async #observe(nowMs: number, signal: AbortSignal): Promise<Outcome> {
    const desired = this.#desired.value;
    const heeded = this.#target.heed(desired);
    // A download need not wait for that: what it stores itself comes behind.
    if (this.#options.state.isStale || desired.kind !== 'artifact') await heeded;
    const snapshot = this.#known(desired);
    this.#snapshot = this.#linkIsNew ? reconnected(snapshot, nowMs) : snapshot;
    this.#linkIsNew = false;
    this.#logRefusal(desired);
    try {
      const installed = await this.#target.look(desired, signal);
      if (installed !== undefined) this.#snapshot = { ...this.#snapshot, installed };
      await this.#target.tidy(desired, installed);
      return { kind: 'waited' };
    } catch (error) {
      const step = dueOf(this.#snapshot);
      const last = failureOf(this.#snapshot);
      const isDue = last === undefined || (last.retryAtMs ?? Number.POSITIVE_INFINITY) <= nowMs;
      const wanted = wantedBy(desired);
      // What goes back goes there whatever is in its place.
      const isMissed = wanted !== undefined && isDue && step?.step !== 'back';
      if (signal.aborted || !isMissed) return { kind: 'waited' };
      const failed = toAgentError(error, 'INSTALL', `Cannot read ${this.#file.path}`);
      const ofStep = step === undefined ? {} : ({ step: true } as const);
      return { kind: 'failed', value: wanted.value, error: failed, gained: false, ...ofStep };
    }
  }

  /** All but what the disk holds. */
  #known(desired: Desired): Snapshot {
    const { installed: _, pending: _p, held: _h, previous: _v, ...rest } = this.#snapshot;
    return released({ ...rest, ...this.#memory.recall(), desired });
  }

  /** Says and counts once what cannot be done; a failed attempt is logged where it ends. */
  #logRefusal(desired: Desired): void {
    if (desired.kind !== 'refused' || desired === this.#logged) return;
    this.#logged = desired;
    const { code, message, hint } = desired;
    this.#options.counters.refuse(this.property, code);
    this.#options.log.warning(message, { file: this.property, code, hint });
  }

  async #perform(action: Action, { end, stop, superseded, wake }: Signals): Promise<Outcome> {
    const { clock } = this.#options;
    switch (action.do) {
      case 'install':
        return this.#attempts.make(action, this.#snapshot.installed, superseded);
      case 'wait': {
        const { untilMs = Number.POSITIVE_INFINITY } = action;
        const againMs = this.#options.state.isStale ? storeAgainMs : Number.POSITIVE_INFINITY;
        await clock.sleep(Math.min(Math.min(untilMs, this.#once.untilMs) - clock.nowMs(), againMs), wake);
        return { kind: 'waited' };
      }
      default: {
        const ended = new AbortController();
        void clock.sleep(applyingMs, ended.signal).then(() => {
          if (!ended.signal.aborted) this.#report('applying');
        });
        return this.#applier.perform(action, stop, end).finally(() => ended.abort());
      }
    }
  }

  #onceEnd(): 'done' | AgentError | undefined {
    const { clock, link } = this.#options;
    const end = this.#once.endOf(this.#snapshot, clock.nowMs(), link.state.lastError);
    return end === undefined || end === 'done' ? end : this.#error(end);
  }

  #error(reason: Reason): AgentError {
    return reasonError(this.property, reason);
  }

  #report(activity: Activity): void {
    const { reporter } = this.#options;
    reporter.want(this.property, reportOf(this.#snapshot, activity, reporter.status(this.property)));
  }

  /** What `status` shows of this file. */
  status(): StatusOfFile {
    const { clock } = this.#options;
    const moment = { nowMs: clock.nowMs(), wallMs: clock.wallMs() };
    const snapshot = this.#memory.told(this.#snapshot);
    return statusOfFile(this.#file.path, snapshot, this.#attempts.progress, moment);
  }
}
