/**
 * Which processes are of a hook, noted for as long as it runs: where the agent is killed, its hook lives on, and must be
 * gone before another run begins. The note is there before the hook is, with a mark that the environment of the hook holds;
 * the number of its process is added at once, and tells it also where that has changed its environment. Without /proc
 * nothing is noted.
 */
import { randomUUID } from 'node:crypto';
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AgentError, toAgentError } from '../core/errors.ts';
import { diskError, readBootId, remove } from './disk.ts';
import type { Logger } from './log.ts';

/** The variable in the environment of a hook that holds its mark. */
export const markName = 'SHADOW_AGENT_RUN';

const graceMs = 2_000;
const pollMs = 50;
// A process shows no environment while it executes another program.
const looks = 3;

/** Where the hook of a file is noted. */
export function hookNotePath(stateDir: string, fileId: string): string {
  return join(stateDir, `hook.${fileId}`);
}

/** A run, as it was noted. */
interface Noted {
  mark: string;
  /** The process that was started; missing where the agent was killed before it knew. */
  first?: { pid: number; startedAt: string };
}

interface Process {
  pid: number;
  group: number;
  /** In ticks since boot; a number that was given anew has another one. */
  startedAt: string;
}

export class HookNote {
  readonly #path: string;
  readonly #bootId: string | undefined;

  private constructor(path: string, bootId: string | undefined) {
    this.#path = path;
    this.#bootId = bootId;
  }

  static async at(path: string): Promise<HookNote> {
    return new HookNote(path, await readBootId());
  }

  /**
   * Notes a run that is about to start.
   *
   * @returns the mark for its environment
   * @throws AgentError INSTALL or DISK_FULL: a run that nobody would know of must not start
   */
  begin(): string {
    const mark = randomUUID();
    if (this.#bootId === undefined) return mark;
    try {
      writeFileSync(this.#path, `${this.#bootId} ${mark}\n`, { mode: 0o600 });
    } catch (error) {
      throw diskError(error, `Cannot write ${this.#path}`, dirname(this.#path));
    }
    return mark;
  }

  /** Adds the process that was just started. */
  started(pid: number): void {
    const found = processOf(pid);
    if (this.#bootId === undefined || found === undefined) return;
    try {
      appendFileSync(this.#path, `${pid} ${found.startedAt}\n`);
    } catch {
      // The mark tells it as well.
    }
  }

  async clear(): Promise<void> {
    await remove(this.#path).catch(() => undefined);
  }

  /**
   * Ends what a killed agent has left, with its process group: SIGTERM, and SIGKILL after the grace, or once the signal is
   * aborted.
   *
   * @returns the group; undefined where there was nothing to end
   * @throws AgentError INSTALL where it does not end: it is of another user, or waits for a device
   */
  async endSurvivor(signal: AbortSignal): Promise<number | undefined> {
    const noted = await this.#read();
    if (noted === undefined) return undefined;
    const group = await groupOf(noted);
    if (group === undefined) return undefined;
    const isThere = () => processesOf(noted).some((one) => one.group === group);
    killGroup(group, 'SIGTERM');
    await gone(isThere, signal);
    killGroup(group, 'SIGKILL');
    await gone(isThere);
    if (!isThere()) return group;
    throw new AgentError('INSTALL', `An earlier run of the hook does not end (process group ${group})`, {
      hint: `nothing runs beside it: end it as its user or as root, kill -KILL -- -${group}`,
    });
  }

  /** What was noted; undefined where that is nothing, or of another boot. */
  async #read(): Promise<Noted | undefined> {
    const text = await readFile(this.#path, 'utf8').catch(() => '');
    const [, bootId, mark, pid, startedAt] = /^(\S+) ([\da-f-]{36})\n(?:(\d+) (\d+)\n)?/.exec(text) ?? [];
    if (bootId !== this.#bootId || mark === undefined) return undefined;
    return { mark, ...(startedAt === undefined ? {} : { first: { pid: Number(pid), startedAt } }) };
  }
}

/** Ends what the hooks of a killed agent have left, also of files that the configuration has no longer. */
export async function endSurvivors(stateDir: string, log: Logger, signal: AbortSignal): Promise<void> {
  const names = await readdir(stateDir).catch(() => []);
  const paths = names.filter((name) => /^hook\.[\da-f]{16}$/.test(name)).map((name) => join(stateDir, name));
  await Promise.all(paths.map((path) => endNoted(path, log, signal)));
}

async function endNoted(path: string, log: Logger, signal: AbortSignal): Promise<void> {
  const note = await HookNote.at(path);
  try {
    const group = await note.endSurvivor(signal);
    if (group !== undefined) log.warning('A hook had outlived an earlier agent, and was ended', { group });
    await note.clear();
  } catch (error) {
    const { message, hint } = toAgentError(error, 'INSTALL', 'Cannot end a hook of an earlier agent');
    log.warning(message, { hint });
  }
}

/** Sends a signal to a process and all that it has started, but for what has gone its own way. */
export function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody of the group is left, or it is another user's.
  }
}

/** Waits until nobody is there, or the time is over. */
async function gone(isThere: () => boolean, signal?: AbortSignal): Promise<void> {
  const untilMs = performance.now() + graceMs;
  while (isThere() && performance.now() < untilMs && signal?.aborted !== true) await pause();
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, pollMs));
}

/** The process group of a run; undefined where nobody of it is left. */
async function groupOf(noted: Noted): Promise<number | undefined> {
  for (let look = 0; look < looks; look += 1) {
    if (look > 0) await pause();
    const found = processesOf(noted);
    const group = noted.first?.pid ?? oldest(found)?.group;
    if (found.some((one) => one.group === group)) return group;
  }
  return undefined;
}

/** The first process of a run, and all with its mark; never what this program itself would be ended with. */
function processesOf({ mark, first }: Noted): Process[] {
  const own = processOf(process.pid)?.group;
  return processes().filter(({ pid, group, startedAt }) => {
    if (group <= 1 || group === own) return false;
    return (pid === first?.pid && startedAt === first.startedAt) || hasMark(pid, mark);
  });
}

/** Of a hook and what it has started, that is the hook. */
function oldest(processes: Process[]): Process | undefined {
  const byAge = (a: Process, b: Process) => Number(a.startedAt) - Number(b.startedAt) || a.pid - b.pid;
  return processes.toSorted(byAge)[0];
}

function hasMark(pid: number, mark: string): boolean {
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, 'latin1')}`.includes(`\0${markName}=${mark}\0`);
  } catch {
    return false;
  }
}

function processes(): Process[] {
  try {
    const ids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return ids.flatMap((id) => processOf(Number(id)) ?? []);
  } catch {
    return [];
  }
}

/** Undefined where it has ended. Source: proc_pid_stat(5), fields 3, 5 and 22. */
function processOf(pid: number): Process | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name, which may hold anything, stands in parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, , group] = fields;
    const startedAt = fields[19];
    if (state === 'Z' || state === 'X' || startedAt === undefined) return undefined;
    return { pid, group: Number(group), startedAt };
  } catch {
    return undefined;
  }
}
