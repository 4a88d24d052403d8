import { constants } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from './clock.ts';
import { diskError, remove } from './disk.ts';
import type { Logger } from './log.ts';

// Prometheus scrapes every 15 s to a minute; more often would only wear the flash.
const everyMs = 15_000;
// The times stand at the start.
const maxFormerBytes = 65_536;

export interface MetricsFileOptions {
  /** Where node_exporter looks, by its --collector.textfile.directory; it reads names that end in .prom. */
  path: string;
  render: () => string;
  clock: Clock;
  log: Logger;
  /** Aborted when the agent ends: what is written then is the last. */
  signal: AbortSignal;
}

/**
 * Keeps a file of metrics up to date: now, then every 15 s where something has changed, and at the end. Trouble with it
 * is logged once, and holds up nothing.
 */
export async function keepMetricsFile({
  path,
  render,
  clock,
  log,
  signal,
}: MetricsFileOptions): Promise<void> {
  let written = '';
  let isTold = false;
  for (;;) {
    const isLast = signal.aborted;
    const text = render();
    if (!sameMetrics(text, written)) {
      try {
        await replace(path, text);
        written = text;
        isTold = false;
      } catch (error) {
        const failure = diskError(error, `Cannot write the metrics to ${path}`, dirname(path));
        if (!isTold) log.warning(failure instanceof Error ? failure.message : String(failure));
        isTold = true;
      }
    }
    if (isLast) return;
    await clock.sleep(everyMs, signal);
  }
}

/** What an earlier run has written; empty where that is not to be had. */
export async function formerMetrics(path: string): Promise<string> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  );
  try {
    const buffer = Buffer.alloc(maxFormerBytes);
    const read = await handle?.read(buffer, 0, maxFormerBytes, 0);
    return buffer.toString('utf8', 0, read?.bytesRead ?? 0);
  } catch {
    return '';
  } finally {
    await handle?.close();
  }
}

/** A time that is kept on the monotonic clock may come out a second later or earlier; that is no change. */
function sameMetrics(a: string, b: string): boolean {
  const [left, right] = [a.split('\n'), b.split('\n')];
  if (left.length !== right.length) return false;
  return left.every((line, index) => {
    const other = right[index] ?? '';
    const time = /^(\S+_time(?:stamp)?_seconds) (\d+)$/;
    const [, name, value] = time.exec(line) ?? [];
    const [, otherName, otherValue] = time.exec(other) ?? [];
    if (name === undefined || name !== otherName) return line === other;
    return Math.abs(Number(value) - Number(otherValue)) <= 1;
  });
}

/** A reader sees the old text or the new one. It is not synced: after a power cut the next start writes it anew. */
async function replace(path: string, text: string): Promise<void> {
  const staged = `${path}.new`;
  // What lies there may be a link that somebody else has put: it is never followed.
  await remove(staged);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const handle = await open(staged, flags, 0o644);
  try {
    await handle.writeFile(text);
    await handle.chmod(0o644);
  } finally {
    await handle.close();
  }
  try {
    await rename(staged, path);
  } catch (error) {
    await remove(staged).catch(() => undefined);
    throw error;
  }
}
