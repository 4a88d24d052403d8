import { AgentError } from '../core/errors.ts';
import { type Paint, painter } from '../core/paint.ts';
import { errnoOf, isNoRoom } from './disk.ts';

// ECMA-48: to the start of the line, and what is right of it goes.
export const erase = '\r\u001b[K';

/** The same for so many lines above as well. */
export function eraseFrom(linesAbove: number): string {
  return `\u001b[${linesAbove}A\r\u001b[J`;
}

/** Where a command prints: a terminal, or whatever stdout leads to. */
export interface Output {
  /** As `writeOut` does. */
  write(text: string): Promise<void>;
  /** Shows on a terminal what is under way, until something else is shown or written. */
  pass(text: string): Promise<void>;
  /** Colours on a terminal only, and not there either where NO_COLOR says so (https://no-color.org). */
  paint: Paint;
  /** Characters in a line; undefined where no one folds lines. */
  columns: number | undefined;
}

/**
 * Writes to stdout, and resolves when the text is handed over; a reader that has gone away is no error of ours.
 *
 * @throws AgentError where nobody will ever have the text
 */
export function writeOut(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error instanceof Error && errnoOf(error) !== 'EPIPE') reject(unwritten(error));
      else resolve();
    });
  });
}

function unwritten(cause: Error): AgentError {
  const isFull = isNoRoom(cause);
  const hint = `${isFull ? 'free some room' : 'look at what is wrong'} where stdout leads to, and do it again`;
  const message = `Cannot write the output: ${errnoOf(cause) || cause.message}`;
  return new AgentError(isFull ? 'DISK_FULL' : 'INSTALL', message, { retry: 'exit', hint, cause });
}

/** Stdout, as it is for this run. */
export function standardOutput(env: Readonly<Record<string, string | undefined>> = process.env): Output {
  const { stdout } = process;
  const isTerminal = stdout.isTTY === true;
  const isDumb = env['TERM'] === 'dumb';
  let isPassing = false;
  const write = (text: string): Promise<void> => {
    const above = isPassing ? erase : '';
    isPassing = false;
    return writeOut(`${above}${text}`);
  };
  return {
    write,
    pass: async (text) => {
      if (!isTerminal || isDumb) return;
      // A line that is wrapped could not be taken away.
      await write(text.slice(0, Math.max((stdout.columns || 80) - 1, 0)));
      isPassing = true;
    },
    paint: painter(isTerminal && (env['NO_COLOR'] ?? '') === '' && !isDumb),
    columns: isTerminal ? stdout.columns : undefined,
  };
}
