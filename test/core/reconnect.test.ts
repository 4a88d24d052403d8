import { describe, expect, test } from 'bun:test';
import { nextConnect, noReconnects, type Reconnects, type Session } from '../../src/core/reconnect.ts';

const failed: Session = { upMs: undefined, endedMs: 100, ending: 'other' };
const endings = ['kick', 'fault', 'other'] as const;
const kicked: Session = { upMs: 100, endedMs: 1_000, ending: 'kick' };

/** Waits after one session again and again. */
function waits(session: Session, random: number, times = 9): number[] {
  let reconnects: Reconnects = noReconnects;
  return Array.from({ length: times }, () => {
    const next = nextConnect(reconnects, session, random);
    ({ reconnects } = next);
    return next.waitMs;
  });
}

describe('the wait before the next connect', () => {
  test('doubles up to two minutes while there is no connection', () => {
    expect(waits(failed, 0.999_999)).toEqual([
      1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 120_000, 120_000,
    ]);
  });

  test('is never less than a second from when CONNECT was sent at the latest', () => {
    expect(waits(failed, 0, 3)).toEqual([1_000, 1_000, 1_000]);
    expect(waits({ ...failed, endedMs: 5_000 }, 0, 3)).toEqual([1_000, 1_000, 1_000]);
    // A handshake of 5 s, and a kick 0.1 s after it.
    const slow: Session = { upMs: 5_000, endedMs: 5_100, ending: 'kick' };
    expect(waits(slow, 0, 1)).toEqual([900]);
    expect(waits({ ...slow, endedMs: 7_000, ending: 'other' }, 0, 1)).toEqual([500]);
  });

  for (const random of [0, 0.25, 0.5, 0.999]) {
    for (const ending of ['kick', 'fault'] as const) {
      test(`makes at most 12 connects in the first minute where each ends in a ${ending} after a second (chance ${random})`, () => {
        let atMs = 0;
        const session: Session = { upMs: 0, endedMs: 1_000, ending };
        const connects = [atMs, ...waits(session, random, 60).map((ms) => (atMs += 1_000 + ms))];
        expect(connects.filter((ms) => ms < 60_000).length).toBeLessThanOrEqual(12);
        expect(connects.filter((ms) => ms < 3_600_000).length).toBeLessThanOrEqual(130);
      });
    }
  }

  test('begins anew after a session that lasted a minute, however that ended', () => {
    const worn = { attempt: 9, kicks: 5 };
    for (const ending of endings) {
      const lasting = { upMs: 100, endedMs: 60_100, ending };
      expect(nextConnect(worn, lasting, 0.5)).toEqual({
        reconnects: { attempt: 1, kicks: 0 },
        waitMs: 500,
        isStorm: false,
      });
    }
    expect(nextConnect(worn, { ...kicked, endedMs: 60_099 }, 0.5).reconnects).toEqual({
      attempt: 10,
      kicks: 6,
    });
  });
});

describe('a storm', () => {
  test.each(['other', 'fault'] as const)(
    'is told at the third kick without one that lasted, once, whatever ends as %s between',
    (ending) => {
      let reconnects: Reconnects = noReconnects;
      const between = { ...kicked, ending };
      const told = [kicked, between, kicked, between, kicked, between, kicked, kicked].map((session) => {
        const next = nextConnect(reconnects, session, 0.5);
        ({ reconnects } = next);
        return next.isStorm;
      });
      expect(told).toEqual([false, false, false, false, true, false, false, false]);
    },
  );

  test('is none where there is no connection at all', () => {
    let reconnects: Reconnects = noReconnects;
    for (let times = 0; times < 10; times += 1) {
      const next = nextConnect(reconnects, failed, 0.5);
      ({ reconnects } = next);
      expect(next.isStorm).toBe(false);
    }
  });
});
