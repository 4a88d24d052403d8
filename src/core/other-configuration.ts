/** Whether the agent that runs was started with another configuration than the one that is there now. */
import type { AgentStatus } from './status.ts';

/** What the configuration says now. */
export interface SaidNow {
  thingName: string;
  shadowName?: string;
  files: readonly { property: string; path: string }[];
  /** SHA-256 of what its file says. */
  sourceHash?: string;
}

/** What differs, and what to do about it. */
export interface OtherConfiguration {
  message: string;
  hint: string;
}

/**
 * Tells in what the running agent is not the one that the configuration describes; undefined where it is, or none runs.
 * Flags and environment of either are not compared, only what they amount to for the shadow and the files.
 */
export function otherConfiguration(running: AgentStatus, now: SaidNow): OtherConfiguration | undefined {
  return told(running, otherShadow(running, now) ?? otherFiles(running, now) ?? otherText(running, now));
}

/** Tells why the running agent does not keep a file that the configuration describes; undefined where it does, or none runs. */
export function otherKeeper(
  running: AgentStatus,
  now: SaidNow,
  file: SaidNow['files'][number],
): OtherConfiguration | undefined {
  return told(running, otherShadow(running, now) ?? differing(otherFile(running, file)));
}

function told({ pid }: AgentStatus, differs: string | undefined): OtherConfiguration | undefined {
  if (pid === null || differs === undefined) return undefined;
  return {
    message: `the running agent (pid ${pid}) ${differs}`,
    hint: 'restart the agent, so that it takes this configuration (systemctl restart shadow-agent); or name here the one that it runs with',
  };
}

function otherShadow({ thing, shadow }: AgentStatus, now: SaidNow): string | undefined {
  const { thingName, shadowName = null } = now;
  if (thing === thingName && shadow === shadowName) return undefined;
  return `follows ${shadowText(thing, shadow)}; this configuration says ${shadowText(thingName, shadowName)}`;
}

function shadowText(thing: string, shadow: string | null): string {
  return shadow === null ? `the classic shadow of ${thing}` : `shadow ${shadow} of ${thing}`;
}

function otherFiles(running: AgentStatus, { files }: SaidNow): string | undefined {
  const said = new Set(files.map(({ property }) => property));
  return differing([
    ...files.flatMap((file) => otherFile(running, file)),
    ...Object.keys(running.files).flatMap((property) =>
      said.has(property) ? [] : [`it keeps a file "${property}" besides`],
    ),
  ]);
}

function otherFile({ files }: AgentStatus, { property, path }: SaidNow['files'][number]): string[] {
  const file = files[property];
  if (file === undefined) return [`it keeps no file "${property}"`];
  return file.path === path ? [] : [`it keeps "${property}" at ${file.path}, not at ${path}`];
}

function differing(differences: readonly string[]): string | undefined {
  return differences.length === 0 ? undefined : `has another configuration: ${differences.join('; ')}`;
}

function otherText({ configHash }: AgentStatus, { sourceHash }: SaidNow): string | undefined {
  if (configHash === null || sourceHash === undefined || configHash === sourceHash) return undefined;
  return 'has another configuration: the file says something else than when the agent was started';
}
