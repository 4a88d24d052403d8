/** Whether the program of each hook could be started, looked for as the agent does: on PATH, and without a shell. */
import { type FileHandle, open } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { FileConfig } from '../config.ts';
import type { Finding } from '../core/doctor.ts';
import { defaultSearchPath } from '../core/hook.ts';
import { fileKind } from '../io/text-file.ts';
import { type Findings, fail, ok, warn } from './probe.ts';
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
  const here = process.env['PATH'] ?? defaultSearchPath;
  const path = (await firstOn(here, program)) ?? (await firstOn(defaultSearchPath, program));
  if (path === undefined) {
    return fail({
      message: `${property}: its hook ${program} is nowhere on PATH (${here})`,
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

/** Without right or program a directory is passed over, as execvp(3) does. */
async function firstOn(path: string, program: string): Promise<string | undefined> {
  for (const directory of path.split(':')) {
    const candidate = join(directory === '' ? '/' : directory, program);
    if ((await fileKind(candidate)) === 'file' && (await runRefusal(candidate)) === undefined)
      return candidate;
  }
  return undefined;
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
  const { format, interpreter } = await headOf(program);
  if (format === 'unknown') {
    return fail({
      message: `${what} is neither a program nor a script that begins with #!`,
      hint: 'have its first line name what runs it, such as #!/bin/sh: a shell would do without, the system does not',
    });
  }
  if (format === 'foreign') {
    return warn(`${what} is a program for another kind of CPU`, 'install the one for this device');
  }
  if (interpreter === undefined || (isAbsolute(interpreter) && (await fileKind(interpreter)) === 'file')) {
    return ok(`${what} can be started`);
  }
  return fail({
    message: `${what} names an interpreter that is not there: ${JSON.stringify(interpreter)}`,
    hint: interpreter.endsWith('\r')
      ? 'its lines end as on Windows: write it with line feeds alone'
      : 'correct its first line (#!), or install what it names',
  });
}

interface Head {
  /** Only Linux is known well enough to tell what it does not run. */
  format: 'fine' | 'foreign' | 'unknown';
  /** What the first line of a script names. */
  interpreter?: string;
}

// e_machine, of 32 bits too. Source: System V ABI, chapter 4.
const machines = new Map([
  ['x64', [62, 3]],
  ['arm64', [183, 40]],
]);

/** What a program begins with; one that cannot be read is taken for fine. */
async function headOf(path: string): Promise<Head> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return { format: 'fine' };
  try {
    const bytes = await firstBytes(file);
    const interpreter = /^#![ \t]*([^ \t\n]+)/.exec(bytes.toString('latin1'))?.[1];
    if (interpreter !== undefined) return { format: 'fine', interpreter };
    if (process.platform !== 'linux') return { format: 'fine' };
    if (bytes.toString('latin1', 0, 4) !== '\x7fELF' || bytes.length < 20) return { format: 'unknown' };
    return { format: machines.get(process.arch)?.includes(bytes.readUInt16LE(18)) ? 'fine' : 'foreign' };
  } finally {
    await file.close();
  }
}

async function firstBytes(file: FileHandle): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(256), 0, 256, 0);
  return buffer.subarray(0, bytesRead);
}
