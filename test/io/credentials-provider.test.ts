import { beforeEach, describe, expect, test } from 'bun:test';
import { redact } from '../../src/core/secrets.ts';
import type { CredentialsProvider } from '../../src/io/credentials-provider.ts';
import { CredentialsSource, credentialsAnswer, hourMs, providerOf } from '../support/io-credentials.ts';
import { FakeClock } from '../support/io-fake-clock.ts';
import { caught, deferred, settle } from '../support/io-helpers.ts';

const never = new AbortController().signal;
const minuteMs = 60_000;
let clock: FakeClock;
let stop: AbortController;

beforeEach(() => {
  clock = new FakeClock();
  stop = new AbortController();
});

const failing = (): never => {
  throw new TypeError('connection refused');
};

describe('the cache of credentials', () => {
  let source: CredentialsSource;
  let credentials: CredentialsProvider;

  beforeEach(() => {
    source = new CredentialsSource(clock);
    credentials = providerOf({ fetch: source.fetch, clock, signal: stop.signal });
  });

  async function id(): Promise<string> {
    return (await credentials.get(never)).accessKeyId;
  }

  test('asks once for fifty callers at the same time', async () => {
    const got = await Promise.all(Array.from({ length: 50 }, () => id()));
    expect(new Set(got)).toEqual(new Set(['ASIA1']));
    expect(source.count).toBe(1);
  });

  test('keeps them until five minutes before their end', async () => {
    await id();
    clock.advance(hourMs - 5 * minuteMs - 2000);
    expect(await id()).toBe('ASIA1');
    clock.advance(3000);
    expect(await id()).toBe('ASIA2');
    expect(source.count).toBe(2);
  });

  test('does not ask for short ones all the time', async () => {
    source.script = [() => credentialsAnswer('short', 4 * minuteMs, clock.wallMs())];
    await id();
    clock.advance(minuteMs);
    expect(await id()).toBe('short');
    clock.advance(minuteMs + 2000);
    expect(await id()).toBe('ASIA2');
  });

  test('uses old ones to their real end where the refresh fails, and asks again every 30 s', async () => {
    await id();
    source.script = [failing, () => new Response('busy', { status: 503 }), failing];
    clock.advance(hourMs - 4 * minuteMs);
    const ranges = await Promise.all([id(), id(), id()]);
    expect([...ranges, await id(), await id()]).toEqual(Array(5).fill('ASIA1'));
    expect(source.count).toBe(2);
    clock.advance(30_000);
    expect([await id(), await id()]).toEqual(['ASIA1', 'ASIA1']);
    expect(source.count).toBe(3);
    clock.advance(3.5 * minuteMs - 2000);
    expect(await id()).toBe('ASIA1');
    clock.advance(3000);
    expect(await id()).toBe('ASIA5');
  });

  test('does not hand out what has ended while the refresh was under way', async () => {
    await id();
    clock.advance(hourMs - 5000);
    const late = deferred<Response>();
    source.script = [() => late.promise];
    const asked = id();
    await settle();
    clock.advance(10_000);
    late.reject(new TypeError('connection reset'));
    await caught(asked);
  });

  test('keeps no failure', async () => {
    source.script = [failing];
    await caught(id());
    expect(await id()).toBe('ASIA2');
  });

  test('one failure answers all who waited for it', async () => {
    source.script = [failing];
    const errors = await Promise.all(Array.from({ length: 10 }, () => caught(id())));
    expect(errors.every((error) => error.retry === 'soon')).toBe(true);
    expect(source.count).toBe(1);
  });

  test('drops those that S3 refused, and no others', async () => {
    await id();
    credentials.drop('ASIA-other');
    expect(await id()).toBe('ASIA1');
    credentials.drop('ASIA1');
    expect(await id()).toBe('ASIA2');
    credentials.drop('ASIA1');
    expect(await id()).toBe('ASIA2');
    expect(source.count).toBe(2);
  });

  test('does not go back to dropped ones where the refresh fails', async () => {
    await id();
    credentials.drop('ASIA1');
    source.script = [failing];
    await caught(id());
  });

  test('an abort ends the wait of its caller with its reason, and of no other', async () => {
    const slow = deferred<Response>();
    let aborted = false;
    source.script = [
      (signal) => {
        signal.addEventListener('abort', () => {
          aborted = true;
        });
        return slow.promise;
      },
    ];
    const abort = new AbortController();
    const reason = new Error('a newer desired value');
    const [first, second] = [credentials.get(abort.signal), credentials.get(never)];
    abort.abort(reason);
    await expect(first).rejects.toBe(reason);
    expect(aborted).toBe(false);
    slow.resolve(credentialsAnswer('shared', hourMs, clock.wallMs()));
    expect((await second).accessKeyId).toBe('shared');
    await expect(credentials.get(AbortSignal.abort(reason))).resolves.toBeDefined();
  });

  test('the end of the agent ends what is under way', async () => {
    source.script = [
      (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    ];
    const asked = credentials.get(never);
    const reason = new Error('shutdown');
    stop.abort(reason);
    await expect(asked).rejects.toBe(reason);
  });

  test('warming gets them ready, swallows its failure, and asks no more for half a minute then', async () => {
    source.script = [failing];
    credentials.warm();
    await settle();
    credentials.warm();
    await settle();
    expect(source.count).toBe(1);
    clock.advance(30_000);
    credentials.warm();
    await settle();
    expect(source.count).toBe(2);
    expect(await id()).toBe('ASIA2');
    expect(source.count).toBe(2);
  });

  test.each([-365 * 24 * hourMs, 365 * 24 * hourMs])(
    'a device clock that is wrong by %i ms neither shortens nor stretches their life',
    async (wrongMs) => {
      const serverMs = clock.wallMs();
      source.script = [() => credentialsAnswer('right', hourMs, serverMs)];
      clock.stepWall(wrongMs);
      const { expiresAtMs, refreshAtMs } = await credentials.get(never);
      expect(Math.abs(expiresAtMs - clock.nowMs() - hourMs)).toBeLessThan(1001);
      expect(expiresAtMs - refreshAtMs).toBe(5 * minuteMs);
      clock.stepWall(-wrongMs);
      clock.advance(hourMs - 6 * minuteMs);
      expect(await id()).toBe('right');
    },
  );

  test('are protected from the log as soon as they are known', async () => {
    source.script = [() => credentialsAnswer('PROTECTED', hourMs, clock.wallMs())];
    await id();
    expect(redact('x secret-PROTECTED y token-PROTECTED')).toBe('x [secret] y [secret]');
  });
});
