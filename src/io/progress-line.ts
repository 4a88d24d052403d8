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

type Progress = NonNullable<StatusOfFile['progress']>;

/** The downloads that run for more than a second: what is gone sooner would only flicker. Shorter where it must be. */
export function progressLine(files: Readonly<Record<string, StatusOfFile>>, width: number): string {
  const running = Object.entries(files).flatMap(([property, { progress }]) =>
    progress === null || progress.bytesPerSecond === null ? [] : [{ property, progress }],
  );
  const line = (text: typeof progressText) =>
    running.map(({ property, progress }) => `${oneLine(property)}: ${text(progress)}`).join(' | ');
  const together = (text: typeof progressText) =>
    `${running.length} downloads: ${text(sum(running.map(({ progress }) => progress)))}`;
  const lines = running.length > 1 ? [line, together] : [line];
  const texts = lines.flatMap((make) => [make(progressText), make(shortProgressText)]);
  return texts.find((text) => text.length <= width) ?? texts.at(-1) ?? '';
}

function sum(parts: readonly Progress[]): Progress {
  const add = (one: number | null, other: number | null) =>
    one === null || other === null ? null : one + other;
  return parts.reduce((all, { bytes, size, bytesPerSecond }) => ({
    bytes: all.bytes + bytes,
    size: add(all.size, size),
    bytesPerSecond: add(all.bytesPerSecond, bytesPerSecond),
  }));
}
