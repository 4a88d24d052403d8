/** The attempts at one file, one after another, with what log and shadow are told of them. */
import type { FileConfig } from './config.ts';
import type { Counters } from './core/counters.ts';
import { toAgentError } from './core/errors.ts';
import type { JsonValue } from './core/json.ts';
import { Progress } from './core/progress.ts';
import type { Action, Installed, Outcome } from './core/reconcile.ts';
import type { Clock } from './io/clock.ts';
import type { DigestEngine } from './io/digest.ts';
import type { KeptFiles } from './io/kept.ts';
import type { Logger } from './io/log.ts';
import type { Room } from './io/room.ts';
import type { GetObject } from './io/s3.ts';
import type { Target } from './io/target.ts';
import type { OpenOnTheWay } from './io/way.ts';
import type { ShadowLink } from './link.ts';
import { update } from './update.ts';

export interface AttemptOptions {
  file: FileConfig;
  target: Target;
  kept: KeptFiles;
  stallSeconds: number;
  digest: DigestEngine;
  clock: Clock;
  log: Logger;
  link: ShadowLink;
  getObject: GetObject;
  counters: Counters;
  /** The room on disk, of the downloads of all files together. */
  room: Room;
  /** What others could replace on the way to a target; nothing is installed then. */
  openOnTheWay?: OpenOnTheWay | undefined;
  /** Told when progress is due to be shown. */
  onProgress: (progress: { bytes: number; size?: number }) => void;
}

// Before the rename the answer that desired this must be this young; a poor link has this long to give another.
const freshMs = 10_000;
const freshTimeoutMs = 5_000;

export class Attempts {
  readonly #options: AttemptOptions;
  /** The most bytes that were on disk for a desired value. */
  #best: { value: JsonValue; bytes: number } | undefined;
  #progress: Progress | undefined;

  constructor(options: AttemptOptions) {
    this.#options = options;
  }

  /** How far the attempt that is under way has come. */
  get progress(): Progress | undefined {
    return this.#progress;
  }

  /** Makes one attempt; never throws. */
  async make(
    { artifact, value }: Extract<Action, { do: 'install' }>,
    installed: Installed | undefined,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { file, target, clock, log, link, counters, onProgress } = this.#options;
    const { property, path } = file;
    const { url, sha256: hash } = artifact;
    const startedMs = clock.nowMs();
    const progress = new Progress(startedMs, this.#best?.value === value ? this.#best.bytes : 0);
    this.#progress = progress;
    log.info('Updating', { file: property, url, hash });
    try {
      const updated = await update({
        ...this.#options,
        artifact,
        value,
        installed,
        onReceived: (bytes) => counters.receive(bytes),
        onProgress: (bytes, size) => {
          progress.take(bytes, size, clock.nowMs());
          this.#log(progress);
          if (!progress.isReportDue(clock.nowMs())) return;
          onProgress({ bytes, ...(size === undefined ? {} : { size }) });
        },
        confirm: () => link.fresh(freshMs, freshTimeoutMs, signal),
        signal,
      });
      const seconds = Math.round((clock.nowMs() - startedMs) / 10) / 100;
      const bytes = updated.installed.stamp.size;
      log.info('Installed', { file: property, path, hash, bytes, seconds });
      target.installed(updated.installed);
      return updated;
    } catch (error) {
      if (signal.aborted) {
        log.info('Update stopped', { file: property, hash });
        return { kind: 'superseded' };
      }
      this.#best = { value, bytes: progress.bestBytes };
      link.ring();
      const failed = toAgentError(error, 'INSTALL', `Cannot install ${path}`);
      return { kind: 'failed', value, error: failed, gained: progress.gained && failed.retry === 'soon' };
    } finally {
      this.#progress = undefined;
    }
  }

  #log(progress: Progress): void {
    const { file, clock, log } = this.#options;
    if (!progress.isLogDue(clock.nowMs())) return;
    log.info('Downloading', { file: file.property, ...progress.transfer(clock.nowMs()) });
  }
}
