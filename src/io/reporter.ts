import { backoffMs, slow, soon } from '../core/backoff.ts';
import { isJsonObject, type JsonObject, type JsonValue, jsonEqual, member } from '../core/json.ts';
import type { FileStatus, Report } from '../core/report.ts';
import { mergeReported, reportedPatch } from '../core/shadow.ts';
import type { Clock } from './clock.ts';
import { Latest } from './latest.ts';
import type { Logger } from './log.ts';
import { ShadowRejection } from './shadow-client.ts';

export interface ReporterOptions {
  version: string;
  properties: readonly string[];
  clock: Clock;
  log: Logger;
  random: () => number;
  /** Sends one patch of the reported section; false while offline. */
  send: (patch: JsonObject) => Promise<boolean>;
  /** Asks for the full document again. */
  reread: () => void;
  /** Ends a wait when the agent stops. */
  signal: AbortSignal;
}

interface Wanted {
  mirror?: JsonObject | null;
  status?: { of: FileStatus | null; json: JsonObject | null };
}

/** What is left out of a report that the service finds too large or too deep, step by step. */
const trims = ['nothing', 'messages', 'extra keys', 'all'] as const;
const mirrorKeys = ['url', 'hash', 'versionId', 'size'];

/**
 * Keeps the reported section as wanted. The patch is computed at the moment it is sent, against what was last seen or
 * acknowledged, so nothing queues up; one is in flight at a time. Trouble here never holds up an install.
 */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #wanted = new Map<string, Wanted>();
  /** Undefined until the document was read on the present connection. */
  #seen: JsonObject | undefined;
  #trim = 0;
  #failures = 0;
  #busy = false;
  /** The document is asked for again, and what is to be told waits for it. */
  #isRereading = false;
  #whenIdle: Array<() => void> = [];
  /** Ends a wait when the link is another one. */
  readonly #relinked = new Latest(undefined);

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** Sets what the shadow is to be told of one file; what the report leaves out stays as it was. */
  want(property: string, { mirror, status }: Report): void {
    const before = this.#wanted.get(property) ?? {};
    const after: Wanted = { ...before };
    if (mirror !== undefined) after.mirror = mirror;
    if (status !== undefined && !sameStatus(status, before.status?.of)) {
      after.status = { of: status, json: status === null ? null : this.#render(status) };
    }
    if (jsonEqual(before.mirror, after.mirror) && before.status === after.status) return;
    this.#wanted.set(property, after);
    this.#trim = 0;
    void this.#pump();
  }

  /** The status of a file that was wanted last; before any was, what an earlier run has left in the shadow. */
  status(property: string): JsonObject | null | undefined {
    const wanted = this.#wanted.get(property)?.status;
    if (wanted !== undefined) return wanted.json;
    const left = this.#seen && member(filesIn(this.#seen), property);
    return isJsonObject(left) ? left : undefined;
  }

  /** Takes note of the reported section of a full document; undefined when the connection is lost. */
  see(reported: JsonObject | undefined): void {
    if (reported === undefined) this.#relinked.set(undefined);
    this.#isRereading = false;
    this.#seen = reported;
    void this.#pump();
  }

  /** Resolves when all is told or cannot be for now. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenIdle.push(resolve);
      void this.#pump();
    });
  }

  async #pump(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let patch = this.#patch(); patch !== undefined; patch = this.#patch()) await this.#send(patch);
    } finally {
      this.#busy = false;
      if (!this.#isRereading) for (const done of this.#whenIdle.splice(0)) done();
    }
  }

  #patch(): JsonObject | undefined {
    if (this.#seen === undefined || trims[this.#trim] === 'all') return undefined;
    return reportedPatch(this.#document(this.#seen), this.#seen);
  }

  async #send(patch: JsonObject): Promise<void> {
    const before = this.#seen;
    try {
      const sent = await this.#options.send(patch);
      if (!sent) this.#seen = undefined;
      else if (this.#seen === before && before !== undefined) this.#seen = mergeReported(before, patch);
      else this.#lookAgain();
      this.#failures = 0;
    } catch (error) {
      if (error instanceof ShadowRejection) await this.#rejected(error);
      // The connection is gone; the next document starts this again.
      else if (this.#seen === before) this.#seen = undefined;
    }
  }

  /** A document came while the update was under way: nobody can tell which of them is the newer. */
  #lookAgain(): void {
    this.#seen = undefined;
    this.#isRereading = true;
    this.#options.reread();
  }

  async #rejected(error: ShadowRejection): Promise<void> {
    const { log, clock, random, signal } = this.#options;
    if (error.rejectedCode === 413 || error.rejectedCode === 400) {
      this.#trim += 1;
      log.warning(error.message, { code: error.code, leavingOut: trims[this.#trim] });
      return;
    }
    this.#failures += 1;
    const waitMs = backoffMs(error.retry === 'slow' ? slow : soon, this.#failures, random());
    log.warning(error.message, { code: error.code, retryInSeconds: Math.round(waitMs / 100) / 10 });
    await clock.sleep(waitMs, AbortSignal.any([signal, this.#relinked.replaced]));
    if (signal.aborted) this.#seen = undefined;
  }

  /** The reported section as wanted; of other keys it says nothing. */
  #document(seen: JsonObject): JsonObject {
    const { version, properties } = this.#options;
    const files = filesIn(seen);
    const statuses: Array<[string, JsonValue]> = [];
    const mirrors: Array<[string, JsonValue]> = [];
    for (const property of properties) {
      const { mirror, status } = this.#wanted.get(property) ?? {};
      const kept = member(files, property);
      const json = status === undefined ? kept : this.#trimStatus(status.json);
      if (json !== undefined && json !== null) statuses.push([property, json]);
      if (mirror !== undefined) mirrors.push([property, this.#trimMirror(mirror)]);
    }
    const shadowAgent: JsonObject = { version };
    if (statuses.length > 0) shadowAgent['files'] = Object.fromEntries(statuses);
    return { ...Object.fromEntries(mirrors), shadowAgent };
  }

  #trimStatus(json: JsonObject | null): JsonObject | null {
    if (json === null || this.#trim < 1) return json;
    return Object.fromEntries(Object.entries(json).filter(([key]) => key !== 'message'));
  }

  #trimMirror(mirror: JsonObject | null): JsonObject | null {
    if (mirror === null || this.#trim < 2) return mirror;
    return Object.fromEntries(Object.entries(mirror).filter(([key]) => mirrorKeys.includes(key)));
  }

  #render({ retryAtMs, message, ...rest }: FileStatus): JsonObject {
    const { clock } = this.#options;
    const json: JsonObject = { ...rest };
    if (message !== undefined) json['message'] = shadowText(message);
    if (retryAtMs !== undefined) {
      const wallMs = clock.wallMs() + Math.max(0, retryAtMs - clock.nowMs());
      json['retryAt'] = new Date(wallMs).toISOString().replace(/\.\d{3}/, '');
    }
    return json;
  }
}

/** The statuses that the reported section shows, by property. */
function filesIn(reported: JsonObject): JsonObject {
  const agent = member(reported, 'shadowAgent');
  const files = isJsonObject(agent) ? member(agent, 'files') : undefined;
  return isJsonObject(files) ? files : {};
}

function sameStatus(a: FileStatus | null, b: FileStatus | null | undefined): boolean {
  return a === b || (a !== null && b !== null && b !== undefined && jsonEqual({ ...a }, { ...b }));
}

const maxMessageBytes = 200;

/** A message as the shadow may show it: no whole URL, no control characters, 200 bytes at most. */
export function shadowText(message: string): string {
  const text = message
    .toWellFormed()
    .replace(/[a-z0-9+.-]{1,32}:\/\/\S+/gi, '[url]')
    .replace(/\p{Cc}+/gu, ' ');
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= maxMessageBytes) return text;
  // A character that is cut in two decodes to U+FFFD.
  return new TextDecoder().decode(bytes.subarray(0, maxMessageBytes - 3)).replace(/\uFFFD+$/, '');
}
