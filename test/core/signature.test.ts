import { describe, expect, test } from 'bun:test';
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import {
  parsePublicKey,
  parseSeal,
  replayProblem,
  type Signed,
  signedMessage,
} from '../../src/core/signature.ts';

const sha256 = 'ab'.repeat(32);
const text = (signed: Signed) => new TextDecoder().decode(signedMessage(signed));

describe('the signed message', () => {
  test('is what the documentation says, to the byte', () => {
    const message = text({ sha256, property: 's3 é', sequence: 1_764_000_000 });
    expect(message).toBe(`shadow-agent file signature v1\n${sha256}\n1764000000\ns3 é`);
  });

  test('is another one for each other file, property or sequence', () => {
    const hex = fc.stringMatching(/^[0-9a-f]{64}$/);
    const property = fc
      .string({ minLength: 1 })
      .filter((name) => !/\p{Cc}/u.test(name) && name.isWellFormed());
    const signed = fc.record({ sha256: hex, property, sequence: fc.integer({ min: 1, max: 2 ** 53 - 1 }) });
    fc.assert(
      fc.property(signed, signed, (a, b) => {
        const same = a.sha256 === b.sha256 && a.property === b.property && a.sequence === b.sequence;
        expect(text(a) === text(b)).toBe(same);
      }),
    );
  });

  test('signed by a known key has this very signature, as `openssl pkeyutl -rawin` makes it', () => {
    const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
    const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
    const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
    const message = signedMessage({ sha256, property: 's3', sequence: 7 });
    const signature = sign(null, message, key);
    expect(signature.toString('base64')).toBe(
      'Vij8ni3GS2Zwi8PlZoikAbaArYcEiuPVFF5vXzLMG7L1d8JgCLMGF9emjLf30zOnIKZzSPip8HDK5nGL4mnyDQ==',
    );
    expect(verify(null, message, createPublicKey(key), signature)).toBe(true);
  });
});

describe('a public key', () => {
  const known = '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=';

  test('is the base64 of 32 bytes', () => {
    expect(Buffer.from(parsePublicKey(known) ?? []).toString('base64')).toBe(known);
  });

  test.each([
    '',
    known.slice(1),
    `${known}=`,
    ` ${known}`,
    known.replace('=', ''),
    known.replace('o=', 'p='),
    known.replaceAll('/', '_'),
    `${known}\n`,
  ])('is never %j', (wrong) => {
    expect(parsePublicKey(wrong)).toBeUndefined();
  });
});

describe('the metadata of an object', () => {
  const signature = Buffer.alloc(64, 0xa5).toString('base64');

  test('give the 64 bytes and the number', () => {
    const parsed = parseSeal({ signature, sequence: '9007199254740991' });
    expect(parsed).toEqual({ value: { signature: new Uint8Array(64).fill(0xa5), sequence: 2 ** 53 - 1 } });
  });

  test.each([
    [null, null, 'The object is not signed'],
    [null, '1', 'The object has no metadata shadow-agent-signature'],
    [signature, null, 'The object has no metadata shadow-agent-sequence'],
    ['', '1', 'The metadata shadow-agent-signature is not the base64 of 64 bytes'],
    [signature.slice(4), '1', 'The metadata shadow-agent-signature is not the base64 of 64 bytes'],
    [`${signature}, ${signature}`, '1', 'The metadata shadow-agent-signature is not the base64 of 64 bytes'],
    [
      signature.replace('Q==', 'R=='),
      '1',
      'The metadata shadow-agent-signature is not the base64 of 64 bytes',
    ],
    ...['', '0', '-1', '01', '1.0', '1e3', ' 1', '0x1', '9007199254740992', '1, 2', '１'].map(
      (sequence) =>
        [signature, sequence, 'The metadata shadow-agent-sequence is no whole number from 1 on'] as const,
    ),
  ])('are refused as %j with sequence %j', (given, sequence, problem) => {
    expect(parseSeal({ signature: given, sequence })).toEqual({ problem });
  });
});

describe('a sequence number', () => {
  const last = { sequence: 7, sha256 };
  const other = 'cd'.repeat(32);

  test('is free where none was taken', () => {
    expect(replayProblem({ sequence: 1, sha256 }, undefined)).toBeUndefined();
  });

  test('may grow, and may stay for the same file', () => {
    expect(replayProblem({ sequence: 8, sha256: other }, last)).toBeUndefined();
    expect(replayProblem({ sequence: 7, sha256 }, last)).toBeUndefined();
  });

  test('may neither fall nor stay for another file', () => {
    expect(replayProblem({ sequence: 6, sha256 }, last)).toContain('6 is lower than 7');
    expect(replayProblem({ sequence: 7, sha256: other }, last)).toContain('7 was taken with another file');
  });
});
