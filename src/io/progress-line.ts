import type { StatusOfFile } from '../core/status.ts';
import { progressText, shortProgressText } from '../core/status-text.ts';
import { oneLine } from '../core/words.ts';
import type { Clock } from './clock.ts';
import { isTerminal, liveWidth, showLive } from './stderr.ts';

const everyMs = 250;

/** Shows on a terminal how far the downloads are, until the signal is aborted; elsewhere nothing. */
export async function keepProgressLine(
  files: () => Readonly<Record<string, StatusOfFile>>,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  if (!isTerminal()) return;
  while (!signal.aborted) {
    showLive(progressLine(files(), liveWidth()));
    await clock.sleep(everyMs, signal);
  }
  showLive('');
}

/** The downloads that run for more than a second: what is gone sooner would only flicker. Shorter where it must be. */
export function progressLine(files: Readonly<Record<string, StatusOfFile>>, width: number): string {
  const line = (text: typeof progressText) =>
    Object.entries(files)
      .flatMap(([property, { progress }]) =>
        progress === null || progress.bytesPerSecond === null
          ? []
          : [`${oneLine(property)}: ${text(progress)}`],
      )
      .join(' | ');
  const whole = line(progressText);
  return whole.length <= width ? whole : line(shortProgressText);
}
