/** What a command takes from the configuration that only asks about an agent. */
import type { AgentConfig, LoadedConfig } from '../config.ts';
import type { Problem } from '../core/errors.ts';
import type { Identity } from '../io/identity.ts';

export interface Asking {
  config: AgentConfig;
  /** Undefined where it is refused. */
  identity: Identity | undefined;
  /** For which the agent would not start. */
  refusals: readonly Problem[];
  /** Others may change what the configuration trusts, and it is strict. */
  isOpen: boolean;
}

/**
 * An agent goes on with the certificate that it has while a new one is refused, and may be asked all the while.
 * Undefined where something else of the configuration is wrong.
 */
export function askingOf(loaded: LoadedConfig): Asking | undefined {
  if (loaded.ok) {
    const { config, identity } = loaded;
    return { config, identity, refusals: [], isOpen: false };
  }
  const { config, identity, problems, identityProblems = [], permissionProblems = [] } = loaded;
  const forgiven = new Set([...identityProblems, ...permissionProblems]);
  if (config === undefined || problems.some((problem) => !forgiven.has(problem))) return undefined;
  const isOpen = problems.some((problem) => permissionProblems.includes(problem));
  return { config, identity, refusals: problems, isOpen };
}
