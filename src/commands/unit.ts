import { resolve } from 'node:path';
import type { AgentConfig } from '../config.ts';
import type { Problem } from '../core/errors.ts';
import { systemdUnit, unitProblems } from '../core/unit.ts';
import type { UnitRequest } from '../core/unit-request.ts';
import { readAccounts, resolveOwner } from '../io/accounts.ts';
import { ownCommand } from '../io/runtime.ts';

/** The systemd unit for a configuration, made for a user who need not be there yet, or why none can be made. */
export async function unit(
  config: AgentConfig,
  configPath: string,
  user: string,
): Promise<{ ok: true; text: string } | { ok: false; problems: Problem[] }> {
  const { thingName, stateDir, metricsFile, cert, key, ca, s3, files, proxy } = config;
  const account = resolveOwner(user, await readAccounts());
  const request: UnitRequest = {
    command: ownCommand(),
    configPath: resolve(configPath),
    thingName,
    stateDir,
    metricsFile,
    key,
    certificates: [cert, ca, ...(s3.ca === undefined ? [] : [s3.ca])],
    files,
    proxyVariable: proxy.variable,
    user: { name: user, ...(account.ok ? account.owner : {}) },
  };
  const problems = unitProblems(request);
  return problems.length > 0 ? { ok: false, problems } : { ok: true, text: systemdUnit(request) };
}
