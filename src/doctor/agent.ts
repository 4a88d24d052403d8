/** The probe of the agent that runs on the state directory: later probes ask it for what only it can tell. */
import type { AgentConfig } from '../config.ts';
import type { Finding } from '../core/doctor.ts';
import { toAgentError } from '../core/errors.ts';
import type { AgentStatus } from '../core/status.ts';
import { durationText } from '../core/words.ts';
import { askForStatus } from '../io/control-client.ts';
import { type Findings, fail, ok, warn } from './probe.ts';

/** Asks who holds the state directory. An agent that hangs is a failure, one that is not ours to ask a warning. */
export async function probeAgent(found: Findings): Promise<Finding> {
  const { config, clock } = found;
  try {
    const running = await askForStatus(config.stateDir);
    found.agent = running;
    if (running === undefined) return ok(`none runs on ${config.stateDir}`);
    const { pid, startedAt } = running;
    const since = startedAt === null ? '' : `, for ${durationText(clock.wallMs() - Date.parse(startedAt))}`;
    const other = otherShadow(running, config);
    return other ?? ok(`runs on ${config.stateDir} (pid ${pid}${since})`);
  } catch (error) {
    const failure = toAgentError(error, 'INSTALL', 'Cannot ask the running agent');
    found.agent = failure;
    const { code, message, hint = 'run this as the user of the agent, or as root' } = failure;
    return code === 'TIMEOUT' ? fail({ message, hint }) : warn(message, hint);
  }
}

/** What the agent follows is told below, so it must be clear whether that is what was asked about. */
function otherShadow({ pid, thing, shadow }: AgentStatus, config: AgentConfig): Finding | undefined {
  const { thingName, shadowName = null } = config;
  if (thing === thingName && shadow === shadowName) return undefined;
  return warn(
    `the running agent (pid ${pid}) follows ${shadowText(thing, shadow)}; this configuration says ${shadowText(thingName, shadowName)}`,
    'restart the agent, so that it takes this configuration; or give doctor the one that the agent runs with',
  );
}

function shadowText(thing: string, shadow: string | null): string {
  return shadow === null ? `the classic shadow of ${thing}` : `shadow ${shadow} of ${thing}`;
}
