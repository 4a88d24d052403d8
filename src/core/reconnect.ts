/** When the broker is connected to again. A broker that takes connections only to end them is met ever more seldom. */
import { backoffMs, reconnect } from './backoff.ts';

/** A session counts as one that lasted. A broker that ends each fresh one must not be met with a fresh backoff. */
export const stableMs = 60_000;
// AWS IoT quotas: one CONNECT a second for a client id.
const minIntervalMs = 1_000;
/** So many sessions in a row that did not last are told of. */
export const stormKicks = 3;

/** What is kept from one session to the next. */
export interface Reconnects {
  /** Sessions and tries since the last session that lasted. */
  attempt: number;
  /** How many of them ended in a kick. */
  kicks: number;
}

export const noReconnects: Reconnects = { attempt: 0, kicks: 0 };

/** One try to be connected. Monotonic ms. */
export interface Session {
  /** When all topics were subscribed; undefined where it did not come to that. */
  upMs: number | undefined;
  endedMs: number;
  ending: Ending;
}

/**
 * A `kick`: the client had been let in, and the connection was ended by the broker, or was cut on the way. A `fault`: the
 * agent has ended it for what the broker did. Anything else is `other`.
 */
export type Ending = 'kick' | 'fault' | 'other';

export interface NextConnect {
  reconnects: Reconnects;
  /** From the end of the session to the next connect. */
  waitMs: number;
  /** Fresh sessions keep being kicked; true once until one lasts. */
  isStorm: boolean;
}

/**
 * After a session that lasted a minute the waits begin anew. Those after a kick or fault have a floor, so that chance
 * cannot make a storm: at most 12 connects in a minute to a broker that ends each session after a second.
 *
 * @param random from 0 to under 1
 */
export function nextConnect(before: Reconnects, session: Session, random: number): NextConnect {
  const { upMs, endedMs } = session;
  const hasLasted = upMs !== undefined && endedMs - upMs >= stableMs;
  const { attempt, kicks } = hasLasted ? noReconnects : before;
  const ending = hasLasted ? 'other' : session.ending;
  const isKick = ending === 'kick';
  const reconnects = { attempt: attempt + 1, kicks: kicks + (isKick ? 1 : 0) };
  const spread = ending === 'other' ? random : (1 + 3 * random) / 4;
  // When CONNECT was sent is not known, but it was before the session was up, or before it failed.
  const waitMs = Math.max(
    backoffMs(reconnect, reconnects.attempt, spread),
    minIntervalMs - (endedMs - (upMs ?? endedMs)),
  );
  return { reconnects, waitMs, isStorm: isKick && reconnects.kicks === stormKicks };
}
