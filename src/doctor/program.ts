/** What a program begins with, and what else the system needs to start it. */
import { type FileHandle, open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { AgentUser } from '../config/permissions.ts';
import { elfHeadBytes, loaderSpan, parseElfHead, type Span } from '../core/elf.ts';
import { defaultSearchPath } from '../core/hook.ts';
import { fileKind } from '../io/text-file.ts';
import { runRefusal } from './rights.ts';

/** Another program, which starts this one. */
interface Starter {
  kind: 'interpreter' | 'loader';
  path: string;
  /** What env(1) is to find on PATH. */
  sought?: string;
}

export interface ProgramHead {
  /** Only Linux is known well enough to tell what it does not run. */
  format: 'fine' | 'foreign' | 'unknown';
  starter?: Starter;
}

// e_machine, of 32 bits too. Source: System V ABI, chapter 4.
const machines = new Map([
  ['x64', [62, 3]],
  ['arm64', [183, 40]],
]);

/** What a program begins with; one that cannot be read is taken for fine. */
export async function headOf(path: string): Promise<ProgramHead> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return { format: 'fine' };
  try {
    const bytes = await partOf(file, { offset: 0, size: firstBytes });
    const [, interpreter, argument = ''] =
      /^#![ \t]*([^ \t\n]+)[ \t]*([^\n]*)/.exec(bytes.toString('latin1')) ?? [];
    if (interpreter !== undefined) return { format: 'fine', starter: interpreterOf(interpreter, argument) };
    return process.platform === 'linux' ? await elfOf(file, bytes) : { format: 'fine' };
  } finally {
    await file.close();
  }
}

/** Linux gives all that follows as one argument; `env -S` splits it. Source: execve(2), env(1). */
function interpreterOf(path: string, argument: string): Starter {
  const split = /^(-S|--split-string=?)\s*/.exec(argument)?.[0] ?? '';
  const words = split === '' ? [argument] : argument.slice(split.length).split(/[ \t]+/);
  const sought = words.find((word) => !/^\w+=/.test(word)) ?? '';
  const isFound = !/(^|\/)env$/.test(path) || sought === '' || sought.startsWith('-');
  return { kind: 'interpreter', path, ...(isFound ? {} : { sought }) };
}

async function elfOf(file: FileHandle, bytes: Buffer): Promise<ProgramHead> {
  const head = parseElfHead(bytes.subarray(0, elfHeadBytes));
  if (head === undefined) return { format: 'unknown' };
  if (machines.get(process.arch)?.includes(head.machine) !== true) return { format: 'foreign' };
  const span = loaderSpan(head, await partOf(file, head.table));
  if (span === undefined) return { format: 'fine' };
  const path = (await partOf(file, span)).toString('latin1').replace(/\0[\s\S]*/, '');
  return { format: 'fine', starter: { kind: 'loader', path } };
}

const firstBytes = 256;
// More than Linux takes: program headers of a page, and a path of 4 KiB.
const mostBytes = 64 * 1024;

async function partOf(file: FileHandle, { offset, size }: Span): Promise<Buffer> {
  const length = Math.min(size, mostBytes);
  if (!Number.isSafeInteger(offset)) return Buffer.alloc(0);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
  return buffer.subarray(0, bytesRead);
}

// Linux follows four interpreters of interpreters. Source: execve(2), "Interpreter scripts".
const mostStarters = 5;

/** What a starter lacks, in words that follow the name of what it is to start; undefined where it lacks nothing. */
export async function lackOf(
  { kind, path, sought }: Starter,
  other?: AgentUser,
  left = mostStarters,
): Promise<{ message: string; hint: string } | undefined> {
  // Relative to the working directory of a hook.
  const at = resolve('/', path);
  if ((await fileKind(at)) !== 'file') return missing(kind, path);
  const refusal = await runRefusal(at, other);
  if (refusal !== undefined) {
    const { message, hint = 'look at its rights' } = refusal;
    return { message: `cannot be started: its ${kind} ${message}`, hint };
  }
  const { starter } = await headOf(at);
  for (const next of left === 0 ? [] : [starter, await soughtBy(sought)]) {
    if (next === 'nowhere') return nowhere(path, sought);
    const lack = next && (await lackOf(next, other, left - 1));
    if (lack !== undefined) return { ...lack, message: `has the ${kind} ${path}, which ${lack.message}` };
  }
  return undefined;
}

async function soughtBy(program: string | undefined): Promise<Starter | 'nowhere' | undefined> {
  if (program === undefined) return undefined;
  const path = program.includes('/') ? program : await onPath(program);
  return path === undefined ? 'nowhere' : { kind: 'interpreter', path };
}

/** Where a program without a slash is found, as the agent looks for it. */
export async function onPath(program: string): Promise<string | undefined> {
  return (await firstOn(searchPath(), program)) ?? (await firstOn(defaultSearchPath, program));
}

/** Where it is looked for first. */
export function searchPath(): string {
  return process.env['PATH'] ?? defaultSearchPath;
}

/** Without right or program a directory is passed over, as execvp(3) does. */
export async function firstOn(path: string, program: string): Promise<string | undefined> {
  for (const directory of path.split(':')) {
    const candidate = join(directory === '' ? '/' : directory, program);
    if ((await fileKind(candidate)) === 'file' && (await runRefusal(candidate)) === undefined)
      return candidate;
  }
  return undefined;
}

function nowhere(path: string, sought: string | undefined): { message: string; hint: string } {
  const message = `has the interpreter ${path}, which finds no ${JSON.stringify(sought)} on PATH (${searchPath()})`;
  return sought?.endsWith('\r') === true
    ? { message, hint: windowsHint }
    : { message, hint: 'install that, or name the path of another in its first line (#!)' };
}

const windowsHint = 'its lines end as on Windows: write it with line feeds alone';

function missing(kind: Starter['kind'], path: string): { message: string; hint: string } {
  const message = `names ${kind === 'loader' ? 'a loader' : 'an interpreter'} that is not there: ${JSON.stringify(path)}`;
  if (kind === 'loader') {
    const hint =
      'it is built for another C library: take the build for that of this device (glibc or musl), or a static one';
    return { message, hint };
  }
  return path.endsWith('\r')
    ? { message, hint: windowsHint }
    : { message, hint: 'correct its first line (#!), or install what it names' };
}
