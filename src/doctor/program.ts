/** What a program begins with, and what else the system needs to start it. */
import { type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { AgentUser } from '../config/permissions.ts';
import { elfHeadBytes, loaderSpan, parseElfHead, type Span } from '../core/elf.ts';
import { fileKind } from '../io/text-file.ts';
import { runRefusal } from './rights.ts';

/** Another program, which starts this one. */
interface Starter {
  kind: 'interpreter' | 'loader';
  path: string;
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
    const interpreter = /^#![ \t]*([^ \t\n]+)/.exec(bytes.toString('latin1'))?.[1];
    if (interpreter !== undefined)
      return { format: 'fine', starter: { kind: 'interpreter', path: interpreter } };
    return process.platform === 'linux' ? await elfOf(file, bytes) : { format: 'fine' };
  } finally {
    await file.close();
  }
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
  { kind, path }: Starter,
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
  const lack = starter === undefined || left === 0 ? undefined : await lackOf(starter, other, left - 1);
  return lack && { ...lack, message: `has the ${kind} ${path}, which ${lack.message}` };
}

function missing(kind: Starter['kind'], path: string): { message: string; hint: string } {
  const message = `names ${kind === 'loader' ? 'a loader' : 'an interpreter'} that is not there: ${JSON.stringify(path)}`;
  if (kind === 'loader') {
    const hint =
      'it is built for another C library: take the build for that of this device (glibc or musl), or a static one';
    return { message, hint };
  }
  return path.endsWith('\r')
    ? { message, hint: 'its lines end as on Windows: write it with line feeds alone' }
    : { message, hint: 'correct its first line (#!), or install what it names' };
}
