/** Commands that have no more to do than to print a text. */
import { writeOut } from '../io/terminal.ts';

/**
 * Prints a text, whose last line end may be missing.
 *
 * @returns 0
 * @throws AgentError where it cannot be written
 */
export async function print(text: string): Promise<number> {
  await writeOut(text.endsWith('\n') ? text : `${text}\n`);
  return 0;
}
