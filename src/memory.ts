/** What one run of the agent tells the next of a file, through the state file. */
import type { FileConfig } from './config.ts';
import { type Desired, parseDesired } from './core/artifact.ts';
import { failedRepair, previousAfter } from './core/pending.ts';
import type { Failure, Installed, Outcome, Snapshot } from './core/reconcile.ts';
import type { Clock } from './io/clock.ts';
import type { KeptFiles } from './io/kept.ts';
import type { Logger } from './io/log.ts';
import { type StateChange, type StoredFailure, storable } from './io/state.ts';
import { presentFailure, retryOf } from './io/stored-file.ts';
import type { Target } from './io/target.ts';

export interface MemoryOptions {
  file: FileConfig;
  target: Target;
  kept: KeptFiles;
  clock: Clock;
  log: Logger;
}

const hourMs = 3_600_000;
const members = ['pending', 'held', 'previous', 'failure', 'blocked'] as const;
type Remembered = Pick<Snapshot, (typeof members)[number]>;

export class Memory {
  readonly #options: MemoryOptions;
  /** What is stored. */
  #last: Remembered = {};
  #skipsWaits = false;

  constructor(options: MemoryOptions) {
    this.#options = options;
  }

  /**
   * What an earlier run has left.
   *
   * @param skipsWaits the run ends with what is not likely to pass soon: leaves failures out that are tried again some time
   */
  load(skipsWaits: boolean): Remembered {
    this.#skipsWaits = skipsWaits;
    const failure = this.#loadFailure();
    const isSkipped = skipsWaits && failure?.retryAtMs !== undefined;
    this.#last = { ...this.recall(), ...(failure === undefined || isSkipped ? {} : { failure }) };
    return this.#last;
  }

  /** What is stored now. An install that was begun has said what is pending, however far it has come. */
  recall(): Omit<Remembered, 'failure' | 'blocked'> {
    const { pending, held, previous } = this.#options.target.stored;
    return {
      ...(pending === undefined ? {} : { pending }),
      ...(held === undefined ? {} : { held }),
      ...(previous === undefined ? {} : { previous }),
    };
  }

  /** What is to be assumed of the shadow that does not answer: that it desires what it did. */
  desired(): Desired {
    const { target, file } = this.#options;
    const last = parseDesired(target.stored.desired, file);
    return { kind: 'unknown', ...(last.kind === 'artifact' ? { last } : {}) };
  }

  /** A snapshot without the failure of what was replaced or withdrawn, for as long as the shadow has not answered. */
  told({ failure, ...rest }: Snapshot): Snapshot {
    const { stored } = this.#options.target;
    const isPast = stored.failure !== undefined && presentFailure(stored) === undefined;
    const isTold = failure !== undefined && !(rest.desired.kind === 'unknown' && isPast);
    return isTold ? { ...rest, failure } : rest;
  }

  #loadFailure(): Failure | undefined {
    const { target, clock } = this.#options;
    const { failure: stored } = target.stored;
    if (stored === undefined) return undefined;
    const { retryAtMs, ...rest } = stored;
    const failure = { ...rest, retry: retryOf(stored) };
    if (retryAtMs === undefined) return failure;
    if (presentFailure(target.stored) === undefined) return undefined;
    const waitMs = Math.min(Math.max(retryAtMs - clock.wallMs(), 0), hourMs);
    return { ...failure, retryAtMs: clock.nowMs() + waitMs };
  }

  /** Logs a failure, and stores what an outcome has changed. */
  async remember(outcome: Outcome, snapshot: Snapshot): Promise<void> {
    const failed = outcome.kind === 'failed' ? outcome : failedRepair(this.#last, outcome);
    if (failed !== undefined) this.#logFailure(failed.step === true ? snapshot.blocked : snapshot.failure);
    // A hook has had its run stored before it began.
    const last = outcome.kind === 'hooked' ? { ...this.#last, ...this.recall() } : this.#last;
    this.#last = snapshot;
    const changed = members.filter((member) => !isSame(last[member], snapshot[member]));
    // What an install changes is stored as part of it.
    if (outcome.kind === 'installed' || changed.length === 0) return;
    const { target } = this.#options;
    const failures = { failure: this.#storable(snapshot.failure), blocked: this.#storable(snapshot.blocked) };
    const { failure, blocked } = target.stored;
    const isStored = [failure, blocked, ...Object.values(failures)].some((one) => one !== undefined);
    if (!isStored && changed.every((member) => member in failures)) return;
    // What else is stored may be newer than the snapshot: an attempt says itself what it has begun, and what it gave up.
    const news = Object.fromEntries(changed.map((member) => [member, snapshot[member]]));
    await target.store({ ...news, ...failures, ...this.#unproven(outcome, snapshot.installed) });
    await this.clean(this.recall());
  }

  /**
   * A file that was given up before its hook took it: no install of it is a repair, and what was made of it is no way back.
   * The file before it still is, unless that is there again.
   */
  #unproven({ kind }: Outcome, there: Installed | undefined): StateChange {
    const { pending, installed, previous } = this.#options.target.stored;
    if (kind !== 'unapplied' || pending === undefined || pending.repair === true) return {};
    if (installed === undefined || installed.sha256 !== pending.sha256) return {};
    if (pending.before?.sha256 === there?.sha256) return { installed: undefined };
    return { installed: { ...installed, unproven: true }, previous: previousAfter(pending, previous) };
  }

  /** Removes what earlier runs have left for nobody. */
  async tidy(known: Remembered): Promise<void> {
    const { target, kept } = this.#options;
    await target.leaveFormer(kept);
    await this.clean(known);
  }

  /** Removes what is kept for nobody. */
  async clean({ previous, pending }: Remembered): Promise<void> {
    await this.#options.kept.clean([previous, pending?.before]);
  }

  #logFailure(failure: Failure | undefined): void {
    if (failure === undefined) return;
    const { file, clock, log } = this.#options;
    const { code, message, hint, attempt, retryAtMs, retry } = failure;
    const isLast = retryAtMs === undefined || (this.#skipsWaits && retry !== 'soon');
    const retryInSeconds = isLast ? undefined : Math.round((retryAtMs - clock.nowMs()) / 100) / 10;
    log.warning(message, { file: file.property, code, hint, attempt, retryInSeconds });
  }

  #storable(failure: Failure | undefined): StoredFailure | undefined {
    if (failure === undefined) return undefined;
    const { clock } = this.#options;
    const { retryAtMs } = failure;
    return storable(
      failure,
      retryAtMs === undefined ? undefined : clock.wallMs() + retryAtMs - clock.nowMs(),
    );
  }
}

function isSame(a: object | undefined, b: object | undefined): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
