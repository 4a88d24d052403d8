/** The clocks of device and AWS differ. With the compiled executable. */
import { expect } from 'bun:test';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { libfaketime, withClockOf } from '../support/fake-time.ts';
import { answers, faultTest, waits } from '../support/faults.ts';
import { toolTest } from '../support/tools.ts';
import { scenario, sha256, until, type World } from '../support/world.ts';

const day = 86_400;
const [hoge, fuga] = ['hoge\n', 'fuga\n'] as const;

async function follows(world: World, text: string): Promise<void> {
  await world.put('test.txt', text);
  await world.inSync(sha256(text));
  expect(world.file()).toBe(text);
}

function skew(world: World, seconds: number): void {
  world.sandbox.faults.set('s3-skew', seconds);
  world.sandbox.faults.set('credentials-skew', seconds);
}

for (const [what, seconds] of [
  ['3 days behind', 3 * day],
  ['400 days ahead', -400 * day],
] as const) {
  faultTest(`a device that is ${what} of AWS fetches at once, with one set of credentials`, async (world) => {
    skew(world, seconds);
    const run = await world.start();
    await follows(world, hoge);
    await follows(world, fuga);
    expect(answers(world)).toEqual([200, 200]);
    expect(world.sandbox.credentials.requests.length).toBe(1);
    expect(run.log).not.toContain('WARNING');
    return 10;
  });

  faultTest(`only S3 finds the device ${what}: its ServerTime is taken, at once`, async (world) => {
    world.sandbox.faults.set('s3-skew', seconds);
    const run = await world.start();
    await follows(world, hoge);
    await follows(world, fuga);
    expect(answers(world)).toEqual(['RequestTimeTooSkewed', 200, 200]);
    expect(world.sandbox.credentials.requests.length).toBe(1);
    expect(run.log).not.toContain('WARNING');
    return 10;
  });

  faultTest(`a device that gets ${what} while it runs: mended in the same attempt`, async (world) => {
    const run = await world.start();
    await follows(world, hoge);
    skew(world, seconds);
    await follows(world, fuga);
    expect(answers(world)).toEqual([200, 'RequestTimeTooSkewed', 200]);
    expect(world.sandbox.credentials.requests.length).toBe(1);
    expect(run.log).not.toContain('WARNING');
    return 10;
  });
}

/** Plays with a device whose wall clock is set through a file. */
async function playClock(
  first: string,
  play: (world: World, set: (time: string) => Promise<void>) => Promise<void>,
) {
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-clock-'));
  try {
    const file = join(dir, 'clock');
    const set = (time: string) => writeFile(file, `${time}\n`);
    await set(first);
    await scenario((world) => play(world, set), { command: await withClockOf(file) });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

for (const time of ['-50m', '+300d']) {
  toolTest([libfaketime], `a device with its clock at ${time} follows, and no warning is logged`, () =>
    playClock(time, async (world) => {
      const run = await world.start();
      await follows(world, hoge);
      await follows(world, fuga);
      expect(answers(world)).toEqual([200, 200]);
      expect(world.sandbox.credentials.requests.length).toBe(1);
      expect(run.log).not.toContain('WARNING');
    }),
  );
}

toolTest(
  [libfaketime],
  'a device that starts in 1970 trusts nobody, says why, and follows once its clock is set',
  () =>
    playClock('@1970-01-02 00:00:00', async (world, set) => {
      const run = await world.run();
      await world.put('test.txt', hoge);
      await run.logged(/Cannot connect to the broker[^\n]*hint="check the clock of this device/);
      await until('another try', () => run.log.split('Cannot connect to the broker').length > 2, 10_000);
      expect(world.sandbox.credentials.requests).toEqual([]);
      await set('+0');
      await world.inSync(sha256(hoge));
      expect(answers(world)).toEqual([200]);
    }),
);

/** Before any certificate of the sandbox was valid. */
const in1971 = `-${Math.floor(Date.now() / 1000 / day) - 365}d`;

toolTest(
  [libfaketime],
  'a clock that falls back to 1971 before credentials are there: it is named, and asked soon, until it is set',
  () =>
    playClock('+0', async (world, set) => {
      const run = await world.start();
      const asked = world.sandbox.credentials.requests.length;
      await set(in1971);
      await world.put('test.txt', hoge);
      await run.logged(/credentials[^\n]*code=CREDENTIALS[^\n]*hint="check the clock of this device/);
      await world.hasStatus({ status: 'waiting', code: 'CREDENTIALS' });
      for (const seconds of waits(run)) expect(seconds).toBeLessThanOrEqual(8);
      expect(world.sandbox.credentials.requests.length).toBe(asked);
      await set('+0');
      await world.inSync(sha256(hoge));
      expect(answers(world)).toEqual([200]);
    }),
);

toolTest(
  [libfaketime],
  'a clock that falls back to 1971 when credentials are there: S3 is not trusted, and asked soon, until it is set',
  () =>
    playClock('+0', async (world, set) => {
      const run = await world.start();
      await follows(world, hoge);
      await set(in1971);
      await world.put('test.txt', fuga);
      await run.logged(/Cannot get the object[^\n]*code=NETWORK[^\n]*hint="check the clock of this device/);
      await world.hasStatus({ status: 'waiting', code: 'NETWORK' });
      for (const seconds of waits(run)) expect(seconds).toBeLessThanOrEqual(8);
      await set('+0');
      await world.inSync(sha256(fuga));
      expect(answers(world)).toEqual([200, 200]);
      expect(world.sandbox.credentials.requests.length).toBe(1);
    }),
);

toolTest([libfaketime], 'a wall clock that jumps while the device runs moves nothing', () =>
  playClock('+0', async (world, set) => {
    const run = await world.start();
    await follows(world, hoge);
    await set('+200d');
    await follows(world, fuga);
    await set('-30m');
    await follows(world, 'piyo\n');
    expect(answers(world)).toEqual([200, 200, 200]);
    expect(world.sandbox.credentials.requests.length).toBe(1);
    expect(run.log).not.toContain('WARNING');
  }),
);
