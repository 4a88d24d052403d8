/** Scenarios that have to do with the link to the broker, registered once for each broker. */
import { test } from 'bun:test';
import type { DeviceOptions } from '../../src/sandbox/sandbox.ts';
import { mosquitto, startMosquitto } from './mosquitto.ts';
import { toolTest } from './tools.ts';
import { scenario, type World } from './world.ts';

/** Registers a scenario on the sandbox's own broker, which has AWS's rules, and on mosquitto. */
export function onEachBroker(
  name: string,
  play: (world: World) => Promise<void>,
  options: DeviceOptions = {},
): void {
  test(name, () => scenario(play, options));
  toolTest([mosquitto], `on mosquitto: ${name}`, () =>
    scenario(play, { ...options, startBroker: startMosquitto }),
  );
}
