import { AgentError } from '../core/errors.ts';
import { redact } from '../core/secrets.ts';
import { oneLine } from '../core/words.ts';

/** An error as the terminal shows it, without secrets: a line `error: …` and, where there is one, a line `hint: …`. */
export function errorLines(message: string, hint?: string): string {
  const lines = [`error: ${shown(message)}`, ...(hint === undefined ? [] : [`hint: ${shown(hint)}`])];
  return `${lines.join('\n')}\n`;
}

/** What is thrown by others than the agent may quote anything. */
function shown(text: string): string {
  return oneLine(redact(text));
}

/** Message and hint of whatever was thrown; what is no AgentError is a fault of the program. */
export function describeError(error: unknown): { message: string; hint?: string } {
  if (error instanceof AgentError) {
    const { code, retry, message, hint } = error;
    // What ends the program is told in words alone: its code is for the configuration's problems.
    return {
      message: retry === 'exit' ? message : `${code}: ${message}`,
      ...(hint === undefined ? {} : { hint }),
    };
  }
  const hint = 'this is a fault of the agent; --log-level debug shows where';
  if (!(error instanceof Error)) return { message: String(error), hint };
  return { message: `${'code' in error ? String(error.code) : error.name}: ${error.message}`, hint };
}

/** Where it was thrown, for who looks for a fault of the program; '' for what tells of no place. */
export function stackLines(error: unknown): string {
  return error instanceof Error ? `${redact(error.stack ?? '')}\n` : '';
}
