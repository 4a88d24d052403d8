/** What a command takes from the configuration that only asks about an agent. */
import type { AgentConfig, BrokenConfig, LoadedConfig } from '../config.ts';
import type { Problem } from '../core/errors.ts';
import type { Identity } from '../io/identity.ts';

export interface Asking {
  ok: true;
  config: AgentConfig;
  /** Undefined where it is refused. */
  identity: Identity | undefined;
  /** For which the agent would not start. */
  refusals: readonly Problem[];
  /** Others may change what the configuration trusts, and it is strict. */
  isOpen: boolean;
}

/**
 * An agent goes on with the certificate that it has while a new one is refused, and may be asked all the while. Where
 * something else of the configuration is wrong, that is what is given back.
 */
export function askingOf(loaded: LoadedConfig): Asking | BrokenConfig {
  if (loaded.ok) {
    const { config, identity } = loaded;
    return { ok: true, config, identity, refusals: [], isOpen: false };
  }
  const { config, identity, problems, identityProblems = [], permissionProblems = [] } = loaded;
  const forgiven = new Set([...identityProblems, ...permissionProblems]);
  if (config === undefined || problems.some((problem) => !forgiven.has(problem))) return loaded;
  const isOpen = problems.some((problem) => permissionProblems.includes(problem));
  return { ok: true, config, identity, refusals: problems, isOpen };
}
