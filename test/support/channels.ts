/** The three services of AWS that a device speaks to, each with its own code. */
import { configure } from './hostile-servers.ts';
import type { World } from './world.ts';

export const channels = ['broker', 'credentials', 's3'] as const;
export type Channel = (typeof channels)[number];

/** Points one channel of the device at another server. */
export function redirect(world: World, channel: Channel, host: string, port: number): void {
  configure(world, (config) => {
    if (channel === 'broker') return { ...config, endpoint: `${host}:${port}` };
    if (channel === 's3')
      return { ...config, s3: { ...(config['s3'] as object), endpoint: `https://127.0.0.1:${port}` } };
    const path = String(config['credentialEndpoint']).replace(/^.*?\//, '/');
    return { ...config, credentialEndpoint: `${host}:${port}${path}` };
  });
}
