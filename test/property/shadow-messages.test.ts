/** Whatever comes by the shadow: a parser gives what its type allows or its documented error, soon, and harms nothing. */
import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type Desired, parseDesired, sameDesired } from '../../src/core/artifact.ts';
import { isJsonObject, type JsonValue } from '../../src/core/json.ts';
import { encodeKey, objectUrl } from '../../src/core/s3-request.ts';
import { parseShadowMessage, rings, type ShadowMessage } from '../../src/core/shadow.ts';
import {
  almost,
  expectCleanPrototypes,
  expectLinear,
  hostileJson,
  jsonOf,
  outcome,
  spoilt,
} from '../support/property-hostile.ts';
import { runs } from '../support/property-runs.ts';

const prefix = '$aws/things/thing/shadow';
const topics = [
  'get/accepted',
  'get/rejected',
  'update/accepted',
  'update/rejected',
  'update/delta',
  'x',
  '',
];

const sections = almost({ s3: hostileJson, shadowAgent: hostileJson });
const shadowPayload = spoilt(
  fc.oneof(
    hostileJson,
    almost({
      state: almost({ desired: sections, reported: sections }),
      version: hostileJson,
      clientToken: fc.constant('"t"'),
    }),
    almost({ state: sections, version: fc.constant('1') }),
    almost({ code: fc.constantFrom('404', '1e400', '"404"'), message: hostileJson }),
  ),
);

function expectShadowMessage(message: ShadowMessage, kind: string): void {
  expect(message.kind).toBe(kind as ShadowMessage['kind']);
  expect(['string', 'undefined']).toContain(typeof message.clientToken);
  if (message.kind === 'get/accepted') {
    expect(isJsonObject(message.document.desired) && isJsonObject(message.document.reported)).toBe(true);
  } else if (message.kind === 'update/delta') {
    expect(isJsonObject(message.state)).toBe(true);
    expect(['number', 'undefined']).toContain(typeof message.version);
  } else if (message.kind === 'update/accepted') {
    expect(message.desired === undefined || message.desired === null || isJsonObject(message.desired)).toBe(
      true,
    );
    expect(['number', 'undefined']).toContain(typeof message.version);
  } else {
    expect([typeof message.code, typeof message.message]).toEqual(['number', 'string']);
  }
}

describe('a message of the shadow', () => {
  test('is what its topic promises, or is refused', () => {
    const property = fc.property(fc.constantFrom(...topics), shadowPayload, (kind, payload) => {
      const message = outcome(() => parseShadowMessage(prefix, `${prefix}/${kind}`, payload));
      if (message !== undefined) expectShadowMessage(message, kind);
      expectCleanPrototypes();
    });
    fc.assert(property, { numRuns: runs(1500) });
  });

  test('rings or does not, whatever is held', () => {
    const property = fc.property(
      fc.constantFrom('update/accepted', 'update/delta'),
      shadowPayload,
      fc.option(hostileJson, { nil: undefined }),
      fc.boolean(),
      (kind, payload, held, own) => {
        const message = outcome(() => parseShadowMessage(prefix, `${prefix}/${kind}`, payload));
        if (message?.kind !== 'update/accepted' && message?.kind !== 'update/delta') return;
        const values = ['s3', '__proto__', 'constructor'].map(
          (name) => [name, held === undefined ? undefined : jsonOf(held)] as const,
        );
        expect(typeof rings(message, new Map(values), () => own)).toBe('boolean');
      },
    );
    fc.assert(property, { numRuns: runs(800) });
  });

  test('takes time in proportion to its length', () => {
    for (const kind of ['get/accepted', 'update/delta']) {
      expectLinear((text) =>
        outcome(() => parseShadowMessage(prefix, `${prefix}/${kind}`, Buffer.from(text))),
      );
      expectLinear((text) =>
        outcome(() =>
          parseShadowMessage(prefix, `${prefix}/${kind}`, Buffer.from(`{"state":{"desired":${text}}}`)),
        ),
      );
    }
  });
});

const desiredText = fc.oneof(
  hostileJson,
  almost({
    url: fc.constantFrom(
      '"s3://bucket/key"',
      '"s3://bucket/a/./b"',
      '"s3://bucket/\\ud83d"',
      '"s3://bucket/%2e%2e/x?y#z"',
      '"s3://my.bucket/\\\\x"',
    ),
    hash: fc.constantFrom(`"${'0'.repeat(64)}"`, `"${'Ab'.repeat(32)}"`, '"0"'),
    size: fc.constantFrom('0', '1', '1e400', '-1', '0.5', '9007199254740993'),
  }),
);

function expectDesired(desired: Desired, value: JsonValue): void {
  switch (desired.kind) {
    case 'unknown':
      throw new Error('A value is never unknown');
    case 'absent':
      expect(value).toBeNull();
      break;
    case 'refused':
      expect(['DESIRED_INVALID', 'NOT_ALLOWED']).toContain(desired.code);
      expect(desired.message.length).toBeLessThan(1000);
      expect(desired.value).toBe(value);
      expect(desired.sha256 ?? '0'.repeat(64)).toMatch(/^[0-9a-f]{64}$/);
      break;
    case 'artifact': {
      const { artifact } = desired;
      expect(artifact.sha256).toMatch(/^[0-9a-f]{64}$/);
      expect(artifact.url).toBe(`s3://${artifact.bucket}/${artifact.key}`);
      expect(artifact.key).not.toBe('');
      expect(Number.isSafeInteger(artifact.size ?? 0)).toBe(true);
      // What is asked for is this very key: no parser makes another of it.
      const address = { region: 'us-east-1', pathStyle: true, dualStack: false };
      const url = new URL(objectUrl(artifact, address));
      expect(url.host).toBe('s3.us-east-1.amazonaws.com');
      expect(url.pathname).toBe(`/${artifact.bucket}/${encodeKey(artifact.key)}`);
      expect(decodeURIComponent(url.pathname)).toBe(`/${artifact.bucket}/${artifact.key}`);
    }
  }
}

describe('a desired value', () => {
  test('is an artifact that can be asked for as it stands, or is refused', () => {
    const property = fc.property(desiredText, fc.boolean(), (text, restricted) => {
      const value = jsonOf(text);
      const desired = parseDesired(value, restricted ? { allow: ['s3://bucket/'] } : {});
      expectDesired(desired, value);
      expect(
        sameDesired(desired, parseDesired(jsonOf(text), restricted ? { allow: ['s3://bucket/'] } : {})),
      ).toBe(true);
      expectCleanPrototypes();
    });
    fc.assert(property, { numRuns: runs(1500) });
  });

  test('takes time in proportion to its length', () => {
    const hash = '0'.repeat(64);
    expectLinear((text) => parseDesired({ url: text, hash: text }, {}));
    expectLinear((text) =>
      parseDesired({ url: `s3://bucket/${text}`, hash, versionId: text }, { allow: [text] }),
    );
    expectLinear((text) => parseDesired([text], {}));
  });
});
