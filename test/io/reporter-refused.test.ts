import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { FileStatus } from '../../src/core/report.ts';
import type { Reporter } from '../../src/io/reporter.ts';
import { ShadowRejection } from '../../src/io/shadow-client.ts';
import type { FakeClock } from '../support/io-fake-clock.ts';
import { settle } from '../support/io-helpers.ts';
import { type ReportedSection, ReporterBench } from '../support/io-reported-section.ts';

const sha = 'ab'.repeat(32);
const mirror = { url: 's3://b/k', hash: sha };
const current: FileStatus = { status: 'current', hash: sha };

let bench: ReporterBench;
let service: ReportedSection;
let clock: FakeClock;
let reporter: Reporter;

beforeEach(() => {
  bench = new ReporterBench();
  ({ service, clock, reporter } = bench);
});

afterEach(() => bench.stop.abort());

function reject(code: number): () => never {
  return () => {
    throw new ShadowRejection('update', code, 'why');
  };
}

describe('a report that is refused', () => {
  const rich = { ...mirror, versionId: 'v', size: 3, extra: { note: 'x' } };
  const failed: FileStatus = { status: 'failed', hash: sha, code: 'INSTALL', message: 'long' };

  test.each([413, 400])(
    'with %i loses its messages, then the extra keys of the mirror, then is given up',
    async (code) => {
      service.script = [reject(code), reject(code), reject(code)];
      reporter.want('s3', { mirror: rich, status: failed });
      reporter.see({});
      await reporter.idle();
      const { version, status, hash } = { version: '1.2.3', status: 'failed', hash: sha };
      const bare = { version, files: { s3: { status, hash, code: 'INSTALL' } } };
      const { extra: _, ...known } = rich;
      expect(service.patches).toEqual([
        {
          s3: rich,
          shadowAgent: { version, files: { s3: { status, hash, code: 'INSTALL', message: 'long' } } },
        },
        { s3: rich, shadowAgent: bare },
        { s3: known, shadowAgent: bare },
      ]);
      reporter.see({});
      await reporter.idle();
      expect(service.patches.length).toBe(3);
      expect(clock.sleeps).toEqual([]);
    },
  );

  test('is sent in full once something has changed', async () => {
    service.script = [reject(413), reject(413), reject(413)];
    reporter.want('s3', { mirror: rich, status: failed });
    reporter.see({});
    await reporter.idle();
    reporter.want('s3', { status: current });
    await reporter.idle();
    expect(service.reported['s3']).toEqual(rich);
    expect(service.statusOf()).toEqual({ status: 'current', hash: sha });
  });

  test('is not sent again once a shorter one was taken', async () => {
    service.script = [reject(413)];
    reporter.want('s3', { mirror: rich, status: failed });
    reporter.see({});
    await reporter.idle();
    reporter.see(service.reported);
    await reporter.idle();
    expect(service.patches.length).toBe(2);
    expect(service.reported['s3']).toEqual(rich);
  });

  test.each([429, 409, 500])('with %i is sent again after a growing wait', async (code) => {
    service.script = [reject(code), reject(code), reject(code)];
    reporter.want('s3', { mirror });
    reporter.see({});
    for (const waitMs of [500, 1000, 2000]) {
      await clock.asleep();
      expect(clock.sleeps.at(-1)).toBe(waitMs);
      clock.advance(waitMs);
      await settle();
    }
    await reporter.idle();
    expect(service.patches.length).toBe(4);
    expect(service.reported['s3']).toEqual(mirror);
  });

  test('with 403 is sent again after a long wait, with what is wanted then', async () => {
    service.script = [reject(403)];
    reporter.want('s3', { mirror: { hash: 'old' } });
    reporter.see({});
    await clock.asleep();
    expect(clock.sleeps).toEqual([30_000]);
    reporter.want('s3', { mirror });
    await settle();
    expect(service.patches.length).toBe(1);
    clock.advance(30_000);
    await reporter.idle();
    expect(service.reported['s3']).toEqual(mirror);
  });

  test('for ever does not spin once the agent stops', async () => {
    service.script = Array.from({ length: 1000 }, () => reject(429));
    reporter.want('s3', { mirror });
    reporter.see({});
    await clock.asleep();
    bench.stop.abort();
    await reporter.idle();
    expect(service.patches.length).toBeLessThanOrEqual(3);
  });
});
