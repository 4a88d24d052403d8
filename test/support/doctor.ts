/** Runs `shadow-agent doctor` in a world, and reads what it found. */
import { expect } from 'bun:test';
import { readdirSync, statSync } from 'node:fs';
import * as v from 'valibot';
import type { World } from './world.ts';

const documentSchema = v.object({
  ok: v.boolean(),
  version: v.string(),
  at: v.string(),
  probes: v.array(
    v.object({
      probe: v.string(),
      verdict: v.picklist(['ok', 'skip', 'warn', 'fail']),
      message: v.string(),
      hint: v.nullable(v.string()),
      policy: v.nullable(v.object({ of: v.string(), statement: v.record(v.string(), v.unknown()) })),
      milliseconds: v.number(),
    }),
  ),
});

export type Examined = v.InferOutput<typeof documentSchema>;

/** What it found, with `--json`; the exit code is held to be right. */
export async function examine(world: World, ...more: string[]): Promise<Examined> {
  const run = await world.run(['doctor', '--json', '--config', world.device.configPath, ...more]);
  const code = await run.exit;
  expect(run.log).toBe('');
  const document = v.parse(documentSchema, JSON.parse(run.output));
  const failed = document.probes.some(({ verdict }) => verdict === 'fail');
  // Whatever has failed: somebody must know what to do about it.
  expect(document.probes.filter(({ verdict, hint }) => verdict === 'fail' && hint === null)).toEqual([]);
  expect([code, document.ok]).toEqual(failed ? [1, false] : [0, true]);
  return document;
}

/** The one finding of a probe. */
export function finding({ probes }: Examined, name: string): Examined['probes'][number] {
  const found = probes.filter(({ probe }) => probe === name);
  const [first] = found;
  if (first === undefined || found.length > 1) throw new Error(`${found.length} findings of ${name}`);
  return first;
}

/** The probes that have failed. */
export function failures({ probes }: Examined): string[] {
  return probes.flatMap(({ probe, verdict }) => (verdict === 'fail' ? [probe] : []));
}

/** Every file below a directory with what stat tells of it. */
export function snapshot(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const { size, mtimeMs, ctimeMs, mode } = statSync(`${dir}/${name}`);
      return [name, size, mtimeMs, ctimeMs, mode].join(' ');
    });
}
