/** Runs a hook: without a shell, in a process group of its own, for a bounded time, with its output line by line. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { defaultSearchPath, type HookEnd } from '../core/hook.ts';
import { errnoOf } from './disk.ts';
import { HookNote, killGroup, markName } from './hook-note.ts';
import { HookOutput } from './hook-output.ts';

export interface HookJob {
  command: readonly string[];
  timeoutSeconds: number;
  /** Beside what is handed on of the agent's own environment. */
  env: Readonly<Record<string, string>>;
  /** Takes a line of what the hook prints. */
  onLine: (line: string) => void;
  /** Where its process is noted while it runs. */
  notePath: string;
  signal: AbortSignal;
}

/**
 * What a hook gets of the agent's own environment: what programs need to run, and nothing that may hold a secret, such
 * as AWS's variables, a proxy with its password, or what systemd passes to the service itself.
 */
const handedOn = ['HOME', 'USER', 'LOGNAME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'XDG_RUNTIME_DIR'];

// From SIGTERM to SIGKILL. At shutdown the agent has 5 s for all of it.
const timeoutGraceMs = 2_000;
const shutdownGraceMs = 500;
// What a child in the background holds open is not waited for.
const drainMs = 200;
// Of a hook that prints without end, so much is read at a time, and then nothing for a while: 16 MiB a second.
const burstBytes = 262_144;
const restMs = 15;

/**
 * Runs a hook to its end. Its process group goes with it, unless it exits with 0. One that an agent that was killed has
 * left running is ended before.
 *
 * @returns how it ended, with the last lines that it printed; undefined when the signal was aborted
 * @throws the system's error where it cannot be started for a reason that is likely to pass; AgentError INSTALL where an
 * earlier run does not end, INSTALL or DISK_FULL where the run cannot be noted. Then it has not begun.
 */
export async function runHook(job: HookJob): Promise<{ end: HookEnd; output: string[] } | undefined> {
  const { timeoutSeconds, onLine, notePath, signal } = job;
  if (signal.aborted) return undefined;
  const output = new HookOutput(onLine);
  const note = await HookNote.at(notePath);
  if ((await note.endSurvivor(signal)) !== undefined)
    onLine('[an earlier run, which had outlived the agent, was ended]');
  if (signal.aborted) return undefined;
  const child = await start({ ...job, env: { ...job.env, [markName]: note.begin() } });
  if ('kind' in child) {
    await note.clear();
    return { end: child, output: [] };
  }
  if (child.pid !== undefined) note.started(child.pid);
  const ended = endOf(child);
  const closed = Promise.all([drain(child.stdout, output), drain(child.stderr, output)]);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    stop(child, timeoutGraceMs, ended);
  }, timeoutSeconds * 1000);
  const abort = () => stop(child, shutdownGraceMs, ended);
  signal.addEventListener('abort', abort);
  const end = await ended;
  await note.clear();
  clearTimeout(timer);
  signal.removeEventListener('abort', abort);
  if (end.kind !== 'exit' || end.code !== 0 || isLate) killGroup(child.pid, 'SIGKILL');
  await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, drainMs))]);
  for (const stream of [child.stdout, child.stderr]) stream?.destroy();
  const last = output.end();
  // One that ended by itself at that very moment has ended.
  const isDone = end.kind === 'exit' && end.code === 0;
  if (signal.aborted && !isDone) return undefined;
  return { end: isLate ? { kind: 'timeout', seconds: timeoutSeconds } : end, output: last };
}

// A device that is short of something for a moment, or a program that is just being copied.
const passing = ['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE', 'ETXTBSY'];

/**
 * @returns why it cannot be started: it is not there, say, or is of no format that the kernel runs
 * @throws what is likely to pass
 */
async function start(job: HookJob): Promise<ChildProcess | HookEnd> {
  try {
    const child = spawned(job);
    // What is not thrown at once is told a moment later, of a process without a number.
    if (child.pid === undefined) await once(child, 'spawn');
    return child;
  } catch (error) {
    const code = errnoOf(error);
    if (passing.includes(code)) throw error;
    return { kind: 'not-started', reason: code === '' ? String(error) : code };
  }
}

function spawned({ command: [program = '', ...args], env }: HookJob): ChildProcess {
  const own = handedOn.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return spawn(program, args, {
    cwd: '/',
    // Its own group, so that what it has started can be ended with it.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? defaultSearchPath, ...Object.fromEntries(own), ...env },
  });
}

function endOf(child: ChildProcess): Promise<HookEnd> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) =>
      resolve(code === null ? { kind: 'signal', signal: signal ?? 'a signal' } : { kind: 'exit', code }),
    );
  });
}

/**
 * Reads to the end, however much it is: a full pipe would hold the hook up. One that prints without end is held up, so
 * that timers, link and other files have their turn.
 */
function drain(stream: Readable | null, output: HookOutput): Promise<void> {
  return new Promise((resolve) => {
    if (stream === null) return resolve();
    const take = output.source();
    let bytes = 0;
    stream.on('data', (chunk: Uint8Array) => {
      take(chunk);
      bytes += chunk.length;
      if (bytes < burstBytes) return;
      bytes = 0;
      stream.pause();
      setTimeout(() => stream.resume(), restMs);
    });
    stream.once('error', () => resolve());
    stream.once('close', () => resolve());
  });
}

function stop(child: ChildProcess, graceMs: number, ended: Promise<HookEnd>): void {
  killGroup(child.pid, 'SIGTERM');
  const timer = setTimeout(() => killGroup(child.pid, 'SIGKILL'), graceMs);
  void ended.then(() => clearTimeout(timer));
}
