/**
 * Fault switches of the sandbox, by name. Tests, the demo and users (`bun run sandbox fault NAME VALUE`) set the
 * same ones. A switch stays on until it is cleared, or for `times` uses.
 */
export const faultNames = {
  's3-cut': 'close the connection after this many body bytes',
  's3-slow': 'send at most this many body bytes a second',
  's3-stall': 'stop sending after this many body bytes and hold the connection open',
  's3-503': 'answer 503 SlowDown (value: any number)',
  's3-expire': 'answer 400 ExpiredToken, as if the session had ended (value: any number)',
  's3-invalid-token': 'answer 400 InvalidToken (value: any number)',
  's3-token-refresh': 'answer 400 TokenRefreshRequired (value: any number)',
  's3-redirect': 'answer 307 TemporaryRedirect to this port of localhost',
  's3-ignore-range': 'send the whole object where a range of it is asked for (value: any number)',
  's3-ignore-if-match': 'send what is there now whatever If-Match says, and no ETag (value: any number)',
  's3-wrong-range': 'send a range from this many bytes before the one that is asked for',
  's3-truncate': 'close the connection in good order after this many body bytes',
  's3-too-long': 'send this many bytes more than the object or its range has',
  's3-skew': 'shift the clock of S3 by this many seconds',
  's3-refuse': 'close each connection at its first request (value: any number)',
  'credentials-503': 'answer 503 (value: any number)',
  'credentials-reject': 'answer with this HTTP status (429, 500, ...)',
  'credentials-expire': 'hand out credentials that live this many seconds',
  'credentials-skew': 'shift the clock of the credentials provider by this many seconds',
  'credentials-stall': 'accept the request and never answer (value: any number)',
  'credentials-refuse': 'close each connection at its first request (value: any number)',
  'mqtt-refuse': 'close each connection before its CONNACK (value: any number)',
  'mqtt-kick': 'close each session this many milliseconds after its CONNACK',
  'shadow-drop': 'lose shadow requests: no answer at all (value: any number)',
  'data-plane-429': 'throttle requests to the data plane (value: any number)',
  'shadow-reject': 'reject shadow requests with this code (409, 429, 500, ...)',
} as const;

export type FaultName = keyof typeof faultNames;

interface Fault {
  value: number;
  timesLeft: number;
}

/** Tells whether a word is the name of a fault switch. */
export function isFaultName(name: string): name is FaultName {
  return Object.hasOwn(faultNames, name);
}

/** The switches of one sandbox. */
export class Faults {
  readonly #active = new Map<FaultName, Fault>();

  /** Turns a switch on, for `times` uses (default: until cleared). */
  set(name: FaultName, value: number, times = Number.POSITIVE_INFINITY): void {
    this.#active.set(name, { value, timesLeft: times });
  }

  /** Turns one switch off, or all. */
  clear(name?: FaultName): void {
    if (name === undefined) this.#active.clear();
    else this.#active.delete(name);
  }

  /** Uses a switch once: its value, or undefined when it is off. */
  take(name: FaultName): number | undefined {
    const fault = this.#active.get(name);
    if (fault === undefined) return undefined;
    fault.timesLeft -= 1;
    if (fault.timesLeft <= 0) this.#active.delete(name);
    return fault.value;
  }

  /** The value of a switch, without using it up. */
  peek(name: FaultName): number | undefined {
    return this.#active.get(name)?.value;
  }

  /** What is on now, for the status page of the sandbox. */
  list(): Array<{ name: FaultName; value: number; timesLeft: number }> {
    return [...this.#active].map(([name, fault]) => ({ name, ...fault }));
  }
}
