/** What the agent reports: JSON that the service takes or refuses cleanly, after which nothing is left to say. */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { isJsonObject, type JsonObject, member } from '../../src/core/json.ts';
import type { FileStatus } from '../../src/core/report.ts';
import { mergeReported, reportedPatch } from '../../src/core/shadow.ts';
import { Reporter } from '../../src/io/reporter.ts';
import { ShadowRejection } from '../../src/io/shadow-client.ts';
import { ShadowService } from '../../src/sandbox/shadow-service.ts';
import { FakeClock } from '../support/io-fake-clock.ts';
import { RecordingLog } from '../support/io-helpers.ts';
import { almost, expectCleanPrototypes, hostileJson, jsonOf } from '../support/property-hostile.ts';
import { canonical, runs } from '../support/property-runs.ts';

const hash = '0'.repeat(64);
const properties = ['s3', 'constructor', '__proto__'];

/** A shadow, and somebody who writes to its reported section as the agent does. */
class Shadow {
  readonly service = new ShadowService();
  readonly refused: number[] = [];
  sent = 0;

  /** Writes a section as its text stands. @returns whether it was taken */
  write(section: 'desired' | 'reported', text: string): boolean {
    return this.service.update('thing', undefined, Buffer.from(`{"state":{"${section}":${text}}}`)).ok;
  }

  section(name: 'desired' | 'reported'): JsonObject {
    const reply = this.service.get('thing');
    const state = reply.ok ? member(reply.body, 'state') : undefined;
    const section = isJsonObject(state) ? member(state, name) : undefined;
    return isJsonObject(section) ? section : {};
  }

  readonly send = async (patch: JsonObject): Promise<boolean> => {
    this.sent += 1;
    // As good as a lost connection: it ends a reporter that would go on for ever.
    if (this.sent > 20) throw new Error('It never ends');
    const text = JSON.stringify({ state: { reported: patch } });
    expect(canonical(jsonOf(text))).toBe(canonical({ state: { reported: patch } }));
    const reply = this.service.update('thing', undefined, Buffer.from(text));
    if (reply.ok) return true;
    this.refused.push(reply.code);
    throw new ShadowRejection('update', reply.code, reply.message);
  };

  reporter(): Reporter {
    return new Reporter({
      version: '0.0.0',
      properties,
      clock: new FakeClock(),
      log: new RecordingLog(),
      random: () => 0,
      send: this.send,
      reread: () => undefined,
      signal: new AbortController().signal,
    });
  }
}

// A number that no double holds cannot be mirrored.
const sectionText = almost({
  s3: almost({ url: fc.constant('"s3://bucket/key"'), hash: fc.constant(`"${hash}"`) }),
  shadowAgent: almost({ version: fc.constant('"9"'), files: hostileJson }),
  constructor: hostileJson,
}).filter((text) => !text.includes('e400'));
const status: fc.Arbitrary<FileStatus | null> = fc.option(
  fc.record(
    {
      status: fc.constantFrom('current', 'waiting', 'failed', 'downloading'),
      hash: fc.constant(hash),
      message: fc.string({ unit: 'binary', maxLength: 300 }),
      attempt: fc.nat(),
      retryAtMs: fc.nat(),
    },
    { requiredKeys: ['status'] },
  ),
);

test('after a report the section is as wanted, and nothing is left to say, whatever stood there', async () => {
  const property = fc.asyncProperty(sectionText, sectionText, status, async (desired, reported, shown) => {
    const shadow = new Shadow();
    shadow.write('desired', desired);
    shadow.write('reported', reported);
    const reporter = shadow.reporter();
    const mirrors = properties.map((name) => [name, member(shadow.section('desired'), name)] as const);
    for (const [name, mirror] of mirrors) {
      if (isJsonObject(mirror)) reporter.want(name, { mirror, status: shown });
    }
    reporter.see(shadow.section('reported'));
    await reporter.idle();
    expect(shadow.sent).toBeLessThanOrEqual(4);
    expect(shadow.refused.every((code) => code === 400 || code === 413)).toBe(true);
    if (shadow.refused.length === 0) {
      for (const [name, mirror] of mirrors) {
        const told = member(shadow.section('reported'), name);
        if (isJsonObject(mirror)) expect(canonical(told ?? null)).toBe(canonical(mirror));
      }
    }
    const { sent } = shadow;
    reporter.see(shadow.section('reported'));
    await reporter.idle();
    expect(shadow.sent).toBe(sent);
    expectCleanPrototypes();
  });
  await fc.assert(property, { numRuns: runs(400) });
});

test('the agent merges what it has reported as the service does', () => {
  const property = fc.property(sectionText, sectionText, (first, second) => {
    const shadow = new Shadow();
    fc.pre(shadow.write('reported', first));
    const before = shadow.section('reported');
    fc.pre(shadow.write('reported', second));
    const patch = jsonOf(second);
    const merged = isJsonObject(patch) ? mergeReported(before, patch) : before;
    expect(canonical(merged)).toBe(canonical(shadow.section('reported')));
  });
  fc.assert(property, { numRuns: runs(400) });
});

test('a patch turns what is seen into what is wanted, and a second one is not needed', () => {
  const property = fc.property(sectionText, sectionText, (wantedText, seenText) => {
    const shadow = new Shadow();
    fc.pre(shadow.write('desired', wantedText) && shadow.write('reported', seenText));
    const wanted = shadow.section('desired');
    const seen = shadow.section('reported');
    const patch = reportedPatch(wanted, seen);
    const merged = patch === undefined ? seen : mergeReported(seen, patch);
    expect(reportedPatch(wanted, merged)).toBeUndefined();
    const told = Object.keys(wanted).map((key) => [key, member(merged, key) ?? null]);
    expect(canonical(Object.fromEntries(told))).toBe(canonical(wanted));
  });
  fc.assert(property, { numRuns: runs(400) });
});
