import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { AgentError } from '../../src/core/errors.ts';
import type { FileStatus } from '../../src/core/report.ts';
import type { Reporter } from '../../src/io/reporter.ts';
import type { FakeClock } from '../support/io-fake-clock.ts';
import { deferred, settle } from '../support/io-helpers.ts';
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

describe('a reporter', () => {
  test('says nothing before the first document', async () => {
    reporter.want('s3', { mirror, status: current });
    await settle();
    expect(service.patches).toEqual([]);
    reporter.see({});
    await reporter.idle();
    expect(service.patches).toEqual([
      { s3: mirror, shadowAgent: { version: '1.2.3', files: { s3: { status: 'current', hash: sha } } } },
    ]);
  });

  test('tells its version where nothing else is to be said', async () => {
    reporter.see({});
    await reporter.idle();
    expect(service.reported).toEqual({ shadowAgent: { version: '1.2.3' } });
  });

  test('sends only what differs from what it saw', async () => {
    reporter.want('s3', { mirror: { ...mirror, deep: { a: 1, b: 2 } }, status: current });
    reporter.see({
      s3: { url: 's3://b/k', hash: 'old', gone: 1, deep: { a: 1, c: 3 } },
      foreign: { left: 'alone' },
      shadowAgent: { version: '1.2.3', files: { s3: { status: 'failed', hash: sha, code: 'S3' } } },
    });
    await reporter.idle();
    expect(service.patches).toEqual([
      {
        s3: { hash: sha, gone: null, deep: { b: 2, c: null } },
        shadowAgent: { files: { s3: { status: 'current', code: null } } },
      },
    ]);
  });

  test('says nothing where all is as wanted already, as after a restart', async () => {
    reporter.want('s3', { mirror, status: current });
    reporter.see({
      s3: { hash: sha, url: 's3://b/k' },
      shadowAgent: { version: '1.2.3', files: { s3: { hash: sha, status: 'current' } } },
    });
    await reporter.idle();
    expect(service.patches).toEqual([]);
  });

  test('takes back files that are no longer configured, and keeps those it knows nothing new of', async () => {
    const kept = { status: 'failed', hash: sha, code: 'INSTALL' };
    reporter.see({
      shadowAgent: { version: '1.2.2', files: { s3: kept, gone: { status: 'current' }, other: kept } },
    });
    await reporter.idle();
    expect(service.patches).toEqual([{ shadowAgent: { version: '1.2.3', files: { gone: null } } }]);
  });

  test('takes back the whole list where no file of it is configured', async () => {
    reporter.see({ shadowAgent: { version: '1.2.3', files: { gone: { status: 'current' } } } });
    await reporter.idle();
    const [patch] = service.patches;
    expect(service.patches.length).toBe(1);
    expect([{ files: null }, { files: { gone: null } }]).toContainEqual(Object(patch?.['shadowAgent']));
  });

  test('lives with whatever stands in the place of its own section', async () => {
    for (const rubbish of ['text', 7, [1, { files: 1 }], { files: 'x' }, { files: { s3: 'x' } }]) {
      const fresh = bench.create();
      fresh.want('s3', { status: current });
      fresh.see({ shadowAgent: rubbish });
      await fresh.idle();
      const patch = Object(service.patches.at(-1)?.['shadowAgent']);
      expect(patch.files.s3).toEqual({ status: 'current', hash: sha });
    }
  });

  test('has one request in flight, and joins what comes meanwhile', async () => {
    const first = deferred<boolean>();
    service.script = [() => first.promise];
    reporter.see({});
    await settle();
    for (let bytes = 1; bytes <= 50; bytes += 1) {
      reporter.want('s3', { status: { status: 'downloading', hash: sha, bytes, size: 50 } });
    }
    reporter.want('other', { status: current });
    await settle();
    expect(service.patches.length).toBe(1);
    first.resolve(true);
    await reporter.idle();
    expect([service.patches.length, service.mostInFlight]).toEqual([2, 1]);
    expect(service.statusOf()).toEqual({ status: 'downloading', hash: sha, bytes: 50, size: 50 });
    expect(service.statusOf('other')).toEqual({ status: 'current', hash: sha });
  });

  test('takes back a status that is wanted no more', async () => {
    reporter.see({});
    reporter.want('s3', { status: { status: 'waiting', hash: sha, code: 'NETWORK' } });
    await reporter.idle();
    reporter.want('s3', { status: null });
    await reporter.idle();
    expect(service.statusOf()).toBeUndefined();
    expect(reporter.status('s3')).toBeNull();
  });

  test('knows the status that an earlier run has left, until another one is wanted', async () => {
    const left = { status: 'failed', hash: sha, code: 'INSTALL', retryAt: '2026-01-01T00:01:30Z' };
    expect(reporter.status('s3')).toBeUndefined();
    reporter.see({ shadowAgent: { version: '1.2.2', files: { s3: left, other: 'rubbish' } } });
    expect([reporter.status('s3'), reporter.status('other')]).toEqual([left, undefined]);
    reporter.want('s3', { status: null });
    expect(reporter.status('s3')).toBeNull();
  });

  test('sends nothing for a status that is the same, even as the time of the retry comes nearer', async () => {
    const status: FileStatus = {
      status: 'waiting',
      hash: sha,
      code: 'NETWORK',
      attempt: 1,
      retryAtMs: clock.nowMs() + 90_000,
    };
    reporter.see({});
    reporter.want('s3', { mirror, status });
    await reporter.idle();
    expect(service.statusOf()).toMatchObject({ retryAt: '2026-01-01T00:01:30Z' });
    const sent = service.patches.length;
    for (let turn = 0; turn < 5; turn += 1) {
      clock.advance(1_500);
      clock.stepWall(7);
      reporter.want('s3', { mirror: { ...mirror }, status: { ...status } });
      reporter.see(service.reported);
      await reporter.idle();
    }
    expect(service.patches.length).toBe(sent);
  });
});

describe('a connection that is lost', () => {
  test('has what was lost with it sent again, against what is seen then', async () => {
    service.script = [
      () => {
        throw new AgentError('MQTT', 'lost');
      },
    ];
    reporter.want('s3', { mirror, status: current });
    reporter.see({});
    await reporter.idle();
    expect(service.patches.length).toBe(1);
    reporter.want('other', { status: current });
    await settle();
    expect(service.patches.length).toBe(1);
    reporter.see({ s3: mirror });
    await reporter.idle();
    expect(service.patches.length).toBe(2);
    expect(service.patches[1]?.['s3']).toBeUndefined();
    expect(service.statusOf()).toEqual({ status: 'current', hash: sha });
    expect(service.statusOf('other')).toEqual({ status: 'current', hash: sha });
  });

  test('before the answer: the document of the next connection counts, not what was hoped for', async () => {
    const first = deferred<boolean>();
    service.script = [() => first.promise];
    reporter.want('s3', { mirror, status: current });
    reporter.see({});
    await settle();
    reporter.see(undefined);
    reporter.see({ s3: { hash: 'old' } });
    first.reject(new AgentError('MQTT', 'lost'));
    await reporter.idle();
    expect(service.patches[1]).toMatchObject({ s3: { hash: sha } });
    expect(service.reported['s3']).toEqual(mirror);
  });

  test('while offline nothing is sent, and nothing spins', async () => {
    service.script = [() => false];
    reporter.want('s3', { mirror });
    reporter.see({});
    await reporter.idle();
    reporter.want('s3', { status: current });
    await reporter.idle();
    expect(service.patches.length).toBe(1);
  });
});

describe('a document that comes while an update is under way', () => {
  test('is not mended by a late acknowledgement: the document is asked for again', async () => {
    const bench = new ReporterBench();
    let acknowledge: () => void = () => undefined;
    bench.service.script.push(() => new Promise((resolve) => (acknowledge = () => resolve(true))));
    bench.reporter.see({});
    bench.reporter.want('s3', { mirror: { hash: 'a' } });
    await settle();
    // Somebody takes the mirror back; the document that shows it overtakes the acknowledgement of our update.
    bench.reporter.see({});
    acknowledge();
    await settle();
    expect(bench.rereads).toBe(1);
    // An agent that ends waits for that, too.
    const idle = bench.reporter.idle();
    bench.service.reported = {};
    bench.reporter.see({});
    await idle;
    expect(bench.service.reported).toMatchObject({ s3: { hash: 'a' } });
  });
});
