import { describe, expect, test } from 'bun:test';
import type { JsonValue } from '../../src/core/json.ts';
import { type Reply, type ShadowMessage, ShadowService } from '../../src/sandbox/shadow-service.ts';
import { type Step, T } from './shadow-cases.ts';
import { deltas, merging } from './shadow-merge-cases.ts';
import { published } from './shadow-message-cases.ts';
import { deletes, requests } from './shadow-request-cases.ts';

const prefix = '$aws/things/thing/shadow';

function play(steps: Step[]): void {
  let nowMs = T * 1000 - 1000;
  const shadows = new ShadowService({ now: () => nowMs });
  for (const step of steps) {
    nowMs += 1000 + (step.afterHours ?? 0) * 3_600_000;
    const seen: ShadowMessage[] = [];
    const stop = shadows.onMessage((message) => seen.push(message));
    const reply = perform(shadows, step);
    stop();
    check(step, reply, seen);
    if (step.shown === undefined) continue;
    const after = shadows.get('thing', step.named);
    if (step.shown === null) expect(after).toMatchObject({ ok: false, code: 404 });
    else expect(after).toEqual({ ok: true, body: expect.objectContaining(step.shown) });
  }
}

function perform(shadows: ShadowService, { update, get, delete: remove, named }: Step): Reply {
  if (get !== undefined) return shadows.get('thing', named, bytes(get));
  if (remove !== undefined) return shadows.delete('thing', named, bytes(remove));
  return shadows.update('thing', named, bytes(update ?? ''));
}

function bytes(payload: JsonValue | Uint8Array): Uint8Array {
  if (payload instanceof Uint8Array) return payload;
  return Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload));
}

function check(step: Step, reply: Reply, seen: ShadowMessage[]): void {
  if (step.rejected !== undefined) {
    expect(reply).toEqual({ ok: false, ...step.rejected });
    expect(seen).toEqual([]);
    return;
  }
  expect(reply).toMatchObject({ ok: true });
  if (step.accepted !== undefined) expect(reply).toEqual({ ok: true, body: step.accepted });
  const base = step.named === undefined ? prefix : `${prefix}/name/${step.named}`;
  const sent = new Map(seen.map(({ topic, body }) => [topic, body]));
  if (step.update !== undefined) {
    expect(sent.get(`${base}/update/accepted`)).toEqual(reply.ok ? reply.body : {});
    expect(sent.get(`${base}/update/documents`)).toBeDefined();
  }
  if (step.delete !== undefined) expect([...sent.keys()]).toEqual([`${base}/delete/accepted`]);
  if (step.get !== undefined) expect(seen).toEqual([]);
  if (step.documents !== undefined) expect(sent.get(`${base}/update/documents`)).toEqual(step.documents);
  if (step.delta !== undefined) expect(sent.get(`${base}/update/delta`)).toEqual(step.delta ?? undefined);
}

describe.each([
  ['requests', requests],
  ['merging', merging],
  ['what is published', published],
  ['delta', deltas],
  ['delete', deletes],
])('the shadow service, %s:', (_part, cases) => {
  test.each(cases.map(({ rule, source, steps }): [string, string, Step[]] => [rule, source, steps]))(
    '%s (%s)',
    (_rule, _source, steps) => play(steps),
  );
});

describe('ShadowService', () => {
  test('accepted, delta and documents of one update carry the same version', () => {
    const shadows = new ShadowService();
    const versions: JsonValue[] = [];
    shadows.update('thing', undefined, bytes({ state: { desired: { a: 1 } } }));
    shadows.onMessage(({ body }) => versions.push(body['version'] ?? Object(body['current']).version));
    shadows.update('thing', undefined, bytes({ state: { desired: { a: 2 } } }));
    expect(versions).toEqual([2, 2, 2]);
  });

  test('lists the named shadows of one thing, without those that were deleted', () => {
    const shadows = new ShadowService();
    for (const name of ['b', 'a', 'gone']) shadows.update('thing', name, bytes({ state: {} }));
    shadows.update('thing', undefined, bytes({ state: {} }));
    shadows.update('thing2', 'other', bytes({ state: {} }));
    shadows.delete('thing', 'gone');
    expect(shadows.listNamedShadows('thing')).toEqual(['a', 'b']);
  });

  test('a snapshot brings back documents and the versions of deleted ones', () => {
    const before = new ShadowService();
    before.update('thing', undefined, bytes({ state: { desired: { a: 1 } } }));
    before.update('thing', 'gone', bytes({ state: {} }));
    before.delete('thing', 'gone');
    const after = new ShadowService();
    after.restore(before.snapshot());
    expect(after.get('thing')).toEqual(before.get('thing'));
    expect(after.update('thing', 'gone', bytes({ state: {} }))).toMatchObject({ body: { version: 3 } });
  });

  test('a snapshot that is none changes nothing', () => {
    const shadows = new ShadowService();
    shadows.update('thing', undefined, bytes({ state: {} }));
    expect(() => shadows.restore('{"documents":1}')).toThrow();
    expect(shadows.get('thing')).toMatchObject({ ok: true });
  });
});
