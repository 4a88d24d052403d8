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
  /** How many of them the broker has ended. */
  kicks: number;
}

export const noReconnects: Reconnects = { attempt: 0, kicks: 0 };

/** One try to be connected. Monotonic ms. */
export interface Session {
  /** When all topics were subscribed; undefined where it did not come to that. */
  upMs: number | undefined;
  endedMs: number;
  /** The client had been let in, and the connection was ended by the broker, or was cut on the way. */
  kicked: boolean;
}

export interface NextConnect {
  reconnects: Reconnects;
  /** From the end of the session to the next connect. */
  waitMs: number;
  /** Fresh sessions keep ending; true once until one lasts. */
  isStorm: boolean;
}

/**
 * After a session that lasted a minute the waits begin anew. Those after a kick have a floor, so that chance cannot
 * make a storm: at most 12 connects in a minute to a broker that ends each session after a second.
 *
 * @param random from 0 to under 1
 */
export function nextConnect(before: Reconnects, session: Session, random: number): NextConnect {
  const { upMs, endedMs } = session;
  const { attempt, kicks } = upMs !== undefined && endedMs - upMs >= stableMs ? noReconnects : before;
  const kicked = session.kicked && (upMs === undefined || endedMs - upMs < stableMs);
  const reconnects = { attempt: attempt + 1, kicks: kicks + (kicked ? 1 : 0) };
  const spread = kicked ? (1 + 3 * random) / 4 : random;
  // When CONNECT was sent is not known, but it was before the session was up, or before it failed.
  const waitMs = Math.max(
    backoffMs(reconnect, reconnects.attempt, spread),
    minIntervalMs - (endedMs - (upMs ?? endedMs)),
  );
  return { reconnects, waitMs, isStorm: kicked && reconnects.kicks === stormKicks };
}
