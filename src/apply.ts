/**
 * What stands between a file that was renamed and one that is current: its hook, and the way back. Which step comes next
 * is decided in core/pending.ts; here it is performed.
 */
import type { FileConfig } from './config.ts';
import { parseDesired, wantedBy } from './core/artifact.ts';
import { AgentError, toAgentError } from './core/errors.ts';
import { hookFailure } from './core/hook.ts';
import { type Before, failedRepair, type Pending, pendingValue } from './core/pending.ts';
import { type Action, type Outcome, reasonError, type Snapshot } from './core/reconcile.ts';
import { rollback } from './core/rollback.ts';
import type { DigestEngine } from './io/digest.ts';
import { runHook } from './io/hook.ts';
import { hookNotePath } from './io/hook-note.ts';
import { type Inspected, inspect } from './io/install.ts';
import { type KeptFiles, putBack } from './io/kept.ts';
import type { Logger } from './io/log.ts';
import { cleanParts, fileId } from './io/part.ts';
import type { Target } from './io/target.ts';
import { assertWay, type OpenOnTheWay } from './io/way.ts';

export interface ApplyOptions {
  file: FileConfig;
  target: Target;
  kept: KeptFiles;
  stateDir: string;
  digest: DigestEngine;
  log: Logger;
  openOnTheWay?: OpenOnTheWay | undefined;
}

type Step = Extract<Action, { do: 'hook' | 'put-back' | 'conclude' }>;

export class Applier {
  readonly #options: ApplyOptions;
  /** The kept file that was looked at last; it spares hashing as long as its stamp stays. */
  #looked: Inspected | undefined;

  constructor(options: ApplyOptions) {
    this.#options = options;
  }

  /**
   * Performs one step. A failure of the disk, not of the hook, is a failed attempt.
   *
   * @param ending aborted where it is the agent that ends: its hook was cut short then
   */
  async perform(step: Step, signal: AbortSignal, ending = signal): Promise<Outcome> {
    if (step.do === 'conclude') return step.outcome;
    if (signal.aborted) return { kind: 'superseded' };
    const { file, log } = this.#options;
    try {
      const { pending } = step;
      return await (step.do === 'hook' ? this.#hook(pending, signal, ending) : this.#back(pending, signal));
    } catch (error) {
      if (signal.aborted) return { kind: 'superseded' };
      log.error('What is pending cannot be ended', { file: file.property, step: step.pending.step });
      const failed = toAgentError(error, 'INSTALL', `Cannot go on with ${file.path}`);
      return { kind: 'failed', value: pendingValue(step.pending), error: failed, gained: false, step: true };
    }
  }

  async #hook(pending: Pending, signal: AbortSignal, ending: AbortSignal): Promise<Outcome> {
    const { file, target, stateDir, log } = this.#options;
    const { property, path, onInstall } = file;
    if (onInstall === undefined) return { kind: 'hooked' };
    const before = target.stored.pending;
    await target.announce({ pending });
    const { command, timeoutSeconds } = onInstall;
    const isRollback = pending.step === 'reapply';
    log.info('Running the hook', { file: property, rollback: isRollback, run: pending.runs, timeoutSeconds });
    const run = await runHook({
      command,
      timeoutSeconds,
      env: this.#environment(pending),
      notePath: hookNotePath(stateDir, fileId(property, path)),
      onLine: (line) => log.info('The hook says', { file: property, line }),
      signal,
    }).catch(async (error: unknown) => {
      // One that has not begun counts for none of the runs that were cut short.
      await target.store({ pending: before });
      throw error;
    });
    if (run === undefined) {
      if (!ending.aborted) await target.store({ pending: before });
      log.info('The hook was stopped, and is to run again', { file: property });
      return { kind: 'superseded' };
    }
    const failed = hookFailure(run.end, run.output);
    if (failed === undefined) log.info('The hook has succeeded', { file: property, rollback: isRollback });
    // After a repair it is a failed attempt, which is logged with the time of the next one.
    else if (failedRepair({ pending }, { kind: 'hooked', failed }) === undefined) {
      const { message, hint } = failed;
      log.warning(message, { file: property, code: 'HOOK_FAILED', hint, rollback: isRollback });
    }
    return failed === undefined ? { kind: 'hooked' } : { kind: 'hooked', failed };
  }

  #environment({ step, sha256, value, before }: Pending): Record<string, string> {
    const { file, kept } = this.#options;
    const isRollback = step === 'reapply';
    const url = (isRollback ? before?.value : value)?.['url'];
    return {
      SHADOW_AGENT_PROPERTY: file.property,
      SHADOW_AGENT_PATH: file.path,
      SHADOW_AGENT_HASH: isRollback ? (before?.sha256 ?? '') : sha256,
      SHADOW_AGENT_URL: typeof url === 'string' ? url : '',
      SHADOW_AGENT_PREVIOUS: isRollback || before === undefined ? '' : kept.pathOf(before),
      ...(isRollback ? { SHADOW_AGENT_ROLLBACK: '1' } : {}),
    };
  }

  /**
   * What a hook has refused goes also where that could not be stored: it is not to stay for a full disk. Killed then, the
   * agent tries it once more as soon as it can store that.
   */
  async #back({ before }: Pending, signal: AbortSignal): Promise<Outcome> {
    const { file, target, kept, log, openOnTheWay } = this.#options;
    const { property, path } = file;
    await assertWay(path, openOnTheWay);
    await cleanParts(property, path);
    await putBack(property, path, before && kept.pathOf(before), signal);
    const installed = await target.putBack(before, signal);
    if (installed === undefined)
      log.warning('Removed, as nothing was there before', { file: property, path });
    else log.warning('Put the file before back', { file: property, path, hash: installed.sha256 });
    if (installed?.sha256 !== before?.sha256)
      log.warning('What is back is not what was installed before: the kept file was changed', {
        file: property,
        expected: before?.sha256,
      });
    return { kind: 'put-back', ...(installed === undefined ? {} : { installed }) };
  }

  /**
   * Begins a rollback that somebody has asked for, or goes on with a way back that was begun. It is on disk then.
   *
   * @returns the snapshot with the way back pending
   * @throws AgentError HELD or INSTALL where there is no way back; DISK_FULL or INSTALL when it cannot be stored; the
   * signal's reason when it is aborted. Then nothing is begun.
   */
  async begin(snapshot: Snapshot, signal: AbortSignal): Promise<Snapshot> {
    const { target, log, file } = this.#options;
    const next = await this.wayBack(snapshot, signal);
    const { pending, held, previous } = next;
    try {
      await target.announce({ pending, held, previous, failure: undefined, blocked: undefined });
    } catch (error) {
      // The file may have been renamed all the same.
      await target.store({});
      throw error;
    }
    log.info('Rolling back', { file: file.property, refused: held?.sha256 });
    return next;
  }

  /**
   * The snapshot with the way back pending that a rollback would go; nothing is begun or changed.
   *
   * @throws AgentError HELD or INSTALL where there is none; the signal's reason when it is aborted
   */
  async wayBack(snapshot: Snapshot, signal: AbortSignal): Promise<Snapshot> {
    const { file, target, openOnTheWay } = this.#options;
    const last = parseDesired(target.stored.desired, file);
    const next = rollback(snapshot, wantedBy(last)?.artifact.sha256);
    if ('code' in next) throw reasonError(file.property, next);
    await assertWay(file.path, openOnTheWay);
    const { pending } = next;
    if (pending?.step === 'back') await this.#assertKept(pending.before, signal);
    return next;
  }

  /** What goes back must be what was installed once, to the last byte. */
  async #assertKept(before: Before | undefined, signal: AbortSignal): Promise<void> {
    const { file, kept, digest } = this.#options;
    const path = kept.pathOf(before ?? {});
    const found = await inspect(path, this.#looked, digest, signal);
    this.#looked = found;
    if (found?.sha256 === before?.sha256) return;
    throw new AgentError('INSTALL', `${file.property}: the previous file in ${path} is not what was kept`, {
      hint: 'desire the hash of the file that you want',
    });
  }
}
