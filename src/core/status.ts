/** How an agent and its files stand, in the shape that `status --json` prints and the agent's socket answers with. */

import * as v from 'valibot';
import { wantedBy } from './artifact.ts';
import { errorCodes } from './errors.ts';
import { dueOf } from './pending.ts';
import type { Progress, Transfer } from './progress.ts';
import type { Failure, Snapshot } from './reconcile.ts';
import { heldBack } from './rollback.ts';
import { failureOf, isCurrent, isHeld } from './standing.ts';
import { timeText } from './words.ts';

const time = v.pipe(
  v.string(),
  v.check((text) => Number.isFinite(Date.parse(text))),
);

const errorSchema = v.object({
  code: v.picklist(errorCodes),
  message: v.string(),
  hint: v.nullable(v.string()),
});

const warningSchema = v.object({
  ...errorSchema.entries,
  since: v.nullable(time),
});

const fileSchema = v.object({
  path: v.string(),
  /** `unknown` until the shadow has answered, `none` where it desires nothing. */
  status: v.picklist(['unknown', 'none', 'current', 'pending', 'downloading', 'waiting', 'failed']),
  /** SHA-256 of what the disk holds. */
  installed: v.nullable(v.string()),
  desired: v.nullable(
    v.object({
      url: v.string(),
      hash: v.string(),
      versionId: v.nullable(v.string()),
      size: v.nullable(v.number()),
    }),
  ),
  progress: v.nullable(
    v.object({
      bytes: v.number(),
      size: v.nullable(v.number()),
      bytesPerSecond: v.nullable(v.number()),
    }),
  ),
  error: v.nullable(errorSchema),
  /** Failed attempts in a row. */
  attempt: v.nullable(v.number()),
  /** When it is tried again. */
  retryAt: v.nullable(time),
});

export const agentStatusSchema = v.object({
  version: v.nullable(v.string()),
  pid: v.nullable(v.number()),
  startedAt: v.nullable(time),
  thing: v.string(),
  shadow: v.nullable(v.string()),
  /** SHA-256 of what the file of its configuration said when the agent was started; null where there was none. */
  configHash: v.optional(v.nullable(v.string()), null),
  link: v.nullable(
    v.object({
      connected: v.boolean(),
      since: v.nullable(time),
      /** When the shadow service last told the full document. */
      lastAnswerAt: v.nullable(time),
      error: v.nullable(errorSchema),
    }),
  ),
  certificate: v.object({ notAfter: v.nullable(time) }),
  /** What goes on working all the same, but will not for ever. */
  warnings: v.optional(v.array(warningSchema), []),
  files: v.record(v.string(), fileSchema),
});

/** All times are ISO 8601 in UTC, all sizes bytes. Of an agent that does not run, version to link are null. */
export type AgentStatus = v.InferOutput<typeof agentStatusSchema>;
export type StatusOfFile = v.InferOutput<typeof fileSchema>;
export type StatusWarning = v.InferOutput<typeof warningSchema>;
type StatusOfError = v.InferOutput<typeof errorSchema>;

/** The clocks at one moment: what is kept on the monotonic one is shown in wall-clock time. */
export interface Moment {
  nowMs: number;
  wallMs: number;
}

/** A monotonic time as people read it; null where there is none. */
export function wallTime(ms: number | undefined, { nowMs, wallMs }: Moment): string | null {
  return ms === undefined || !Number.isFinite(ms) ? null : timeText(wallMs + ms - nowMs);
}

/** An error as `status` shows it. */
export function statusOfError({
  code,
  message,
  hint,
}: Pick<Failure, 'code' | 'message' | 'hint'>): StatusOfError {
  return { code, message, hint: hint ?? null };
}

/** How the link stands; its times are monotonic. */
export function statusOfLink(
  {
    connected,
    connectedAtMs,
    answeredAtMs,
    lastError,
  }: {
    connected: boolean;
    connectedAtMs?: number;
    answeredAtMs?: number;
    lastError?: Pick<Failure, 'code' | 'message' | 'hint'>;
  },
  moment: Moment,
): NonNullable<AgentStatus['link']> {
  return {
    connected,
    since: wallTime(connectedAtMs, moment),
    lastAnswerAt: wallTime(answeredAtMs, moment),
    error: lastError === undefined ? null : statusOfError(lastError),
  };
}

/** A warning as `status` shows it; since when is monotonic. */
export function statusOfWarning(
  { code, message, hint, sinceMs }: Pick<Failure, 'code' | 'message' | 'hint'> & { sinceMs: number },
  moment: Moment,
): StatusWarning {
  return { ...statusOfError({ code, message, hint }), since: wallTime(sinceMs, moment) };
}

/** How one file stands. `progress` is there while an attempt is under way. */
export function statusOfFile(
  path: string,
  snapshot: Snapshot,
  progress: Progress | undefined,
  moment: Moment,
): StatusOfFile {
  const { desired, installed } = snapshot;
  const wanted = wantedBy(desired);
  // Before the shadow has answered, what was true when it last did is all that there is to tell.
  const isInTheDark = desired.kind === 'unknown' && desired.last === undefined;
  const failure = isInTheDark ? (snapshot.blocked ?? snapshot.failure) : failureOf(snapshot);
  const isHeldAnyway = isInTheDark || desired.kind === 'absent';
  const isKeptBack = isHeldAnyway ? snapshot.held !== undefined : isHeld(snapshot);
  const reason = desired.kind === 'refused' ? desired : isKeptBack ? heldBack : failure;
  return {
    path,
    status: wordFor(snapshot, failure, progress),
    installed: installed?.sha256 ?? null,
    desired: wanted === undefined ? null : desiredOf(wanted.artifact),
    progress: transferOf(progress?.transfer(moment.nowMs)),
    error: reason === undefined ? null : statusOfError(reason),
    attempt: failure?.attempt ?? null,
    retryAt: progress === undefined ? wallTime(failure?.retryAtMs, moment) : null,
  };
}

/** What is wanted of a file, by its members that everybody knows. */
export function desiredOf({
  url,
  sha256,
  versionId,
  size,
}: {
  url: string;
  sha256: string;
  versionId?: string;
  size?: number;
}): NonNullable<StatusOfFile['desired']> {
  return { url, hash: sha256, versionId: versionId ?? null, size: size ?? null };
}

export function transferOf(transfer: Transfer | undefined): StatusOfFile['progress'] {
  if (transfer === undefined) return null;
  const { bytes, size, bytesPerSecond } = transfer;
  return { bytes, size: size ?? null, bytesPerSecond: bytesPerSecond ?? null };
}

function wordFor(
  snapshot: Snapshot,
  failure: Failure | undefined,
  progress: Progress | undefined,
): StatusOfFile['status'] {
  const { desired } = snapshot;
  if (desired.kind === 'unknown') return 'unknown';
  if (desired.kind === 'absent') return 'none';
  if (desired.kind === 'refused') return 'failed';
  const afterFailure = failure === undefined || failure.retry === 'soon' ? 'waiting' : 'failed';
  if (dueOf(snapshot) !== undefined) return afterFailure;
  if (isCurrent(snapshot)) return 'current';
  if (isHeld(snapshot)) return 'waiting';
  if (progress !== undefined) return 'downloading';
  return failure === undefined ? 'pending' : afterFailure;
}

/** Whether all is well: an agent runs, is connected, and no file has an error. What it takes time for is no error. */
export function isWell({ link, files }: AgentStatus): boolean {
  return link?.connected === true && Object.values(files).every(({ error }) => error === null);
}

const warnDays = 30;

/** What somebody has to see to before it is too late: the agent's own warnings, and the end of the certificate. */
export function warningsOf(
  { certificate: { notAfter }, warnings }: AgentStatus,
  wallMs: number,
): StatusWarning[] {
  if (notAfter === null) return warnings;
  const days = daysLeft(notAfter, wallMs);
  if (days >= warnDays) return warnings;
  const end =
    days < 0
      ? 'has expired'
      : days === 0
        ? 'expires within a day'
        : `expires in ${days} ${days === 1 ? 'day' : 'days'}`;
  const hint = 'make another one, attach policy and thing to it, and replace certificate and key on disk';
  const message = `the certificate ${end}`;
  return [{ code: 'IDENTITY_INVALID', message, hint, since: null }, ...warnings];
}

export function daysLeft(notAfter: string, wallMs: number): number {
  return Math.floor((Date.parse(notAfter) - wallMs) / 86_400_000);
}
