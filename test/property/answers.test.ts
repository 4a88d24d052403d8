/** Whatever HTTP endpoints answer: a parser gives what its type allows or its documented error, soon, and harms nothing. */
import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { parseCredentials, providerHint, providerMessage } from '../../src/core/credentials.ts';
import { parseContentRange, parseS3Error } from '../../src/core/s3-request.ts';
import { shadowText } from '../../src/io/reporter.ts';
import {
  almost,
  expectCleanPrototypes,
  expectLinear,
  hostileJson,
  outcome,
  spoilt,
} from '../support/property-hostile.ts';
import { runs } from '../support/property-runs.ts';

describe('an answer of the credentials provider', () => {
  const answer = spoilt(
    fc.oneof(
      hostileJson,
      almost({
        credentials: almost({
          accessKeyId: fc.constant('"ASIA"'),
          secretAccessKey: fc.constant('"hush-hush"'),
          sessionToken: fc.constant('"hush-hush"'),
          expiration: fc.constantFrom(
            '"2026-01-01T00:00:00Z"',
            '"1"',
            '"+275760-09-13"',
            '"-271821-04-20"',
            '"x"',
          ),
        }),
      }),
    ),
  ).map((bytes) => new TextDecoder().decode(bytes));

  test('gives credentials with times that make sense, or an error that quotes nothing', () => {
    const property = fc.property(answer, fc.integer(), fc.nat(), (text, serverNowMs, nowMs) => {
      try {
        const { accessKeyId, refreshAtMs, expiresAtMs } = parseCredentials(text, serverNowMs, nowMs);
        expect(accessKeyId).toBeString();
        expect(Number.isFinite(refreshAtMs) && Number.isFinite(expiresAtMs)).toBe(true);
        if (nowMs < refreshAtMs) expect(refreshAtMs).toBeLessThan(expiresAtMs);
      } catch (error) {
        expect(error).toEqual(new Error('the answer is not what the credentials provider sends'));
      }
      expectCleanPrototypes();
    });
    fc.assert(property, { numRuns: runs(1000) });
  });

  test('gives a short message or none, and a hint', () => {
    const body = spoilt(fc.oneof(hostileJson, almost({ message: hostileJson }))).map((one) =>
      new TextDecoder().decode(one),
    );
    const property = fc.property(body, fc.integer({ min: 100, max: 999 }), (text, status) => {
      const message = providerMessage(text);
      expect(message.length).toBeLessThanOrEqual(200);
      expect(providerHint(status, message, 'alias', 'thing')).not.toBe('');
    });
    fc.assert(property, { numRuns: runs(500) });
  });

  test('takes time in proportion to its length', () => {
    expectLinear((text) => outcome(() => parseCredentials(text, 0, 0)));
    expectLinear((text) => providerMessage(text));
    expectLinear((text) => providerMessage(`{"message":${JSON.stringify(text)}}`));
  });
});

describe('an answer of S3', () => {
  const xml = fc
    .array(
      fc.oneof(
        fc.constantFrom(
          '<Code>',
          '</Code>',
          '<Message>',
          '</Message>',
          '<Region>',
          '</Region>',
          '<Error>',
          'us-east-1',
          '<',
          '&lt;',
          '<![CDATA[',
          '\u0000',
          '\ud83d',
        ),
        fc.string({ unit: 'binary', maxLength: 20 }),
      ),
      { maxLength: 12 },
    )
    .map((parts) => parts.join(''));

  test('with an error in any text gives short texts and a region that can be one', () => {
    const property = fc.property(xml, (text) => {
      const { code, message, region = 'none' } = parseS3Error(text);
      expect(code.length).toBeLessThanOrEqual(300);
      expect(message.length).toBeLessThanOrEqual(300);
      expect(region).toMatch(/^[a-z0-9-]{1,40}$/);
    });
    fc.assert(property, { numRuns: runs(500) });
  });

  test('has a range that makes sense or none', () => {
    const number = fc.oneof(
      fc.nat().map(String),
      fc.constantFrom('', '-1', '1e3', '9'.repeat(15), '9'.repeat(400), ' 1', '٣', '*'),
    );
    const header = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.tuple(number, number, number).map(([first, last, size]) => `bytes ${first}-${last}/${size}`),
    );
    const property = fc.property(fc.option(header), (text) => {
      const range = parseContentRange(text);
      if (range === undefined) return;
      const { first, last, size } = range;
      expect([first, last, size].every(Number.isSafeInteger)).toBe(true);
      expect(0 <= first && first <= last && last < size).toBe(true);
      expect(text).toBe(text === null ? null : text.trim());
    });
    fc.assert(property, { numRuns: runs(800) });
  });

  test('takes time in proportion to its length', () => {
    expectLinear((text) => parseS3Error(text));
    expectLinear((text) => parseContentRange(text));
    expectLinear((text) => parseContentRange(`bytes ${text}-${text}/${text}`));
  });
});

describe('a message for the shadow', () => {
  test('has at most 200 bytes, is well formed, and holds no control character and no URL', () => {
    const property = fc.property(
      fc.oneof(fc.string({ unit: 'binary', maxLength: 400 }), fc.webUrl({ withQueryParameters: true })),
      (text) => {
        const shown = shadowText(text);
        expect(Buffer.byteLength(shown)).toBeLessThanOrEqual(200);
        expect(shown.isWellFormed()).toBe(true);
        expect(shown).not.toMatch(/\p{Cc}|https?:\/\/\S/u);
      },
    );
    fc.assert(property, { numRuns: runs(500) });
  });

  test('takes time in proportion to its length', () => {
    expectLinear((text) => shadowText(text), 10_000);
  });
});
