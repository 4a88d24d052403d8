import { type Paint, painter } from '../core/paint.ts';

/** Where a command prints: a terminal, or whatever stdout leads to. */
export interface Output {
  /** Resolves when the text is handed over; a reader that has gone away is no error of ours. */
  write(text: string): Promise<void>;
  /** Colours on a terminal only, and not there either where NO_COLOR says so (https://no-color.org). */
  paint: Paint;
  /** Characters in a line; undefined where no one folds lines. */
  columns: number | undefined;
}

/** Stdout, as it is for this run. */
export function standardOutput(env: Readonly<Record<string, string | undefined>> = process.env): Output {
  const { stdout } = process;
  const isPlain = (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return {
    write: (text) =>
      new Promise((resolve) => {
        stdout.write(text, () => resolve());
      }),
    paint: painter(stdout.isTTY === true && !isPlain),
    columns: stdout.isTTY === true ? stdout.columns : undefined,
  };
}
