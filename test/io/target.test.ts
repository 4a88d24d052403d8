import { expect, test } from 'bun:test';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { State } from '../../src/io/state.ts';
import { Target } from '../../src/io/target.ts';
import { caught, RecordingLog, useTempDir } from '../support/io-helpers.ts';

const dir = useTempDir();
const signature = { sequence: 7, sha256: 'ab'.repeat(32) };

async function target(): Promise<{ target: Target; log: RecordingLog }> {
  const log = new RecordingLog();
  const state = await State.open(dir(), log);
  const path = join(dir(), 'file');
  return { target: new Target({ property: 's3', path, digest: 'native', state, log }), log };
}

test('what must be safe before an act is on disk when it is announced', async () => {
  const before = await target();
  await before.target.announce({ signature });
  expect((await target()).target.stored.signature).toEqual(signature);
});

test('what must be safe before an act fails where it cannot be written; what only spares work is told once', async () => {
  const { target: one, log } = await target();
  await rm(dir(), { recursive: true });
  const error = await caught(one.announce({ signature }));
  expect(error).toMatchObject({ code: 'INSTALL', retry: 'slow' });
  expect(error.message).toContain('Cannot write the state file');
  expect(one.stored.signature).toBeUndefined();
  await one.store({ failure: undefined });
  const path = join(dir(), 'state.json');
  expect(log.of('error')).toMatchObject([
    { message: 'Cannot write the state file: ENOENT', fields: { path } },
  ]);
});
