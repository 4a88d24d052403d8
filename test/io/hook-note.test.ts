import { afterEach, beforeEach, expect, spyOn, test } from 'bun:test';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endSurvivors, HookNote, hookNotePath, markName } from '../../src/io/hook-note.ts';
import { RecordingLog } from '../support/io-helpers.ts';

let dir: string;
let path: string;
const children: ChildProcess[] = [];
const never = new AbortController().signal;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shadow-agent-note-'));
  path = hookNotePath(dir, '0123456789abcdef');
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

interface StartOptions {
  mark?: string;
  script?: string;
  detached?: boolean;
}

/** A process in a group of its own, as a hook is. */
function start({
  mark,
  script = 'echo ready; exec sleep 60',
  detached = true,
}: StartOptions = {}): ChildProcess {
  const env = { PATH: process.env['PATH'], ...(mark === undefined ? {} : { [markName]: mark }) };
  const child = spawn('sh', ['-c', script], { detached, stdio: ['pipe', 'pipe', 'ignore'], env });
  children.push(child);
  return child;
}

const pidOf = ({ pid = 0 }: ChildProcess) => pid;
const endOf = (child: ChildProcess) =>
  new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)));
const firstLine = (child: ChildProcess) =>
  new Promise<string>((resolve) => child.stdout?.once('data', (text) => resolve(String(text).trim())));

function lives(pid: number): boolean {
  return existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

/** A note of a run of which nothing more came to be known. */
async function noted(): Promise<{ note: HookNote; mark: string }> {
  const note = await HookNote.at(path);
  return { note, mark: note.begin() };
}

test('what is noted is ended by whoever reads the note later, and only once', async () => {
  const { note, mark } = await noted();
  const child = start({ mark });
  note.started(pidOf(child));
  const end = endOf(child);
  const later = await HookNote.at(path);
  expect(await later.endSurvivor(never)).toBe(pidOf(child));
  expect(await end).toBe('SIGTERM');
  expect(await later.endSurvivor(never)).toBeUndefined();
  await later.clear();
  expect(existsSync(path)).toBe(false);
});

test('a hook whose number nobody has noted is found by its mark', async () => {
  const { note, mark } = await noted();
  const child = start({ mark });
  await firstLine(child);
  const end = endOf(child);
  expect(await note.endSurvivor(never)).toBe(pidOf(child));
  expect(await end).toBe('SIGTERM');
});

test('a hook with another environment by now is found by its number', async () => {
  const { note, mark } = await noted();
  const child = start({ mark, script: 'exec env -i sleep 60' });
  note.started(pidOf(child));
  const isClean = () => readFileSync(`/proc/${pidOf(child)}/environ`, 'utf8') === '';
  while (!isClean()) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(await note.endSurvivor(never)).toBe(pidOf(child));
});

test('a run of another boot, with another mark, with a number that was given anew, and rubbish end nothing', async () => {
  const { note, mark } = await noted();
  const child = start({ mark: '00000000-0000-4000-8000-000000000000' });
  await firstLine(child);
  const pid = pidOf(child);
  expect(await note.endSurvivor(never)).toBeUndefined();
  note.started(pid);
  const [bootId = '', , , startedAt = ''] = readFileSync(path, 'utf8').trim().split(/\s/);
  const init = readFileSync('/proc/1/stat', 'utf8').split(') ')[1]?.split(' ')[19];
  for (const text of [
    `00000000-0000-0000-0000-000000000000 ${mark}\n${pid} ${startedAt}\n`,
    `${bootId} ${mark}\n${pid} ${Number(startedAt) + 1}\n`,
    `${bootId} ${mark}\n1 ${init}\n`,
    `${bootId} ${mark}\n-1 ${startedAt}\n`,
    `${bootId} ${mark}\nx ${startedAt}\n`,
    `${bootId} ${mark}\n${pid}\n`,
    `${bootId} ${mark}`,
    'rubbish',
    '',
  ]) {
    writeFileSync(path, text);
    expect(await note.endSurvivor(never)).toBeUndefined();
  }
  await rm(path);
  expect(await note.endSurvivor(never)).toBeUndefined();
  expect(child.exitCode ?? child.signalCode).toBeNull();
});

test.each([
  ['is ended, also where the hook itself has ended', true],
  ['but has another environment is of another program, and is left alone', false],
])('what a hook has left in its group %s', async (_, isMarked) => {
  const { note, mark } = await noted();
  const leader = start({ ...(isMarked ? { mark } : {}), script: 'sleep 60 & echo $!; read -r line' });
  const left = Number(await firstLine(leader));
  note.started(pidOf(leader));
  const end = endOf(leader);
  leader.stdin?.end('\n');
  await end;
  expect(lives(left)).toBe(true);
  expect(await note.endSurvivor(never)).toBe(isMarked ? pidOf(leader) : undefined);
  expect(lives(left)).toBe(!isMarked);
  if (!isMarked) process.kill(left, 'SIGKILL');
});

test('what a hook has started in a group of its own lives on', async () => {
  const { note, mark } = await noted();
  const child = start({ mark, script: "setsid sh -c 'echo $$; exec sleep 60' & wait" });
  const left = Number(await firstLine(child));
  note.started(pidOf(child));
  expect(await note.endSurvivor(never)).toBe(pidOf(child));
  expect(lives(left)).toBe(true);
  process.kill(left, 'SIGKILL');
});

test('a program never ends its own group', async () => {
  const { note, mark } = await noted();
  const child = start({ mark, detached: false });
  await firstLine(child);
  expect(await note.endSurvivor(never)).toBeUndefined();
  expect(child.exitCode ?? child.signalCode).toBeNull();
});

test('a stop ends at once what does not heed SIGTERM', async () => {
  const { note, mark } = await noted();
  const child = start({ mark, script: 'trap "" TERM; echo ready; while :; do sleep 1; done' });
  await firstLine(child);
  const end = endOf(child);
  const startedMs = performance.now();
  await note.endSurvivor(AbortSignal.abort());
  expect(performance.now() - startedMs).toBeLessThan(1_000);
  expect(await end).toBe('SIGKILL');
});

test('one that may not be ended is told, with what to do, and its note stays', async () => {
  const { note, mark } = await noted();
  const child = start({ mark });
  await firstLine(child);
  const group = pidOf(child);
  const kill = spyOn(process, 'kill').mockImplementation(() => {
    throw Object.assign(new Error('EPERM'), { code: 'EPERM' });
  });
  const log = new RecordingLog();
  try {
    await endSurvivors(dir, log, AbortSignal.abort());
    await expect(note.endSurvivor(AbortSignal.abort())).rejects.toMatchObject({
      code: 'INSTALL',
      message: `An earlier run of the hook does not end (process group ${group})`,
      hint: `nothing runs beside it: end it as its user or as root, kill -KILL -- -${group}`,
    });
  } finally {
    kill.mockRestore();
  }
  expect(log.of('warning')).toHaveLength(1);
  expect(existsSync(path)).toBe(true);
});

test('a start ends the hooks of every file, and leaves no note', async () => {
  const log = new RecordingLog();
  const ends: Promise<unknown>[] = [];
  for (const id of ['0'.repeat(16), '1'.repeat(16)]) {
    const note = await HookNote.at(hookNotePath(dir, id));
    const child = start({ mark: note.begin() });
    await firstLine(child);
    ends.push(endOf(child));
  }
  writeFileSync(join(dir, 'hook.other'), '');
  await endSurvivors(dir, log, never);
  expect(await Promise.all(ends)).toEqual(['SIGTERM', 'SIGTERM']);
  expect(readdirSync(dir)).toEqual(['hook.other']);
  expect(log.of('warning')).toHaveLength(2);
});

test('a run that cannot be noted must not begin', async () => {
  const note = await HookNote.at(join(dir, 'missing', 'hook'));
  expect(() => note.begin()).toThrow('Cannot write');
  expect(await note.endSurvivor(never)).toBeUndefined();
});
