/** `shadow-agent doctor` on what servers that can be reached answer. With the compiled executable. */
import { expect, test } from 'bun:test';
import { examine, failures, finding } from '../support/doctor.ts';
import { scenario } from '../support/world.ts';

test.each([
  ['s3-expire', 'ExpiredToken'],
  ['s3-invalid-token', 'InvalidToken'],
  ['s3-token-refresh', 'TokenRefreshRequired'],
] as const)('credentials that S3 refuses (%s) are told by the code of its answer', (fault, code) =>
  scenario(async (world) => {
    await world.put('test.txt', 'hoge\n');
    world.sandbox.faults.set(fault, 1);
    const found = await examine(world);
    expect(failures(found)).toEqual(['s3']);
    expect(finding(found, 's3').message).toContain(code);
    expect(finding(found, 's3').hint).toContain('the role behind the alias');
  }),
);
