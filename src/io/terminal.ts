import { type Paint, painter } from '../core/paint.ts';

// ECMA-48: to the start of the line, and what is right of it goes.
export const erase = '\r\u001b[K';

/** The same for so many lines above as well. */
export function eraseFrom(linesAbove: number): string {
  return `\u001b[${linesAbove}A\r\u001b[J`;
}

/** Where a command prints: a terminal, or whatever stdout leads to. */
export interface Output {
  /** Resolves when the text is handed over; a reader that has gone away is no error of ours. */
  write(text: string): Promise<void>;
  /** Shows on a terminal what is under way, until something else is shown or written. */
  pass(text: string): Promise<void>;
  /** Colours on a terminal only, and not there either where NO_COLOR says so (https://no-color.org). */
  paint: Paint;
  /** Characters in a line; undefined where no one folds lines. */
  columns: number | undefined;
}

/** Stdout, as it is for this run. */
export function standardOutput(env: Readonly<Record<string, string | undefined>> = process.env): Output {
  const { stdout } = process;
  const isTerminal = stdout.isTTY === true;
  const isDumb = env['TERM'] === 'dumb';
  let isPassing = false;
  const print = (text: string): Promise<void> =>
    new Promise((resolve) => {
      stdout.write(isPassing ? `${erase}${text}` : text, () => resolve());
      isPassing = false;
    });
  return {
    write: print,
    pass: async (text) => {
      if (!isTerminal || isDumb) return;
      // A line that is wrapped could not be taken away.
      await print(text.slice(0, Math.max((stdout.columns || 80) - 1, 0)));
      isPassing = true;
    },
    paint: painter(isTerminal && (env['NO_COLOR'] ?? '') === '' && !isDumb),
    columns: isTerminal ? stdout.columns : undefined,
  };
}
