/** Whether the program of each hook could be started, looked for as the agent does: on PATH, and without a shell. */
import type { FileConfig } from '../config.ts';
import type { Finding } from '../core/doctor.ts';
import { defaultSearchPath } from '../core/hook.ts';
import { fileKind } from '../io/text-file.ts';
import { type Findings, fail, ok, warn } from './probe.ts';
import { firstOn, headOf, lackOf, onPath, searchPath } from './program.ts';
import { runRefusal } from './rights.ts';

/** One finding for each file that has a hook. */
export async function probeHooks(found: Findings): Promise<Finding[]> {
  const findings = await Promise.all(found.files.map((file) => probeHook(found, file)));
  return findings.flatMap((finding) => finding ?? []);
}

async function probeHook(found: Findings, { property, onInstall }: FileConfig): Promise<Finding | undefined> {
  const program = onInstall?.command[0];
  if (program === undefined) return undefined;
  // The value that is desired would be refused for good, so it is better known before.
  if (program.includes('/')) return judge(found, property, program);
  const path = await onPath(program);
  if (path === undefined) {
    return fail({
      message: `${property}: its hook ${program} is nowhere on PATH (${searchPath()})`,
      hint: 'install it, or give "onInstall.command" the path of the program',
    });
  }
  const finding = await judge(found, property, path);
  if (finding.verdict !== 'ok' || (await firstOn(defaultSearchPath, program)) !== undefined) return finding;
  return warn(
    `${finding.message}, which is on PATH here, but not on that of a service (${defaultSearchPath})`,
    'give "onInstall.command" the path of the program',
  );
}

async function judge({ config, otherUser }: Findings, property: string, program: string): Promise<Finding> {
  const what = `${property}: its hook ${program}`;
  const kind = await fileKind(program);
  const file = config.files.find(({ path }) => path === program);
  if (kind === 'missing' && file !== undefined) {
    const isRun = ((file.mode ?? 0) & 0o111) !== 0;
    return isRun
      ? ok(`${what} is one of the files, and comes with it`)
      : fail({
          message: `${what} is one of the files, and would come without the right to be run`,
          hint: `set "mode": "0755" of ${file.property}`,
        });
  }
  if (kind !== 'file') {
    return fail({
      message: `${what} ${kind === 'missing' ? 'is not there' : 'is no file'}`,
      hint: 'put it there, or correct "onInstall.command": without it no new file stays',
    });
  }
  const refusal = await runRefusal(program, otherUser);
  if (refusal !== undefined) return fail({ ...refusal, message: `${property}: ${refusal.message}` });
  const { format, starter } = await headOf(program);
  if (format === 'unknown') {
    return fail({
      message: `${what} is neither a program nor a script that begins with #!`,
      hint: 'have its first line name what runs it, such as #!/bin/sh: a shell would do without, the system does not',
    });
  }
  if (format === 'foreign') {
    return warn(`${what} is a program for another kind of CPU`, 'install the one for this device');
  }
  const lack = starter && (await lackOf(starter, otherUser));
  return lack === undefined
    ? ok(`${what} can be started`)
    : fail({ ...lack, message: `${what} ${lack.message}` });
}
