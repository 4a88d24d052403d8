import { afterEach, beforeEach, expect, test } from 'bun:test';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runHook } from '../../src/io/hook.ts';
import { HookNote } from '../../src/io/hook-note.ts';

let dir: string;
let notePath: string;
let ran: string;
let hook: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shadow-agent-hook-'));
  notePath = join(dir, 'note');
  ran = join(dir, 'ran');
  hook = join(dir, 'hook');
  writeFileSync(hook, `#!/bin/sh\n: >'${ran}'\n`, { mode: 0o755 });
});

afterEach(() => rm(dir, { recursive: true, force: true }));

test('a stop that comes while an earlier run is ended lets no new one begin', async () => {
  const earlier = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
  const note = await HookNote.at(notePath);
  note.begin();
  note.started(earlier.pid ?? 0);
  const stop = new AbortController();
  const run = await runHook({
    command: [hook],
    timeoutSeconds: 10,
    env: {},
    onLine: (line) => line.includes('outlived') && stop.abort(),
    notePath,
    signal: stop.signal,
  });
  expect(stop.signal.aborted).toBe(true);
  expect(run).toBeUndefined();
  expect(existsSync(ran)).toBe(false);
});

test('what only a want of descriptors keeps from its start has not failed: it is thrown, to be tried again', () => {
  const script = join(import.meta.dir, '..', 'support', 'hook-out-of-files.ts');
  const { stdout, stderr } = spawnSync(
    'sh',
    ['-c', 'ulimit -n 100 && exec "$@"', 'sh', process.execPath, script, notePath, hook],
    { encoding: 'utf8' },
  );
  expect(stdout, stderr).toBe('{"thrown":"EMFILE"}\n');
  expect(existsSync(ran)).toBe(false);
});
