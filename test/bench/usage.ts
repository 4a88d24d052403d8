/** What was asked for on the command line cannot be done. */
export class UsageError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** A whole number of seconds. @throws UsageError on anything else */
export function secondsOf(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new UsageError(
    `--seconds takes a whole number of seconds, not ${JSON.stringify(text)}`,
    'for two minutes say --seconds 120',
  );
}
