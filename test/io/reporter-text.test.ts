import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { shadowText } from '../../src/io/reporter.ts';

describe('the text of a message in the shadow', () => {
  test('has no whole URL, with or without what surrounds it', () => {
    expect(shadowText('Cannot get s3://bucket/secret/key?x=1: denied')).not.toContain('bucket');
    for (const url of ['https://h/p?token=x', 'HTTP://H/P', 's3://b/k', 'x+y-z.1://h']) {
      for (const before of ['', ' ', '"', '(', '_', 'é', 'url=']) {
        expect(shadowText(`${before}${url}`)).not.toContain('://');
      }
    }
  });

  test('is one line without control characters', () => {
    expect(shadowText('a\r\nb\u001b[2Jc\u0000\u0085d')).toMatch(/^a b \[2Jc d$/);
  });

  test('is cut at a character, at 200 bytes at most', () => {
    for (let shift = 0; shift < 5; shift += 1) {
      const text = shadowText(`${'x'.repeat(shift)}${'日本語😀'.repeat(40)}`);
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(200);
      expect(Buffer.byteLength(text)).toBeGreaterThan(190);
      expect(text).not.toContain('\uFFFD');
      expect(text.isWellFormed()).toBe(true);
    }
    const whole = 'é'.repeat(100);
    expect(shadowText(whole)).toBe(whole);
  });

  test('is text that JSON can carry, short and without a URL, whatever the message was', () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('\ud83d', '\udc00', 's3://b/k', '://', 'https://', '\uFFFD', ' '),
      fc.webUrl(),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const text = shadowText(pieces.join(''));
        expect(Buffer.byteLength(text)).toBeLessThanOrEqual(200);
        expect(text.isWellFormed()).toBe(true);
        expect(text).not.toMatch(/[a-z0-9]:\/\/\S/i);
        expect(text).not.toMatch(/\p{Cc}/u);
      }),
      { numRuns: 500 },
    );
  });
});
