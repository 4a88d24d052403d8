import { type ParseArgsConfig, parseArgs } from 'node:util';

type Options = NonNullable<ParseArgsConfig['options']>;

/** What was asked for on the command line cannot be done. */
export class UsageError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/**
 * The values of the options that a bench has.
 * @throws UsageError on any other, and on a word that is none
 */
export function optionsOf<T extends Options>(args: string[], options: T) {
  try {
    return parseArgs({ args, options }).values;
  } catch (error) {
    const names = Object.keys(options).map((name) => `--${name}`);
    const hint = names.length === 0 ? 'this bench has no options' : `it has ${names.join(' and ')}`;
    throw new UsageError(error instanceof Error ? error.message : String(error), hint);
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
