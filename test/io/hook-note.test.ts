import { afterEach, beforeEach, expect, test } from 'bun:test';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HookNote } from '../../src/io/hook-note.ts';

let dir: string;
let path: string;
let child: ChildProcess;
let pid: number;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shadow-agent-note-'));
  path = join(dir, 'hook');
  child = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
  pid = child.pid ?? 0;
});

afterEach(async () => {
  child.kill('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

const ended = () => new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)));

test('what is noted is ended by whoever reads the note later, and only once', async () => {
  (await HookNote.at(path)).write(pid);
  const end = ended();
  const later = await HookNote.at(path);
  expect(await later.endSurvivor(2_000)).toBe(true);
  expect(await end).toBe('SIGTERM');
  expect(await later.endSurvivor(2_000)).toBe(false);
  await later.clear();
  expect(existsSync(path)).toBe(false);
});

test('a process of another boot, one that was given the number anew, and no process at all are left alone', async () => {
  const note = await HookNote.at(path);
  note.write(pid);
  const [bootId = '', , startedAt = ''] = readFileSync(path, 'utf8').trim().split(' ');
  const init = readFileSync('/proc/1/stat', 'utf8').split(') ')[1]?.split(' ')[19];
  for (const text of [
    `00000000-0000-0000-0000-000000000000 ${pid} ${startedAt}`,
    `${bootId} ${pid} ${Number(startedAt) + 1}`,
    `${bootId} 1 ${init}`,
    `${bootId} -1 ${startedAt}`,
    `${bootId} x ${startedAt}`,
    `${bootId} ${pid}`,
    'rubbish',
    '',
  ]) {
    writeFileSync(path, text);
    expect(await note.endSurvivor(100)).toBe(false);
  }
  await rm(path);
  expect(await note.endSurvivor(100)).toBe(false);
  expect(child.exitCode ?? child.signalCode).toBeNull();
});

/** A program that has ended, and noted before, with the process that it has left in its group. */
async function leftBehind(note: HookNote, env: Record<string, string>): Promise<number> {
  const leader = spawn('sh', ['-c', 'sleep 60 & echo $!; read -r line'], {
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { PATH: process.env['PATH'], ...env },
  });
  const left = await new Promise<number>((resolve) => {
    leader.stdout.once('data', (text) => resolve(Number(String(text))));
  });
  note.write(leader.pid ?? 0);
  leader.stdin.end('\n');
  await new Promise((resolve) => leader.once('exit', resolve));
  return left;
}

function lives(pid: number): boolean {
  return existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

test('what a hook has left in the background is ended, also where the hook itself has ended', async () => {
  const note = await HookNote.at(path);
  const left = await leftBehind(note, { SHADOW_AGENT_PROPERTY: 's3' });
  expect(lives(left)).toBe(true);
  expect(await note.endSurvivor(2_000)).toBe(true);
  expect(lives(left)).toBe(false);
  expect(await note.endSurvivor(2_000)).toBe(false);
});

test('a group without the environment of a hook is of another program, and is left alone', async () => {
  const note = await HookNote.at(path);
  const left = await leftBehind(note, {});
  expect(await note.endSurvivor(100)).toBe(false);
  expect(lives(left)).toBe(true);
  process.kill(left, 'SIGKILL');
});

test('where it cannot be written, nothing is noted', async () => {
  const note = await HookNote.at(join(dir, 'missing', 'hook'));
  note.write(pid);
  expect(await note.endSurvivor(100)).toBe(false);
});
