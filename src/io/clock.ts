/** Time as the agent sees it; tests bring their own. */
export interface Clock {
  /** Monotonic milliseconds; waits and expiries are kept on it, so that a step of the wall clock moves none. */
  nowMs(): number;
  /** Wall-clock milliseconds since 1970, to show to people and to sign with. */
  wallMs(): number;
  /** Resolves after `ms`, or at once when the signal is or gets aborted; it never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

// Longer timers fire at once.
const maxTimerMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, Math.min(Math.max(ms, 0), maxTimerMs));
      signal.addEventListener('abort', done);
    }),
};
