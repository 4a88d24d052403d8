import { type Desired, wantedBy } from '../core/artifact.ts';
import { isJsonObject, jsonEqual } from '../core/json.ts';
import type { Before } from '../core/pending.ts';
import type { Installed } from '../core/reconcile.ts';
import type { DigestEngine } from './digest.ts';
import { syncNamed } from './disk.ts';
import { type Inspected, inspect, sameStamp } from './install.ts';
import type { KeptFiles } from './kept.ts';
import type { Logger } from './log.ts';
import { cleanParts } from './part.ts';
import type { FileState, StampedInstalled, State, StateChange } from './state.ts';

export interface TargetOptions {
  property: string;
  path: string;
  digest: DigestEngine;
  state: State;
  log: Logger;
}

/** One target: what the disk holds, and what is stored of it. */
export class Target {
  readonly #options: TargetOptions;
  /** What the disk was last seen to hold; it spares hashing as long as the stamp stays. */
  #found: Inspected | undefined;
  #tidied: Desired | undefined;
  #warnedOf: string | undefined;
  /** That what is desired is stored, as far as it can be. */
  #heeded: Promise<void> = Promise.resolve();

  constructor(options: TargetOptions) {
    this.#options = options;
  }

  get stored(): FileState {
    const { state, property, path } = this.#options;
    return state.file(property, path);
  }

  /** Where the state file cannot be written, that is tried again each time that what is desired is heeded. */
  async store(change: StateChange): Promise<void> {
    const { state, property, path } = this.#options;
    // It is logged there.
    await state.update(property, path, change).catch(() => undefined);
  }

  /**
   * Stores what is desired, for a start that gets no answer, and what could not be stored before. Where that is under
   * way already it is waited for; it never rejects.
   */
  heed(desired: Desired): Promise<void> {
    const value = 'value' in desired && isJsonObject(desired.value) ? desired.value : undefined;
    const isNew = desired.kind !== 'unknown' && !jsonEqual(value, this.stored.desired);
    if (isNew || this.#options.state.isStale) this.#heeded = this.store(isNew ? { desired: value } : {});
    return this.#heeded;
  }

  /**
   * Stores what must be safe on disk before something is done.
   *
   * @throws AgentError INSTALL or DISK_FULL; then it is not done, and what was stored before counts
   */
  async announce(change: StateChange): Promise<void> {
    const { state, property, path } = this.#options;
    const { stored } = this;
    try {
      await state.update(property, path, change);
    } catch (error) {
      state.note(property, path, former(stored, change));
      throw error;
    }
  }

  /** Nothing is to be fetched that could not be installed. @throws as `announce`, where the last write has failed and fails again */
  async assertStorable(): Promise<void> {
    if (this.#options.state.isStale) await this.announce({});
  }

  /** Takes note of what was just installed. */
  installed(installed: StampedInstalled): void {
    this.#found = installed;
  }

  /**
   * Takes note of what was just put back, with the value that it was desired with.
   *
   * @throws as `look`
   */
  async putBack(before: Before | undefined, signal: AbortSignal): Promise<Installed | undefined> {
    const { path, digest } = this.#options;
    const found = await inspect(path, undefined, digest, signal);
    this.#found = found;
    const isAsKept = found?.sha256 === before?.sha256;
    const value = isAsKept ? before?.value : undefined;
    const installed = found && { ...found, ...(value === undefined ? {} : { value }) };
    const unproven = isAsKept && before?.unproven === undefined ? {} : ({ unproven: true } as const);
    await this.store({ installed: installed && { ...installed, ...unproven } });
    return installed;
  }

  /**
   * What the disk holds, and the desired value that it is known to stand for. What a later start can build on is stored.
   *
   * @throws AgentError INSTALL when the target cannot be read; the signal's reason when it is aborted
   */
  async look(desired: Desired, signal: AbortSignal): Promise<Installed | undefined> {
    const { log, property, path, digest } = this.#options;
    const stored = this.stored.installed;
    const before = this.#found ?? stored;
    const found = await inspect(path, before, digest, signal);
    this.#found = found;
    const holds = found?.sha256 ?? 'nothing';
    if (stored !== undefined && holds !== stored.sha256 && holds !== this.#warnedOf) {
      log.warning('The file is not what was installed', { file: property, path, found: holds });
    }
    this.#warnedOf = holds;
    if (found === undefined) return undefined;
    const { sha256, stamp } = found;
    const wanted = wantedBy(desired);
    const asDesired = wanted?.artifact.sha256 === sha256;
    const asStored = stored?.sha256 === sha256;
    const value = asDesired ? wanted.value : asStored ? stored.value : undefined;
    const installed: Installed = { sha256, ...(value === undefined ? {} : { value }) };
    const isKnown = asStored && sameStamp(stored.stamp, stamp) && jsonEqual(stored.value, value);
    // Somebody else may have put it there, and the run that renamed it may have ended before the name was safe.
    if (!isKnown && asDesired) await syncNamed(path);
    const unproven = stored?.unproven === true && !asDesired ? ({ unproven: true } as const) : {};
    if (!isKnown && (asDesired || asStored))
      await this.store({ installed: { ...installed, stamp, ...unproven } });
    return installed;
  }

  /**
   * Leaves the place where the file was before the configuration said another: the file itself stays, what the agent
   * had there besides goes.
   */
  async leaveFormer(kept: KeptFiles): Promise<void> {
    const { state, property, path } = this.#options;
    const former = state.formerPath(property, path);
    if (former === undefined) return;
    await cleanParts(property, former);
    await kept.at(former).clean([]);
    await this.store({});
  }

  /** Removes the parts that nothing desires any more, once for each desired value. */
  async tidy(desired: Desired, installed: Installed | undefined): Promise<void> {
    const isPending = desired.kind === 'artifact' && desired.artifact.sha256 !== installed?.sha256;
    if (desired === this.#tidied || desired.kind === 'unknown' || isPending) return;
    this.#tidied = desired;
    await cleanParts(this.#options.property, this.#options.path);
  }
}

/** What the members of a change were before it. */
function former(stored: FileState, change: StateChange): StateChange {
  const members = new Map(Object.entries(stored));
  return Object.fromEntries(Object.keys(change).map((name) => [name, members.get(name)]));
}
