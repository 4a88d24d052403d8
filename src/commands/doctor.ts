/** `shadow-agent doctor`: live probes, stage by stage. It changes nothing, neither here nor in the cloud. */
import type { LoadedConfig } from '../config.ts';
import { hasFailed, type Result, resultText, summaryText } from '../core/doctor.ts';
import { timeText } from '../core/words.ts';
import { Findings, runProbe } from '../doctor/probe.ts';
import { stages } from '../doctor/probes.ts';
import { type Output, standardOutput } from '../io/terminal.ts';

export interface DoctorOptions {
  json: boolean;
  version: string;
  /** The file of the configuration, as it was written. */
  configPath?: string | undefined;
  /** Of the files only this one. */
  property?: string | undefined;
  /** By default stdout. */
  output?: Output;
}

/**
 * Runs every probe, and prints each result as soon as it is known.
 *
 * @returns 0 where none has failed (a warning is no failure), else 1
 */
export async function examine(loaded: LoadedConfig, options: DoctorOptions): Promise<number> {
  const { json, version, configPath, property, output = standardOutput() } = options;
  const found = new Findings(loaded, configPath, property);
  const results: Result[] = [];
  for (const stage of stages) {
    await output.pass(`trying ${stage.map(({ name }) => name).join(', ')} …`);
    const ended = await Promise.all(stage.map((probe) => runProbe(probe, found)));
    for (const result of ended.flat()) {
      results.push(result);
      if (!json) await output.write(resultText(result, output.paint, output.columns));
    }
  }
  found.ending.abort();
  await found.link?.end();
  const ok = !hasFailed(results);
  const at = timeText(found.clock.wallMs());
  const text = json
    ? `${JSON.stringify({ ok, version, at, probes: results.map(document) }, null, 2)}\n`
    : summaryText(results, output.paint);
  await output.write(text);
  return ok ? 0 : 1;
}

/** The shape of `--json`, which the help documents. */
function document({ probe, verdict, message, hint, policy, milliseconds }: Result) {
  return { probe, verdict, message, hint: hint ?? null, policy: policy ?? null, milliseconds };
}
