/** Stderr: lines, and on a terminal one more beneath them that is rewritten in place. */
import { erase, eraseFrom } from './terminal.ts';

let live = '';

/** Whether a line beneath the log can be rewritten there. */
export function isTerminal(env: Readonly<Record<string, string | undefined>> = process.env): boolean {
  return process.stderr.isTTY === true && env['TERM'] !== 'dumb';
}

/** Writes one line; it goes above the live one. */
export function writeLine(text: string): void {
  process.stderr.write(`${live === '' ? '' : eraseLive()}${text}\n${live}`);
}

/** Characters that the line beneath the log has room for: one that is wrapped could not be rewritten. */
export function liveWidth(): number {
  return Math.max((process.stderr.columns || 80) - 1, 0);
}

/** A terminal that was made narrower since has broken the line into several. */
function eraseLive(): string {
  const above = Math.ceil(live.length / (process.stderr.columns || 80)) - 1;
  return above > 0 ? eraseFrom(above) : erase;
}

/** Shows a text beneath all lines, in the place of the last such one; an empty one takes it away. */
export function showLive(text: string): void {
  const fitting = text.slice(0, liveWidth());
  if (fitting === live) return;
  const gone = eraseLive();
  live = fitting;
  process.stderr.write(`${gone}${live}`);
}
