/** The probe of the agent that runs on the state directory: later probes ask it for what only it can tell. */
import type { Finding } from '../core/doctor.ts';
import { toAgentError } from '../core/errors.ts';
import { otherConfiguration } from '../core/other-configuration.ts';
import { durationText } from '../core/words.ts';
import { askForStatus } from '../io/control-client.ts';
import { spelledAs } from '../io/spelling.ts';
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
    // What the agent follows is told below, so it must be clear whether that is what was asked about.
    const files = await spelledAs(config.files, (property) => running.files[property]?.path);
    const other = otherConfiguration(running, { ...config, files });
    if (other !== undefined) return warn(other.message, other.hint);
    return ok(`runs on ${config.stateDir} (pid ${pid}${since})`);
  } catch (error) {
    const failure = toAgentError(error, 'INSTALL', 'Cannot ask the running agent');
    found.agent = failure;
    const { code, message, hint = 'run this as the user of the agent, or as root' } = failure;
    return code === 'TIMEOUT' ? fail({ message, hint }) : warn(message, hint);
  }
}
