import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type Desired, parseDesired, sameDesired } from '../../src/core/artifact.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';

const sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const good = { url: 's3://bucket/key', hash: sha256 };

function artifactOf(value: JsonValue, allow?: string[]) {
  const desired = parseDesired(value, allow === undefined ? {} : { allow });
  if (desired.kind !== 'artifact') throw new Error(`refused: ${JSON.stringify(desired)}`);
  return desired.artifact;
}

function refusedOf(value: JsonValue, allow?: string[]) {
  const desired = parseDesired(value, allow === undefined ? {} : { allow });
  if (desired.kind !== 'refused') throw new Error(`not refused: ${JSON.stringify(desired)}`);
  return desired;
}

describe('a good desired value', () => {
  test('names bucket, key and SHA-256', () => {
    expect(parseDesired(good, {})).toEqual({
      kind: 'artifact',
      value: good,
      artifact: { url: 's3://bucket/key', bucket: 'bucket', key: 'key', sha256 },
    });
  });

  test('may carry a version and a size', () => {
    expect(artifactOf({ ...good, versionId: 'null', size: 0 })).toMatchObject({ versionId: 'null', size: 0 });
    expect(artifactOf({ ...good, size: 2 ** 53 - 1 }).size).toBe(2 ** 53 - 1);
  });

  test('has its upper-case hash lowered, while the value is kept as it was written', () => {
    const value = { ...good, hash: sha256.toUpperCase() };
    expect(artifactOf(value).sha256).toBe(sha256);
    expect(parseDesired(value, {})).toMatchObject({ value });
  });

  test('keeps its unknown keys, at every depth, for the mirror', () => {
    const value: JsonObject = { ...good, note: 'x', nested: { list: [1, { a: true }], empty: {} } };
    expect(parseDesired(value, {})).toMatchObject({ kind: 'artifact', value });
    expect(Object.keys(artifactOf(value)).sort()).toEqual(['bucket', 'key', 'sha256', 'url']);
  });

  test('keeps a key named __proto__, which changes nothing else', () => {
    const value: JsonValue = JSON.parse(
      `{"url":"s3://bucket/key","hash":"${sha256}","__proto__":{"versionId":"v","size":1}}`,
    );
    const desired = parseDesired(value, {});
    expect(JSON.stringify('value' in desired ? desired.value : undefined)).toBe(JSON.stringify(value));
    expect(artifactOf(value)).toEqual({ url: 's3://bucket/key', bucket: 'bucket', key: 'key', sha256 });
  });

  test.each([
    'abc',
    'my-bucket',
    'my.bucket.example',
    '123456789012-iot-test-files',
    'Legacy_Bucket',
    'a'.repeat(63),
  ])('bucket %s is taken', (bucket) => {
    expect(artifactOf({ ...good, url: `s3://${bucket}/key` })).toMatchObject({ bucket, key: 'key' });
  });

  test.each([
    ['a space', 'a b'],
    ['a plus', 'a+b'],
    ['percent signs that look encoded', 'a%2Fb%20c%'],
    ['encoded dots', '%2e%2e/%2E/x'],
    ['a question mark', 'a?versionId=x&y'],
    ['a fragment', 'a#b'],
    ['a backslash', 'a\\b\\..\\c'],
    ['quotes and brackets', `!'()*"<>[]{}|^\`~`],
    ['reserved characters', ':@&=,;$'],
    ['a colon and two slashes', 'http://x/y'],
    ['a slash at the start', '/a'],
    ['a slash at the end', 'a/'],
    ['nothing but slashes', '///'],
    ['empty segments', 'a//b'],
    ['dots that are no segment', '.a/a./..a/a../.../a.b'],
    ['Japanese', 'ファイル/最新.bin'],
    ['an emoji', '🎉/é'],
    ['line breaks and tabs', 'a\nb\r\n\tc'],
    ['a control character', '\u0001\u007f'],
    ['spaces around', ' a '],
  ])('a key with %s is kept as it stands', (_, key) => {
    expect(artifactOf({ ...good, url: `s3://bucket/${key}` })).toMatchObject({ bucket: 'bucket', key });
  });

  test('every key that is text without dot segments is kept as it stands', () => {
    const key = fc
      .string({ unit: 'binary', minLength: 1, maxLength: 200 })
      .filter(
        (text) => !text.includes('\0') && !text.split('/').some((part) => part === '.' || part === '..'),
      );
    fc.assert(
      fc.property(key, (text) => {
        expect(artifactOf({ ...good, url: `s3://bucket/${text}` }).key).toBe(text);
      }),
    );
  });

  test('a key may have 1024 bytes of UTF-8', () => {
    for (const key of ['k'.repeat(1024), 'é'.repeat(512), '🎉'.repeat(256)]) {
      expect(artifactOf({ ...good, url: `s3://bucket/${key}` }).key).toBe(key);
    }
  });
});

describe('no desired value', () => {
  test.each([undefined, null])('%p is absent, and the shadow is there', (value) => {
    expect(parseDesired(value, {})).toEqual({ kind: 'absent', noShadow: false });
    expect(parseDesired(value, { allow: [] })).toEqual({ kind: 'absent', noShadow: false });
  });
});

describe('a malformed desired value', () => {
  const wrongWholes: JsonValue[] = ['s3://bucket/key', 1, 0, '', true, false, [], [good], {}, { s3: good }];
  test.each(wrongWholes.map((value) => [JSON.stringify(value), value] as const))(
    '%s is refused',
    (_, value) => {
      expect(refusedOf(value)).toMatchObject({ code: 'DESIRED_INVALID', value });
    },
  );

  const proto = `{"__proto__":${JSON.stringify(good)}}`;
  test('what stands under __proto__ is not taken for the value', () => {
    expect(refusedOf(JSON.parse(proto)).code).toBe('DESIRED_INVALID');
  });

  const notStrings: JsonValue[] = [null, 1, true, [], ['s3://bucket/key'], {}];
  const urls: Array<[string, JsonValue]> = [
    ...notStrings.map((url): [string, JsonValue] => [`of type ${JSON.stringify(url)}`, url]),
    ['that is empty', ''],
    ['with http:', 'http://bucket/key'],
    ['with https:', 'https://bucket.s3.us-east-1.amazonaws.com/key'],
    ['with an upper-case scheme', 'S3://bucket/key'],
    ['with one slash', 's3:/bucket/key'],
    ['without slashes', 's3:bucket/key'],
    ['with three slashes', 's3:///key'],
    ['without a scheme', 'bucket/key'],
    ['with a space before it', ' s3://bucket/key'],
    ['with a line break before it', '\ns3://bucket/key'],
    ['as an ARN', 'arn:aws:s3:::bucket/key'],
    ['without a key', 's3://bucket'],
    ['with an empty key', 's3://bucket/'],
    ['without bucket and key', 's3://'],
    ['with a null byte in the key', 's3://bucket/a\0b'],
    ['with a lone high surrogate', 's3://bucket/a\ud800'],
    ['with a lone low surrogate', 's3://bucket/\udc00a'],
    ['with a key of 1025 bytes', `s3://bucket/${'k'.repeat(1025)}`],
    ['with a key of 1025 bytes in 513 characters', `s3://bucket/${'é'.repeat(512)}k`],
    ...[
      'ab',
      '-abc',
      'abc-',
      '.abc',
      'abc.',
      'a b',
      'bücket',
      'user@host',
      'bucket:9000',
      'buck?et',
      'buck#et',
    ]
      .concat('%62ucket', 'buck\\et', 'buck\0et', 'a'.repeat(256), '[::1]')
      .map((bucket): [string, JsonValue] => [
        `with the bucket ${JSON.stringify(bucket)}`,
        `s3://${bucket}/key`,
      ]),
    ...[
      '.',
      '..',
      './a',
      '../a',
      'a/.',
      'a/..',
      'a/./b',
      'a/../b',
      '/.',
      '/..',
      './',
      '../',
      '/../a',
      'a//..//b',
    ].map((key): [string, JsonValue] => [`with the key ${key}`, `s3://bucket/${key}`]),
  ];
  test.each(urls)('a url %s is refused', (_, url) => {
    expect(refusedOf({ url, hash: sha256 })).toMatchObject({ code: 'DESIRED_INVALID', sha256 });
  });

  const hashes: Array<[string, JsonValue]> = [
    ...notStrings.map((hash): [string, JsonValue] => [`of type ${JSON.stringify(hash)}`, hash]),
    ['that is empty', ''],
    ['of 63 digits', sha256.slice(1)],
    ['of 65 digits', `${sha256}0`],
    ['with a letter that is no digit', `g${sha256.slice(1)}`],
    ['with a prefix', `sha256:${sha256}`],
    ['with a line break behind it', `${sha256}\n`],
    ['with spaces around it', ` ${sha256} `],
    ['in base64', '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='],
    ['in a list', [sha256]],
  ];
  test.each(hashes)('a hash %s is refused', (_, hash) => {
    const refused = refusedOf({ url: good.url, hash });
    expect(refused.code).toBe('DESIRED_INVALID');
    expect(refused.sha256).toBeUndefined();
  });

  const versions: Array<[string, JsonValue]> = [
    ...[1, true, [], {}, ['v'], null].map((id): [string, JsonValue] => [JSON.stringify(id), id]),
    ['a lone surrogate, which no URL can carry', 'v\ud800'],
    ['endless', 'v'.repeat(100_000)],
  ];
  test.each(versions)('a versionId that is %s is refused', (_, versionId) => {
    expect(refusedOf({ ...good, versionId })).toMatchObject({ code: 'DESIRED_INVALID', sha256 });
  });

  const sizes: JsonValue[] = ['10', '', true, [], [10], {}, null, -1, 1.5, -0.5, 2 ** 60, 1e300];
  test.each(sizes.map((size) => [JSON.stringify(size), size] as const))(
    'a size of %s is refused',
    (_, size) => {
      expect(refusedOf({ ...good, size })).toMatchObject({ code: 'DESIRED_INVALID', sha256 });
    },
  );

  test('is told with all of its problems, each by its key, and what to write instead', () => {
    const { message, hint } = refusedOf({ url: 'http://x', versionId: 1, size: -1 });
    for (const key of ['url', 'hash', 'versionId', 'size']) expect(message).toContain(key);
    expect(message).toMatch(/hash is missing/);
    expect(hint).toContain('s3://bucket/key');
  });

  test('is not quoted in the message', () => {
    const { message, hint } = refusedOf({
      url: 'http://secret-host/path',
      hash: 'secret-hash',
      versionId: 1,
    });
    expect(`${message}${hint}`).not.toMatch(/secret/);
  });

  test('tells the hash that it answers, where that is a hash', () => {
    expect(refusedOf({ hash: sha256.toUpperCase() }).sha256).toBe(sha256);
    expect(refusedOf({ ...good, hash: 'x' }).sha256).toBeUndefined();
    expect(refusedOf('x').sha256).toBeUndefined();
  });

  test('whatever the value is, nothing is thrown and an artifact is well-formed', () => {
    const member = fc.oneof(fc.jsonValue(), fc.constantFrom(good.url, sha256, 1)) as fc.Arbitrary<JsonValue>;
    const value = fc.oneof(
      fc.jsonValue() as fc.Arbitrary<JsonValue>,
      fc.record({ url: member, hash: member, versionId: member, size: member }, { requiredKeys: [] }),
    );
    fc.assert(
      fc.property(value, (any) => {
        const desired = parseDesired(any, {});
        if (any === null) expect(desired.kind).toBe('absent');
        else if (desired.kind === 'artifact') expect(desired.artifact.sha256).toMatch(/^[0-9a-f]{64}$/);
        else expect(desired).toMatchObject({ kind: 'refused', code: 'DESIRED_INVALID', value: any });
      }),
      { numRuns: 500 },
    );
  });
});

describe('allow', () => {
  const of = (url: string, ...allow: string[]) => parseDesired({ url, hash: sha256 }, { allow });

  test('without a list every bucket is allowed', () => {
    expect(parseDesired(good, {}).kind).toBe('artifact');
  });

  test.each<[string, string[]]>([
    ['the bucket', ['s3://bucket/']],
    ['a prefix of the key', ['s3://bucket/app/']],
    ['a prefix within a segment', ['s3://bucket/app/v']],
    ['the whole key', ['s3://bucket/app/v1']],
    ['the second entry', ['s3://other/', 's3://bucket/']],
  ])('%s covers the key', (_, allow) => {
    expect(of('s3://bucket/app/v1', ...allow).kind).toBe('artifact');
  });

  test.each<[string, string[]]>([
    ['an empty list', []],
    ['another bucket', ['s3://other/']],
    ['a bucket whose name goes on', ['s3://buck/']],
    ['another prefix', ['s3://bucket/lib/']],
    ['a longer key', ['s3://bucket/app/v1/']],
    ['a prefix in another case', ['s3://bucket/App/']],
  ])('%s does not cover the key', (_, allow) => {
    const value = { url: 's3://bucket/app/v1', hash: sha256 };
    const refused = refusedOf(value, allow);
    expect(refused).toMatchObject({ code: 'NOT_ALLOWED', value, sha256 });
    expect(refused.hint).toContain('allow');
    expect(refused.message).not.toContain('s3://bucket/app/v1');
  });

  test.each([
    's3://other/bucket/app/v1',
    's3://a-bucket/app/v1',
    's3://other/s3://bucket/app/v1',
    's3://other/app/v1',
  ])('%s is not covered for what it has further on', (url) => {
    expect(of(url, 's3://bucket/app/')).toMatchObject({ kind: 'refused', code: 'NOT_ALLOWED' });
  });

  test('no dot segment leads out of an allowed prefix', () => {
    expect(of('s3://bucket/app/../secret', 's3://bucket/app/')).toMatchObject({
      kind: 'refused',
      code: 'DESIRED_INVALID',
    });
  });

  test('a malformed value is malformed, whether it is allowed or not', () => {
    expect(refusedOf({ url: 's3://other/key', hash: 'x' }, ['s3://bucket/']).code).toBe('DESIRED_INVALID');
  });
});

describe('sameDesired()', () => {
  const states: Desired[] = [
    { kind: 'unknown' },
    { kind: 'absent', noShadow: false },
    { kind: 'absent', noShadow: true },
    parseDesired('x', {}),
    parseDesired({ ...good, size: -1 }, {}),
    parseDesired(good, { allow: [] }),
    parseDesired(good, {}),
    parseDesired({ ...good, note: 1 }, {}),
    parseDesired({ ...good, note: { deep: 1 } }, {}),
    parseDesired({ ...good, note: { deep: 2 } }, {}),
  ];

  test('each state is the same as its copy and as no other', () => {
    for (const [a, left] of states.entries()) {
      for (const [b, right] of states.entries()) {
        expect(`${a} and ${b}: ${sameDesired(left, structuredClone(right))}`).toBe(
          `${a} and ${b}: ${a === b}`,
        );
      }
    }
    expect(states).toHaveLength(10);
  });

  test('the order of keys does not matter', () => {
    const turned = { hash: good.hash, url: good.url };
    expect(sameDesired(parseDesired(good, {}), parseDesired(turned, {}))).toBe(true);
  });
});
