import fc from 'fast-check';
import { isJsonObject, type JsonObject, type JsonValue, member } from '../../src/core/json.ts';
import type { ConnectFate, Fate } from './property-broker.ts';
import type { BucketFate } from './property-bucket.ts';
import { contents, type Faults, hashes, type World } from './property-world.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const keys = ['a', 'b/c d'];

/** Something that happens, and for how long nothing else does: not even for the agent's next step where it is missing. */
export type Event = { thenMs: number | undefined; file: number } & (
  | { kind: 'desire' | 'upload'; key: number; content: number; extra: JsonObject; token: string | undefined }
  | { kind: 'desire malformed'; value: JsonValue }
  | { kind: 'desire nothing' | 'desire what is reported' | 'delete shadow' | 'cut' | 'restart' }
  | { kind: 'report'; value: JsonValue }
  | { kind: 'report on the agent'; value: JsonValue }
  | { kind: 'tamper'; text: string | undefined }
  | { kind: 'noise'; topic: string; text: string }
  | { kind: 'wait'; ms: number }
);

const common = { thenMs: fc.constantFrom(undefined, 0, 0, 100, 1_100, minuteMs), file: fc.nat(2) };

function happening<K extends Event['kind'], T>(kind: K, rest: fc.Arbitrary<T>) {
  return fc
    .tuple(fc.record({ ...common, kind: fc.constant(kind) }), rest)
    .map(([one, more]) => ({ ...one, ...more }));
}

const extra = fc.constantFrom<JsonObject>(
  {},
  {},
  { note: 'x' },
  { note: null },
  { deep: { a: [1, { b: 2 }], c: {} } },
  { deep: { a: null, d: 1 } },
  { __proto__x: 1, constructor: 'y' },
);
const malformed = fc.constantFrom<JsonValue>(
  'x',
  5,
  false,
  [],
  {},
  { url: 'http://bucket/key' },
  { url: 7 },
  { hash: 'zz' },
  { hash: null },
  { url: null },
  { url: 's3://bucket/../x' },
  { size: -1 },
  { versionId: '' },
);
const reports = fc.constantFrom<JsonValue>(
  null,
  'x',
  {},
  { url: 'x' },
  { hash: hashes[1] ?? '' },
  { more: { a: 1 } },
  { note: null, hash: null },
);
const agentReports = fc.constantFrom<JsonValue>(
  null,
  'x',
  { files: null },
  { files: { old: { status: 'current' } } },
  { version: '9' },
  { files: { s3: 'x' } },
);
const rubbish = fc.record({ text: fc.constantFrom('rubbish', '', undefined) });
const noise = fc.constantFrom(
  '',
  '{',
  '[]',
  '{"state":{}}',
  '{"state":{"desired":{"s3":{"url":"s3://bucket/evil","hash":"0"}}},"version":1}',
  '{"state":{"s3":null},"version":0}',
  '{"code":404,"message":"gone"}',
  '{"code":500,"clientToken":"foreign"}',
  '\u0000',
);
const wanting = fc.record({
  key: fc.nat(keys.length - 1),
  content: fc.nat(contents.length - 1),
  extra,
  token: fc.constantFrom(undefined, 'lambda'),
});

export const event = fc.oneof<Array<fc.WeightedArbitrary<Event>>>(
  { weight: 6, arbitrary: happening('upload', wanting) },
  { weight: 3, arbitrary: happening('desire', wanting) },
  { weight: 2, arbitrary: happening('desire malformed', fc.record({ value: malformed })) },
  { weight: 1, arbitrary: happening('desire nothing', fc.constant({})) },
  { weight: 1, arbitrary: happening('desire what is reported', fc.constant({})) },
  { weight: 1, arbitrary: happening('delete shadow', fc.constant({})) },
  { weight: 1, arbitrary: happening('cut', fc.constant({})) },
  { weight: 1, arbitrary: happening('restart', fc.constant({})) },
  { weight: 1, arbitrary: happening('report', fc.record({ value: reports })) },
  { weight: 1, arbitrary: happening('report on the agent', fc.record({ value: agentReports })) },
  {
    weight: 1,
    arbitrary: happening('tamper', rubbish),
  },
  {
    weight: 1,
    arbitrary: happening(
      'noise',
      fc.record({
        topic: fc.constantFrom(
          'get/accepted',
          'get/rejected',
          'update/accepted',
          'update/rejected',
          'update/delta',
          'x',
        ),
        text: noise,
      }),
    ),
  },
  {
    weight: 4,
    arbitrary: happening(
      'wait',
      fc.record({
        ms: fc.constantFrom(3_000, 20_000, 2 * minuteMs, hourMs, 49 * hourMs),
      }),
    ),
  },
);

const fate: fc.Arbitrary<Fate> = fc.record({
  delayMs: fc.constantFrom(0, 0, 5, 200, 2_000, 12_000),
  copies: fc.constantFrom(1, 1, 1, 2),
  repeated: fc.constantFrom(false, false, false, true),
  lost: fc.constantFrom(false, false, false, false, false, true),
  reject: fc.constantFrom(undefined, undefined, undefined, undefined, undefined, undefined, 429, 500, 403),
});
const connectFate: fc.Arbitrary<ConnectFate> = fc.record({
  delayMs: fc.constantFrom(0, 100, 5_000),
  refused: fc.boolean(),
});
const bucketFate: fc.Arbitrary<BucketFate> = fc.record({
  kind: fc.constantFrom('ok', 'ok', 'network', 'denied', 'cut', 'sizeless'),
  delayMs: fc.constantFrom(0, 0, 100, 1_500, 11_000),
});
export const faults: fc.Arbitrary<Faults> = fc.record({
  messages: fc.array(fate, { maxLength: 40, size: 'max' }),
  connects: fc.array(connectFate, { maxLength: 6 }),
  bucket: fc.array(bucketFate, { maxLength: 10 }),
  seed: fc.integer(),
});
export const slowFate: fc.Arbitrary<Fate> = fc.record({
  delayMs: fc.constantFrom(0, 100, 900, 2_000),
  copies: fc.constantFrom(1, 1, 1, 2),
  lost: fc.constant(false),
});
export const slowBucket: fc.Arbitrary<BucketFate> = fc.record({
  kind: fc.constantFrom('ok', 'sizeless'),
  delayMs: fc.constantFrom(0, 100, 1_500),
});
/** What the messages of the service tell at once: other changes are seen at the next resync. */
const isNoticed = (value: JsonValue) => !isJsonObject(value) || !('more' in value);
export const prompt = fc.oneof<Array<fc.WeightedArbitrary<Event>>>(
  { weight: 4, arbitrary: happening('upload', wanting) },
  { weight: 1, arbitrary: happening('desire malformed', fc.record({ value: malformed })) },
  { weight: 1, arbitrary: happening('desire nothing', fc.constant({})) },
  { weight: 1, arbitrary: happening('desire what is reported', fc.constant({})) },
  { weight: 3, arbitrary: happening('report', fc.record({ value: reports.filter(isNoticed) })) },
);

/** What may come at the end: nothing that makes one wait for longer than for a resync. */
export const closing = fc.oneof<Array<fc.WeightedArbitrary<Event>>>(
  { weight: 5, arbitrary: prompt },
  { weight: 2, arbitrary: happening('tamper', rubbish) },
  { weight: 1, arbitrary: happening('report on the agent', fc.record({ value: agentReports })) },
);

export const urlOf = (property: string, key: number) => `s3://bucket/${property}/${keys[key]}`;

export async function happen(world: World, one: Event): Promise<void> {
  const file = world.files[one.file % world.files.length];
  if (file === undefined) return;
  const { property } = file;
  const desire = (value: JsonValue, token?: string) =>
    world.foreign({ desired: { [property]: value } }, token);
  switch (one.kind) {
    case 'upload':
    case 'desire': {
      const url = urlOf(property, one.key);
      const bytes = contents[one.content];
      if (one.kind === 'upload' && bytes !== undefined) world.bucket.put(url, bytes);
      desire({ ...one.extra, url, hash: hashes[one.content] ?? '', versionId: null, size: null }, one.token);
      break;
    }
    case 'desire malformed':
      desire(one.value);
      break;
    case 'desire nothing':
      desire(null);
      break;
    case 'desire what is reported':
      desire(member(world.section('reported'), property) ?? null);
      break;
    case 'delete shadow':
      world.forget();
      break;
    case 'cut':
      world.broker.cut();
      break;
    case 'restart':
      await world.restart();
      break;
    case 'report':
      world.foreign({ reported: { [property]: one.value } });
      break;
    case 'report on the agent':
      world.foreign({ reported: { shadowAgent: one.value } });
      break;
    case 'tamper':
      await world.tamper(file, one.text);
      break;
    case 'noise':
      world.broker.noise(one.topic, Buffer.from(one.text));
      break;
    case 'wait':
      await world.advance(one.ms);
  }
  if (one.thenMs !== undefined) await world.advance(one.thenMs);
}

/**
 * What the last word on a file amounts to, told without the agent's parser. `foreign`: well formed, but of a content
 * that no upload had, as when somebody desires what was reported of a file that was tampered with.
 */
export function desiredOf(world: World, property: string) {
  const value = member(world.section('desired'), property);
  if (value === undefined) return { kind: 'absent' } as const;
  const content = isJsonObject(value) ? hashes.indexOf(String(value['hash'])) : -1;
  const key = isJsonObject(value)
    ? keys.findIndex((_, index) => urlOf(property, index) === value['url'])
    : -1;
  const isGood =
    content >= 0 && key >= 0 && isJsonObject(value) && !('size' in value) && !('versionId' in value);
  if (isGood) return { kind: 'good', value, content, key } as const;
  const isForeign =
    key >= 0 && isJsonObject(value) && /^[0-9a-f]{64}$/.test(String(value['hash'])) && content < 0;
  return { kind: isForeign ? 'foreign' : 'malformed' } as const;
}
