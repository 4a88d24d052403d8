import { redact } from './secrets.ts';

/** What went wrong; the same code in logs, `status`, `doctor` and the shadow. */
export const errorCodes = [
  'NETWORK',
  'TIMEOUT',
  'MQTT',
  'S3',
  'CREDENTIALS',
  'SHADOW_REJECTED',
  'S3_DENIED',
  'S3_NOT_FOUND',
  'HASH_MISMATCH',
  'TOO_LARGE',
  'DISK_FULL',
  'INSTALL',
  'DESIRED_INVALID',
  'NOT_ALLOWED',
  'SIGNATURE_INVALID',
  'HOOK_FAILED',
  'HELD',
  'CONFIG_INVALID',
  'IDENTITY_INVALID',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** When to try again: soon (from 1 s), slow (from 60 s), never (until desired changes), exit (ends the program). */
export type Retry = 'soon' | 'slow' | 'never' | 'exit';

/** The class of each code where the thrower does not say otherwise. */
const retryOf: Record<ErrorCode, Retry> = {
  NETWORK: 'soon',
  TIMEOUT: 'soon',
  MQTT: 'soon',
  S3: 'soon',
  CREDENTIALS: 'soon',
  SHADOW_REJECTED: 'soon',
  S3_DENIED: 'slow',
  S3_NOT_FOUND: 'slow',
  HASH_MISMATCH: 'slow',
  TOO_LARGE: 'slow',
  DISK_FULL: 'slow',
  INSTALL: 'slow',
  DESIRED_INVALID: 'never',
  NOT_ALLOWED: 'never',
  SIGNATURE_INVALID: 'never',
  HOOK_FAILED: 'never',
  HELD: 'never',
  CONFIG_INVALID: 'exit',
  IDENTITY_INVALID: 'exit',
};

export interface AgentErrorOptions {
  /** Overrides the code's class, e.g. `slow` for a CREDENTIALS answer of 4xx. */
  retry?: Retry;
  /** What the person on call can do about it, one line. */
  hint?: string;
  cause?: unknown;
}

/**
 * An error that tells its reader what failed, on what and why. Message and hint hold no secret, whatever text of the
 * network they quote: they are shown, stored and published as they are.
 */
export class AgentError extends Error {
  readonly code: ErrorCode;
  readonly retry: Retry;
  readonly hint?: string;

  constructor(code: ErrorCode, message: string, options: AgentErrorOptions = {}) {
    super(redact(message), 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'AgentError';
    this.code = code;
    this.retry = options.retry ?? retryOf[code];
    if (options.hint !== undefined) this.hint = redact(options.hint);
  }
}

/**
 * Gives back a coded error as it is; anything else becomes the `cause` of a new one.
 * @param what what failed, on what: "Cannot read /tmp/tmpfile"; the reason is appended
 */
export function toAgentError(error: unknown, code: ErrorCode, what: string): AgentError {
  if (error instanceof AgentError) return error;
  return new AgentError(code, `${what}: ${reasonOf(error)}`, { cause: error });
}

/** The reason in one line: an error's message, or the thrown value itself. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.replace(/\s+/g, ' ').trim();
}

/** One thing to correct in what the operator wrote: `path` is the key (`files[0].mode`) or the flag (`--mode`). */
export interface Problem {
  path: string;
  message: string;
  hint: string;
}
