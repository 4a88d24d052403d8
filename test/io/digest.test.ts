import { describe, expect, test } from 'bun:test';
import { createDigest, type DigestEngine } from '../../src/io/digest.ts';
import { bytesOf, sha256Of } from '../support/io-helpers.ts';

const engines: DigestEngine[] = ['native', 'noble'];
const payload = bytesOf(130);
const whole = sha256Of(payload);

function hexOf(engine: DigestEngine, chunks: readonly Uint8Array[]): string {
  const digest = createDigest(engine);
  for (const chunk of chunks) digest.update(chunk);
  return digest.hex();
}

describe.each(engines)('the %s digest', (engine) => {
  // FIPS 180-2, appendix B, and the empty message.
  test.each([
    ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    [
      'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
      '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
    ],
    ['a'.repeat(1_000_000), 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'],
  ])('gives the published value (vector %#)', (text, expected) => {
    expect(hexOf(engine, [new TextEncoder().encode(text)])).toBe(expected);
  });

  test('does not depend on where the payload is split in two', () => {
    for (let at = 0; at <= payload.length; at += 1) {
      expect(hexOf(engine, [payload.subarray(0, at), payload.subarray(at)])).toBe(whole);
    }
  });

  test('does not depend on where the payload is split in three, around the block size', () => {
    for (let first = 60; first <= 68; first += 1) {
      for (let second = first; second <= payload.length; second += 1) {
        const chunks = [
          payload.subarray(0, first),
          payload.subarray(first, second),
          payload.subarray(second),
        ];
        expect(hexOf(engine, chunks)).toBe(whole);
      }
    }
  });

  test('grows byte by byte, may be asked at each, and goes on', () => {
    const digest = createDigest(engine);
    for (let at = 0; at < payload.length; at += 1) {
      expect(digest.hex()).toBe(sha256Of(payload.subarray(0, at)));
      digest.update(payload.subarray(at, at + 1));
    }
    expect(digest.hex()).toBe(whole);
    expect(digest.hex()).toBe(whole);
  });

  test('keeps nothing of a buffer that its caller uses again', () => {
    const buffer = new Uint8Array(13);
    const digest = createDigest(engine);
    for (let at = 0; at < payload.length; at += buffer.length) {
      const chunk = payload.subarray(at, at + buffer.length);
      buffer.set(chunk);
      digest.update(buffer.subarray(0, chunk.length));
    }
    expect(digest.hex()).toBe(whole);
  });

  test('is independent of another one', () => {
    const [a, b] = [createDigest(engine), createDigest(engine)];
    a.update(payload);
    expect(b.hex()).toBe(sha256Of(''));
  });
});
