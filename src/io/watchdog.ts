import { AgentError } from '../core/errors.ts';
import type { MqttLink } from './mqtt.ts';

type Connect = (signal: AbortSignal) => Promise<MqttLink>;

/**
 * Each part of a connect has its own limit. This one is for a client that has got stuck all the same: it is left
 * behind, so that the next try begins with a new one. Should it come after all, it is ended.
 *
 * @throws AgentError TIMEOUT besides what `connect` throws
 */
export function watched(connect: Connect, limitMs = 120_000): Connect {
  return async (signal) => {
    const stuck = new AbortController();
    const reason = new AgentError('TIMEOUT', `The broker was not reached in ${limitMs / 1000} s`);
    const link = connect(AbortSignal.any([signal, stuck.signal]));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(reason);
        stuck.abort(reason);
        link.then((latecomer) => latecomer.end()).catch(() => undefined);
      }, limitMs);
    });
    try {
      return await Promise.race([link, late]);
    } finally {
      clearTimeout(timer);
    }
  };
}
