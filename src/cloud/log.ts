/** Takes one line for the log. */
export type Log = (line: string) => void;

/** A log in which keys and messages, which may hold line breaks, make no lines of their own. */
export function singleLines(log: Log): Log {
  return (line) => log(line.replace(/\p{Cc}/gu, '?'));
}
