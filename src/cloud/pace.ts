import type { IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';

/** Takes a turn; resolves when it has come. */
export type Pace = () => Promise<void>;

export interface PaceClock {
  nowMs: () => number;
  sleep: (milliseconds: number) => Promise<void>;
}

const realClock: PaceClock = {
  nowMs: () => performance.now(),
  sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
};

/** Hands out turns at most `perSecond` times a second, evenly, whoever asks. Turns that nobody took are lost. */
export function paceOf(perSecond: number, { nowMs, sleep }: PaceClock = realClock): Pace {
  let nextMs = Number.NEGATIVE_INFINITY;
  return async () => {
    const now = nowMs();
    const turnMs = Math.max(now, nextMs);
    nextMs = turnMs + 1000 / perSecond;
    if (turnMs > now) await sleep(turnMs - now);
  };
}

/** Has each request of a client wait for its turn, those that the client repeats by itself too. */
export function paceRequests(client: IoTDataPlaneClient, pace: Pace): void {
  client.middlewareStack.addRelativeTo(
    <Request, Answer>(next: (request: Request) => Promise<Answer>) =>
      async (request: Request) => {
        await pace();
        return await next(request);
      },
    { name: 'pace', relation: 'after', toMiddleware: 'retryMiddleware' },
  );
}
