/**
 * Which process a hook is, noted for as long as it runs: where the agent is killed, its hook lives on, and must be gone
 * before the next start runs it again. Without /proc nothing is noted.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { readBootId, remove } from './disk.ts';

const pollMs = 50;

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

  /** Notes the process that was just started; at once, as whatever is waited for here leaves a hook that nobody knows of. */
  write(pid: number): void {
    const startedAt = startTicks(readStat(pid));
    if (this.#bootId === undefined || startedAt === undefined) return;
    try {
      writeFileSync(this.#path, `${this.#bootId} ${pid} ${startedAt}\n`, { mode: 0o600 });
    } catch {
      // A full disk is no reason not to run the hook.
    }
  }

  async clear(): Promise<void> {
    await remove(this.#path).catch(() => undefined);
  }

  /**
   * Ends what a killed agent has left, with its process group: SIGTERM, and SIGKILL after the grace.
   *
   * @returns whether there was something to end
   */
  async endSurvivor(graceMs: number): Promise<boolean> {
    const text = await readFile(this.#path, 'utf8').catch(() => '');
    const [bootId, pidText, startedAt] = text.trim().split(' ');
    const pid = Number(pidText);
    // After a boot it is another process.
    const isOurs = bootId === this.#bootId && Number.isInteger(pid) && pid > 1;
    if (!isOurs || startedAt === undefined) return false;
    const isThere = () => isRunning(pid, startedAt);
    if (!isThere()) return false;
    killGroup(pid, 'SIGTERM');
    await gone(isThere, graceMs);
    killGroup(pid, 'SIGKILL');
    await gone(isThere, graceMs);
    return true;
  }
}

/** Sends a signal to a process and all that it has started, but for what has gone its own way. */
export function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody of the group is left.
  }
}

/** Waits until a process has ended, or the time is over. */
async function gone(isThere: () => boolean, withinMs: number): Promise<void> {
  const untilMs = performance.now() + withinMs;
  while (isThere() && performance.now() < untilMs)
    await new Promise((resolve) => setTimeout(resolve, pollMs));
}

/** Whether a hook runs, or what it has started and left in its process group. */
function isRunning(pid: number, startedAt: string): boolean {
  const ticks = startTicks(readStat(pid));
  // A number that was given anew is no longer that of a group.
  return ticks === undefined ? processIds().some((id) => isLeftBy(pid, id)) : ticks === startedAt;
}

/** Whether a process is of the group of a hook that has ended; that of another program has no such environment. */
function isLeftBy(group: number, pid: number): boolean {
  const [state, , ownGroup] = fieldsOf(readStat(pid));
  if (Number(ownGroup) !== group || state === 'Z' || state === 'X') return false;
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, 'utf8')}`.includes('\0SHADOW_AGENT_PROPERTY=');
  } catch {
    return false;
  }
}

function processIds(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

function readStat(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return '';
  }
}

/** When a process was started, in ticks since boot; undefined where it has ended. Source: proc_pid_stat(5), fields 3 and 22. */
function startTicks(stat: string): string | undefined {
  const fields = fieldsOf(stat);
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

/** State, parent, process group and so on: from field 3. */
function fieldsOf(stat: string): string[] {
  // The name, which may hold anything, stands in parentheses.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
