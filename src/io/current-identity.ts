import { stat } from 'node:fs/promises';
import type { Clock } from './clock.ts';
import { type Identity, type IdentityPaths, readIdentity } from './identity.ts';
import type { Logger } from './log.ts';

const dayMs = 86_400_000;
const warnDays = 30;
// Certificate and key are two files: whoever replaces them is given this long until they fit.
const settleMs = 10_000;

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
  #warnedAtMs: number | undefined;

  constructor(identity: Identity, paths: IdentityPaths, clock: Clock, log: Logger) {
    this.#identity = identity;
    this.#paths = paths;
    this.#clock = clock;
    this.#log = log;
  }

  /** The one that was last found good. */
  get value(): Identity {
    return this.#identity;
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
    if (read.ok) {
      const before = this.#identity;
      this.#identity = read.identity;
      this.#stamp = stamp;
      this.#tell(before);
      return;
    }
    const ageMs = Math.abs(this.#clock.wallMs() - changedAtMs);
    if (ageMs < settleMs) return;
    this.#stamp = stamp;
    for (const { path, message, hint } of read.problems) {
      this.#log.warning(
        `What is now in "${path}" is refused, and what was there before is used on: ${message}`,
        {
          code: 'IDENTITY_INVALID',
          hint,
        },
      );
    }
  }

  /** Tells what is another than before. */
  #tell(before: Identity): void {
    const { fingerprint, notAfterMs, caPem, s3CaPem } = this.#identity;
    if (fingerprint !== before.fingerprint) {
      this.#warnedAtMs = undefined;
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

  /** Once a day; a clock that is wrong says nothing worse than that. */
  #warnOfDates(): void {
    const nowMs = this.#clock.nowMs();
    const wallMs = this.#clock.wallMs();
    const { notBeforeMs, notAfterMs } = this.#identity;
    const leftMs = notAfterMs - wallMs;
    const isEarly = wallMs < notBeforeMs;
    if (!isEarly && leftMs > warnDays * dayMs) return;
    if (this.#warnedAtMs !== undefined && nowMs - this.#warnedAtMs < dayMs) return;
    this.#warnedAtMs = nowMs;
    if (isEarly) {
      const hint = 'set the clock of this device (NTP), or take another certificate';
      const fields = { notBefore: dateOf(notBeforeMs), hint };
      this.#log.warning('The certificate of this device is not valid yet', fields);
      return;
    }
    const notAfter = dateOf(notAfterMs);
    const hint = `make another one (aws iot create-keys-and-certificate), attach policy and thing to it, and replace ${this.#paths.cert} and ${this.#paths.key}: no restart is needed`;
    if (leftMs <= 0) this.#log.warning('The certificate of this device has expired', { notAfter, hint });
    else {
      const days = Math.floor(leftMs / dayMs);
      this.#log.warning(`The certificate of this device expires in ${days} days`, { notAfter, hint });
    }
  }
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
