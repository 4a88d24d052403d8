import { AgentError, toAgentError } from '../core/errors.ts';
import { PortChoice } from '../core/ports.ts';
import { connectMqtt, type MqttLink, type MqttOptions } from './mqtt.ts';
import type { Route } from './proxy.ts';
import { watched } from './watchdog.ts';

export interface BrokerOptions {
  /** The ports that may be tried; more than one where one of them may be blocked. */
  ports: readonly [number, ...number[]];
  route: Route;
  /** What the next connection is made with, but for its port and its way. */
  mqtt: () => Promise<Omit<MqttOptions, 'port' | 'proxy'>>;
}

/**
 * Gives back what connects to the broker, once at each call: to the port that worked last, and after a failure to the
 * other one, where there is one.
 */
export function createConnect({
  ports,
  route,
  mqtt,
}: BrokerOptions): (signal: AbortSignal) => Promise<MqttLink> {
  const choice = new PortChoice(ports);
  return watched(async (signal) => {
    const port = choice.current;
    const options = await mqtt();
    try {
      return await connectMqtt({ ...options, port, proxy: route(options.host, port) }, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      const failed = toAgentError(error, 'NETWORK', `Cannot connect to the broker ${options.host}:${port}`);
      const next = choice.failed(failed.code);
      if (next === undefined || failed.hint !== undefined) throw failed;
      const hint = `where port ${port} is blocked, ${next} may not be: it is tried next`;
      throw new AgentError(failed.code, failed.message, { hint, cause: failed });
    }
  });
}
