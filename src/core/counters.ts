import type { ErrorCode } from './errors.ts';
import { jsonEqual } from './json.ts';
import type { Outcome, Snapshot } from './reconcile.ts';

/** What has happened since the start; it only grows. */
export class Counters {
  /** By property, as all but those of the link. */
  readonly installs = new Map<string, number>();
  readonly retries = new Map<string, number>();
  readonly rollbacks = new Map<string, number>();
  /** By property, then by code. */
  readonly failures = new Map<string, Map<ErrorCode, number>>();
  readonly linkFailures = new Map<ErrorCode, number>();
  /** Bytes of objects that came. */
  receivedBytes = 0;

  constructor(properties: readonly string[]) {
    // A series that begins at 0 shows the first increase, too.
    for (const property of properties) {
      for (const counts of [this.installs, this.retries, this.rollbacks]) counts.set(property, 0);
    }
  }

  /** Takes note of how an action on a file has ended that was begun in this snapshot. */
  count(property: string, { failure, blocked, pending }: Snapshot, outcome: Outcome): void {
    switch (outcome.kind) {
      case 'installed':
      case 'failed': {
        const isStep = outcome.kind === 'failed' && outcome.step === true;
        const last = isStep ? blocked : failure;
        if (last !== undefined && (isStep || jsonEqual(last.value, outcome.value)))
          increase(this.retries, property);
        if (outcome.kind === 'failed') this.#fail(property, outcome.error.code);
        // With a hook it is for that to say whether it stays.
        else if (outcome.pending === undefined) increase(this.installs, property);
        return;
      }
      case 'hooked':
        if (outcome.failed !== undefined) this.#fail(property, 'HOOK_FAILED');
        else if (pending?.step === 'apply') increase(this.installs, property);
        return;
      case 'put-back':
        increase(this.rollbacks, property);
    }
  }

  /** Takes note of a desired value for which nothing can be done. */
  refuse(property: string, code: ErrorCode): void {
    this.#fail(property, code);
  }

  /** Takes note of a connection that could not be made or was lost, or of a refused request for the shadow. */
  failLink(code: ErrorCode): void {
    increase(this.linkFailures, code);
  }

  receive(bytes: number): void {
    this.receivedBytes += bytes;
  }

  #fail(property: string, code: ErrorCode): void {
    const codes = this.failures.get(property) ?? new Map<ErrorCode, number>();
    this.failures.set(property, codes);
    increase(codes, code);
  }
}

function increase<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
