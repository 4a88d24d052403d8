import { resolve } from 'node:path';
import type { AgentConfig } from '../config.ts';
import { systemdUnit } from '../core/unit.ts';
import { readAccounts, resolveOwner } from '../io/accounts.ts';
import { ownCommand } from '../io/runtime.ts';

/** The systemd unit for a configuration, made for a user who need not be there yet. */
export async function unit(config: AgentConfig, configPath: string, user: string): Promise<string> {
  const { thingName, stateDir, metricsFile, cert, key, ca, s3, files } = config;
  const account = resolveOwner(user, await readAccounts());
  return systemdUnit({
    command: ownCommand(),
    configPath: resolve(configPath),
    thingName,
    stateDir,
    metricsFile,
    key,
    certificates: [cert, ca, ...(s3.ca === undefined ? [] : [s3.ca])],
    files,
    user: { name: user, ...(account.ok ? account.owner : {}) },
  });
}
