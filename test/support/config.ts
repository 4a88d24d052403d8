import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Flags } from '../../src/config/flags.ts';
import { type AgentConfig, type LoadedConfig, type LoadOptions, loadConfig } from '../../src/config.ts';
import type { Problem } from '../../src/core/errors.ts';
import { createPki, type KeyPair } from '../../src/sandbox/pki.ts';

/** The configuration that the documentation shows, without what has a default. */
export function sampleConfig(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    thingName: 'test-thing',
    endpoint: 'xxxxxxxxxxxxxx-ats.iot.us-east-1.amazonaws.com',
    credentialEndpoint:
      'xxxxxxxxxxxxx.credentials.iot.us-east-1.amazonaws.com/role-aliases/iot-role-alias-s3-read/credentials',
    cert: 'certificate.pem',
    key: 'private.key',
    ca: 'AmazonRootCA1.pem',
    files: [{ property: 's3', path: 'tmpfile' }],
    ...changes,
  };
}

/** The same with changes to its only file. */
export function sampleOfFile(changes: Record<string, unknown>): Record<string, unknown> {
  return sampleConfig({ files: [{ property: 's3', path: 'tmpfile', ...changes }] });
}

export function sampleWithout(...keys: string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(sampleConfig()).filter(([key]) => !keys.includes(key)));
}

/** A directory with the PEM files that the sample names, and a place for agent.json. */
export interface ConfigDir {
  dir: string;
  device: KeyPair;
  /** Writes agent.json and loads it, with the directory as the working directory. */
  load(
    config: unknown,
    flags?: Flags,
    as?: Partial<Pick<LoadOptions, 'uid' | 'asks' | 'env'>>,
  ): Promise<LoadedConfig>;
  remove(): Promise<void>;
}

export async function createConfigDir(): Promise<ConfigDir> {
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-config-'));
  const pki = await createPki();
  const device = await pki.issueDevice('test-thing');
  await writeFile(join(dir, 'certificate.pem'), device.cert);
  await writeFile(join(dir, 'private.key'), device.key, { mode: 0o600 });
  await writeFile(join(dir, 'AmazonRootCA1.pem'), pki.caCert);
  return {
    dir,
    device,
    load: async (config, flags = {}, as = {}) => {
      const text = typeof config === 'string' ? config : JSON.stringify(config);
      await writeFile(join(dir, 'agent.json'), text, { mode: 0o600 });
      return loadConfig({ configPath: 'agent.json', flags, env: {}, cwd: dir, ...as });
    },
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

export function problemsOf(loaded: LoadedConfig): Problem[] {
  if (loaded.ok) throw new Error('the configuration was accepted');
  return loaded.problems;
}

export function configOf(loaded: LoadedConfig): AgentConfig {
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  return loaded.config;
}
