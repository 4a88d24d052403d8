/** The sandbox's shadow service against a naive model of it: the same requests must show the same to everybody. */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { type Reply, type ShadowMessage, ShadowService } from '../../src/sandbox/shadow-service.ts';
import { canonical, runs } from '../support/property-runs.ts';
import { type ModelReply, ShadowModel } from '../support/property-shadow-model.ts';

// Few keys, so that they meet; some that pollute prototypes or break pointers where code is careless.
const key = fc.constantFrom('a', 'b', 's3', 'x/y', '~', '', 'timestamp', '__proto__', 'constructor');
const text = fc.oneof(
  { weight: 8, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 2000 }).map((length) => 'é'.repeat(length)) },
);
const scalar: fc.Arbitrary<JsonValue> = fc.oneof(
  fc.constantFrom(0, 1, true, false, '', 'on'),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
  text,
);
const { value } = fc.letrec<{ inArray: JsonValue; value: JsonValue }>((tie) => ({
  inArray: fc.oneof(
    { maxDepth: 2, withCrossShrink: true },
    scalar,
    fc.array(tie('inArray'), { maxLength: 3 }),
    objectOf(tie('inArray')),
  ),
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    scalar,
    fc.constant(null),
    fc.array(tie('inArray'), { maxLength: 3 }),
    objectOf(tie('value')),
  ),
}));

function objectOf(inner: fc.Arbitrary<JsonValue>): fc.Arbitrary<JsonObject> {
  return fc.array(fc.tuple(key, inner), { maxLength: 4 }).map((entries) => Object.fromEntries(entries));
}

const section = fc.oneof(
  { weight: 6, arbitrary: objectOf(value) },
  { weight: 1, arbitrary: fc.constant(null) },
);
const state = fc.oneof(
  { weight: 12, arbitrary: fc.record({ desired: section, reported: section }, { requiredKeys: [] }) },
  { weight: 1, arbitrary: fc.constant(null) },
);

/** `ahead`: how far the version that the request names is from the present one. */
interface Step {
  do: 'get' | 'update' | 'delete';
  state: JsonValue;
  ahead: number | undefined;
  clientToken: string | undefined;
  laterMs: number;
}

const hourMs = 3_600_000;
const step: fc.Arbitrary<Step> = fc.record({
  do: fc.constantFrom('update', 'update', 'update', 'update', 'get', 'delete'),
  state,
  ahead: fc.oneof(
    { weight: 4, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.integer({ min: -2, max: 2 }) },
  ),
  clientToken: fc.option(fc.string({ unit: 'grapheme', maxLength: 12 }), { nil: undefined }),
  laterMs: fc.constantFrom(0, 0, 999, 1000, 47 * hourMs, 49 * hourMs),
});

/** Requests that are wrong in one way, whatever the shadow holds. */
const nested = (levels: number): JsonValue => (levels === 0 ? 1 : { a: nested(levels - 1) });
const refusals: Array<{ payload: fc.Arbitrary<string>; code: number; message: string }> = [
  { payload: fc.string().filter((one) => !isJson(one)), code: 400, message: 'Invalid JSON' },
  { payload: fc.constantFrom('[]', '1', '"x"', 'null'), code: 400, message: 'Invalid JSON' },
  { payload: json({ desired: objectOf(value) }), code: 400, message: 'Missing required node: state' },
  {
    payload: json({ state: fc.constantFrom<JsonValue>(1, 'x', [], true) }),
    code: 400,
    message: 'State node must be an object',
  },
  {
    payload: json({ state: fc.constantFrom<JsonValue>({ desired: 1 }, { desired: [] }) }),
    code: 400,
    message: 'Desired node must be an object',
  },
  {
    payload: json({ state: fc.constantFrom<JsonValue>({ reported: 'x' }, { reported: [{}] }) }),
    code: 400,
    message: 'Reported node must be an object',
  },
  {
    payload: json({ state: fc.constantFrom<JsonValue>({ delta: {} }, { desirde: {} }) }),
    code: 400,
    message: 'State contains an invalid node',
  },
  {
    payload: json({ state: fc.constant({}), version: fc.constantFrom<JsonValue>('1', 1.5, -1, null, []) }),
    code: 400,
    message: 'Invalid version',
  },
  {
    payload: json({
      state: fc.constant({}),
      clientToken: fc.constantFrom<JsonValue>(1, null, 'x'.repeat(65), 'é'.repeat(33)),
    }),
    code: 400,
    message: 'Invalid clientToken',
  },
  {
    payload: json({
      state: fc.integer({ min: 8, max: 2000 }).map((levels) => ({ desired: nested(levels) })),
    }),
    code: 400,
    message: 'JSON contains too many levels of nesting; maximum is 6',
  },
  {
    payload: json({
      state: fc.constantFrom<JsonValue>({ desired: { a: [null] } }, { reported: { a: { b: [[1, null]] } } }),
    }),
    code: 400,
    message: 'Invalid JSON',
  },
];

function json(members: Record<string, fc.Arbitrary<JsonValue>>): fc.Arbitrary<string> {
  return fc.record(members).map((one) => JSON.stringify(one));
}

function isJson(one: string): boolean {
  try {
    JSON.parse(one);
    return true;
  } catch {
    return false;
  }
}

const cleanPrototype = Object.getOwnPropertyNames(Object.prototype);

/** Both of them, at one clock. */
class Pair {
  nowMs = 1_700_000_000_000;
  readonly service = new ShadowService({ now: () => this.nowMs });
  readonly model = new ShadowModel('thing', () => this.nowMs);
  readonly #seen: ShadowMessage[] = [];

  constructor() {
    this.service.onMessage((message) => this.#seen.push(structuredClone(message)));
  }

  play(one: Step): void {
    this.nowMs += one.laterMs;
    this.#seen.length = 0;
    const { clientToken } = one;
    const token = clientToken === undefined ? {} : { clientToken };
    const payload = (members: JsonObject) => Buffer.from(JSON.stringify({ ...members, ...token }));
    if (one.do === 'get') {
      this.#same(this.service.get('thing', undefined, payload({})), this.model.get(clientToken));
      return;
    }
    if (one.do === 'delete') {
      this.#same(this.service.delete('thing', undefined, payload({})), this.model.delete(clientToken));
      return;
    }
    // 0 is a version that no shadow has: a client that knows of none may send it.
    const version = one.ahead === undefined ? {} : { version: Math.max(0, this.model.version + one.ahead) };
    const request = { state: one.state, ...version };
    this.#same(
      this.service.update('thing', undefined, payload(request)),
      this.model.update({ ...request, ...token }),
    );
  }

  refuse(payload: string, code: number, message: string): void {
    this.#seen.length = 0;
    const reply = this.service.update('thing', undefined, Buffer.from(payload));
    expect(reply).toEqual({ ok: false, code, message });
    expect(this.#seen).toEqual([]);
  }

  /** The document as anybody may read it. */
  compare(): void {
    this.#seen.length = 0;
    this.#same(this.service.get('thing'), this.model.get());
  }

  #same(reply: Reply, expected: ModelReply): void {
    if (expected.ok) {
      expect(canonical(reply)).toBe(canonical({ ok: true, body: expected.body }));
      expect(sorted(this.#seen)).toEqual(sorted(expected.messages));
      return;
    }
    expect(expected.anyOf.map(canonical)).toContain(canonical(reply));
    expect(this.#seen).toEqual([]);
  }
}

/** The broker keeps no order. */
function sorted(messages: ReadonlyArray<{ topic: string; body: JsonObject }>): string[] {
  return messages.map(canonical).sort();
}

test('the shadow service shows what a naive model shows, whatever is asked in whatever order', () => {
  const property = fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
    const pair = new Pair();
    for (const one of steps) {
      pair.play(one);
      pair.compare();
    }
  });
  fc.assert(property, { numRuns: runs(200) });
  expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(cleanPrototype);
});

test('the size limit counts the two sections, to the byte', () => {
  const property = fc.property(
    fc.integer({ min: 8100, max: 8200 }),
    fc.integer({ min: 0, max: 4000 }),
    fc.constantFrom('x', 'é', '"'),
    (bytes, reportedLength, char) => {
      const pair = new Pair();
      const update = (state: JsonValue) =>
        pair.play({ do: 'update', state, ahead: undefined, clientToken: undefined, laterMs: 0 });
      update({ reported: { r: char.repeat(Math.floor(reportedLength / 2)) } });
      const size = Buffer.byteLength(JSON.stringify(char)) - 2;
      update({ desired: { d: char.repeat(Math.max(0, Math.floor((bytes - reportedLength) / size))) } });
      update({ desired: { e: 1 } });
      pair.compare();
    },
  );
  fc.assert(property, { numRuns: runs(200) });
});

test('what is wrong with a request is said in the words of the service, and changes nothing', () => {
  const fault = fc.oneof(
    ...refusals.map(({ payload, code, message }) =>
      fc.record({ payload, code: fc.constant(code), message: fc.constant(message) }),
    ),
  );
  const property = fc.property(step, fault, (one, { payload, code, message }) => {
    const pair = new Pair();
    pair.play({ ...one, do: 'update' });
    pair.refuse(payload, code, message);
    pair.compare();
  });
  fc.assert(property, { numRuns: runs(300) });
});

test('a snapshot that is restored elsewhere goes on as the original', () => {
  const property = fc.property(
    fc.array(step, { maxLength: 8 }),
    fc.array(step, { maxLength: 4 }),
    (before, after) => {
      const pair = new Pair();
      for (const one of before) pair.play(one);
      const snapshot = pair.service.snapshot();
      pair.service.restore(new ShadowService().snapshot());
      pair.service.restore(snapshot);
      pair.compare();
      for (const one of after) pair.play(one);
    },
  );
  fc.assert(property, { numRuns: runs(100) });
});
