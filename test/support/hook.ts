/** Hooks of a device: scripts that write down how they were run, and do as they are told. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '../../src/core/json.ts';
import { scenario, type World, type WorldOptions } from './world.ts';

/** One run of a hook, by what it saw. */
export interface HookRun {
  property: string;
  path: string;
  hash: string;
  url: string;
  previous: string;
  rollback: string;
  /** What the file held, and the previous one. */
  content: string;
  before: string;
}

const separator = '\u001f';

/** Writes the hook: it notes its run, then does the rest of the script. */
export function writeHook(world: World, script: string): void {
  const path = world.path('hook');
  const facts = ['PROPERTY', 'PATH', 'HASH', 'URL', 'PREVIOUS', 'ROLLBACK'].map(
    (name) => `"$SHADOW_AGENT_${name}"`,
  );
  const contents = [
    '"$(cat "$SHADOW_AGENT_PATH" 2>/dev/null)"',
    '"$(cat "$SHADOW_AGENT_PREVIOUS" 2>/dev/null)"',
  ];
  const format = `${[...facts, ...contents].map(() => '%s').join('\\037')}\\n`;
  const text = `#!/bin/sh
cd '${world.device.dir}' || exit 99
printf '${format}' ${[...facts, ...contents].join(' ')} >>runs
${script}
`;
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

/** How the hook was run so far. */
export function hookRuns(world: World): HookRun[] {
  const path = world.path('runs');
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => {
    const [
      property = '',
      path = '',
      hash = '',
      url = '',
      previous = '',
      rollback = '',
      content = '',
      before = '',
    ] = line.split(separator);
    return { property, path, hash, url, previous, rollback, content, before };
  });
}

/** Plays a scenario with a device whose file has a hook. */
export function hooked(
  script: string,
  play: (world: World) => Promise<void>,
  { file = {}, hook = {}, ...options }: WorldOptions & { file?: JsonObject; hook?: JsonObject } = {},
): Promise<void> {
  const onInstall = { command: ['./hook'], ...hook };
  const files = [{ property: 's3', path: 'tmpfile', onInstall, ...file }];
  return scenario(
    async (world) => {
      writeHook(world, script);
      await play(world);
    },
    { files, ...options },
  );
}

export function stateOf(world: World): string {
  return readFileSync(join(world.device.dir, 'state', 'state.json'), 'utf8');
}
