import { AgentError, type Problem } from '../core/errors.ts';

/** What others could replace on the way to a target. */
export type OpenOnTheWay = (target: string) => Promise<Problem[]>;

/**
 * What was sound at the start may be another user's by now: nothing is put there, or taken away.
 *
 * @param look absent where nobody wants to know
 * @throws AgentError INSTALL
 */
export async function assertWay(target: string, look: OpenOnTheWay | undefined): Promise<void> {
  const [open] = (await look?.(target)) ?? [];
  if (open === undefined) return;
  throw new AgentError('INSTALL', `Cannot install ${target}: ${open.message}`, { hint: open.hint });
}
