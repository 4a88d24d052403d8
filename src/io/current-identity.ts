import { stat } from 'node:fs/promises';
import type { ErrorCode, Problem } from '../core/errors.ts';
import type { Clock } from './clock.ts';
import { type Identity, type IdentityPaths, readIdentity } from './identity.ts';
import type { Logger } from './log.ts';

const dayMs = 86_400_000;
const warnDays = 30;
// Certificate and key are two files: whoever replaces them is given this long until they fit.
const settleMs = 10_000;

/** Who else may read or replace the files, and what follows from it. */
export interface Access {
  /** What others may read or replace is refused, as it is at the start; else it is a warning. */
  strict: boolean;
  openToOthers?: (() => Promise<Problem[]>) | undefined;
}

/** Why the files on disk are not used. */
export interface Refusal {
  code: ErrorCode;
  message: string;
  hint?: string;
  /** Monotonic. */
  sinceMs: number;
}

/**
 * The identity that the next connection is made with. The files are looked at when one is about to be made: what was
 * replaced on disk is read again; what does not fit together is refused, and the identity that was good is kept.
 */
export class CurrentIdentity {
  readonly #paths: IdentityPaths;
  readonly #clock: Clock;
  readonly #log: Logger;
  #identity: Identity;
  /** What the files looked like when they were last judged. */
  #stamp: string | undefined;
  #looking: Promise<Identity> | undefined;
  #refused: Refusal[] = [];
  #warned: { of: DateTrouble; atMs: number } | undefined;
  readonly #access: Access;

  constructor(
    identity: Identity,
    paths: IdentityPaths,
    clock: Clock,
    log: Logger,
    access: Access = { strict: false },
  ) {
    this.#access = access;
    this.#identity = identity;
    this.#paths = paths;
    this.#clock = clock;
    this.#log = log;
  }

  /** The one that was last found good. */
  get value(): Identity {
    return this.#identity;
  }

  /** Why what is on disk now is not used; empty where it is. */
  get refused(): readonly Refusal[] {
    return this.#refused;
  }

  /** Looks at the files; callers that come meanwhile share the look. It never fails. */
  look(): Promise<Identity> {
    this.#looking ??= this.#read().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #read(): Promise<Identity> {
    const { stamp, changedAtMs } = await stampOf(this.#paths);
    if (stamp !== this.#stamp) await this.#judge(stamp, changedAtMs);
    this.#warnOfDates();
    return this.#identity;
  }

  async #judge(stamp: string, changedAtMs: number): Promise<void> {
    const read = await readIdentity(this.#paths);
    const open = (await this.#access.openToOthers?.()) ?? [];
    if (read.ok && !(this.#access.strict && open.length > 0)) {
      const before = this.#identity;
      const isFirst = this.#stamp === undefined;
      this.#identity = read.identity;
      this.#stamp = stamp;
      this.#refused = [];
      this.#tell(before);
      // Of those at the start the configuration has told.
      if (!isFirst) {
        for (const { path, message, hint } of open) this.#log.warning(`${path}: ${message}`, { hint });
      }
      return;
    }
    const ageMs = Math.abs(this.#clock.wallMs() - changedAtMs);
    if (ageMs < settleMs) return;
    // What is wrong with a directory or a group is mended without a change of the files: it is judged at each look.
    if (!read.ok) this.#stamp = stamp;
    this.#refuse(read.ok ? open : read.problems);
  }

  #refuse(problems: readonly Problem[]): void {
    const told = this.#refused.map(({ message }) => message).join();
    const sinceMs = this.#refused[0]?.sinceMs ?? this.#clock.nowMs();
    this.#refused = problems.map(({ path, message, hint }) => ({
      code: 'IDENTITY_INVALID',
      message: `What is now in "${path}" is refused, and what was there before is used on: ${message}`,
      sinceMs,
      ...(hint === undefined ? {} : { hint }),
    }));
    if (this.#refused.map(({ message }) => message).join() === told) return;
    for (const { code, message, hint } of this.#refused) this.#log.warning(message, { code, hint });
  }

  /** Tells what is another than before. */
  #tell(before: Identity): void {
    const { fingerprint, notAfterMs, caPem, s3CaPem } = this.#identity;
    if (fingerprint !== before.fingerprint) {
      this.#warned = undefined;
      this.#log.info('The certificate was replaced on disk: it is used from the next connection on', {
        fingerprint,
        notAfter: dateOf(notAfterMs),
      });
    }
    const replaced = [
      ...(caPem === before.caPem ? [] : ['"ca"']),
      ...(s3CaPem === before.s3CaPem ? [] : ['"s3.ca"']),
    ];
    if (replaced.length === 0) return;
    const where = replaced.join(' and ');
    this.#log.info(`The roots in ${where} were replaced on disk: they are used from the next connection on`);
  }

  /** Once a day, and at once where it is another trouble; a clock that is wrong says nothing worse than that. */
  #warnOfDates(): void {
    const nowMs = this.#clock.nowMs();
    const wallMs = this.#clock.wallMs();
    const { notBeforeMs, notAfterMs } = this.#identity;
    const of = dateTrouble(this.#identity, wallMs);
    if (of === undefined) return;
    if (this.#warned?.of === of && nowMs - this.#warned.atMs < dayMs) return;
    this.#warned = { of, atMs: nowMs };
    if (of === 'early') {
      const hint = 'set the clock of this device (NTP), or take another certificate';
      const fields = { notBefore: dateOf(notBeforeMs), hint };
      this.#log.warning('The certificate of this device is not valid yet', fields);
      return;
    }
    const notAfter = dateOf(notAfterMs);
    const hint = `make another one (aws iot create-keys-and-certificate), attach policy and thing to it, and replace ${this.#paths.cert} and ${this.#paths.key}: no restart is needed`;
    if (of === 'ended') this.#log.warning('The certificate of this device has expired', { notAfter, hint });
    else {
      const days = Math.floor((notAfterMs - wallMs) / dayMs);
      this.#log.warning(`The certificate of this device expires in ${days} days`, { notAfter, hint });
    }
  }
}

type DateTrouble = 'early' | 'ends' | 'ended';

function dateTrouble({ notBeforeMs, notAfterMs }: Identity, wallMs: number): DateTrouble | undefined {
  if (wallMs < notBeforeMs) return 'early';
  if (wallMs >= notAfterMs) return 'ended';
  return notAfterMs - wallMs > warnDays * dayMs ? undefined : 'ends';
}

function dateOf(ms: number): string {
  return new Date(ms).toISOString();
}

/** A text that is another one as soon as one of the files is replaced or written to, and when the last one was. */
async function stampOf(paths: IdentityPaths): Promise<{ stamp: string; changedAtMs: number }> {
  const stamps = await Promise.all(
    [paths.cert, paths.key, paths.ca, paths.s3Ca].map(async (path) => {
      if (path === undefined) return { stamp: '-', ms: 0 };
      try {
        const { ino, size, mtimeNs, ctimeNs, ctimeMs } = await stat(path, { bigint: true });
        return { stamp: `${ino} ${size} ${mtimeNs} ${ctimeNs}`, ms: Number(ctimeMs) };
      } catch {
        return { stamp: 'missing', ms: 0 };
      }
    }),
  );
  return {
    stamp: stamps.map(({ stamp }) => stamp).join(', '),
    changedAtMs: Math.max(...stamps.map(({ ms }) => ms)),
  };
}
