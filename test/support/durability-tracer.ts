/**
 * Runs a program under ptrace (Linux), writes down what it does to the files below some directories, and kills it right
 * before one of these system calls. All threads are counted as one, which strace's injection does not do.
 *
 *   bun durability-tracer.ts '{"roots":["/dir"],"log":"/file","dataBytes":0}' PROGRAM ARGUMENT...
 *
 * Exits as the program did, 137 when it was killed.
 */
import { dlopen, FFIType, ptr } from 'bun:ffi';
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  writeFileSync,
} from 'node:fs';
import { resolve } from 'node:path';
import * as v from 'valibot';
import { type Call, callOf, stepOf, type TracedCall } from './durability-syscalls.ts';

const jobSchema = v.object({
  /** Absolute paths; calls on what is below them count. */
  roots: v.array(v.string()),
  /** Gets one JSON line for each call, in the order in which they ended. */
  log: v.string(),
  /** The step before which all ends when it comes for the nth time, from 1; without it the program runs to its end. */
  killBefore: v.optional(v.object({ step: v.string(), nth: v.number() })),
  /** So many bytes of each write are logged. */
  dataBytes: v.number(),
});

export type TraceJob = v.InferOutput<typeof jobSchema>;

// linux/ptrace.h, linux/wait.h
const PTRACE = { SYSCALL: 24, SEIZE: 0x4206, GET_SYSCALL_INFO: 0x420e };
const OPTIONS = {
  TRACESYSGOOD: 1,
  TRACEFORK: 2,
  TRACEVFORK: 4,
  TRACECLONE: 8,
  TRACEEXEC: 16,
  EXITKILL: 0x100000,
};
const ENTRY = 1;
const EXIT = 2;
const SIGTRAP = 5;
const WALL = 0x40000000;

const { i32, i64, ptr: pointer } = FFIType;
const libc = dlopen('libc.so.6', {
  ptrace: { args: [i64, i64, i64, i64], returns: i64 },
  waitpid: { args: [i32, pointer, i32], returns: i32 },
}).symbols;

class Tracer {
  readonly #job: TraceJob;
  readonly #pid: number;
  /** The call that each thread is in. */
  readonly #inside = new Map<number, Call & { after: number }>();
  /** TCP port that a socket, by its name in /proc, is connected to. */
  readonly #ports = new Map<string, number>();
  readonly #info = Buffer.alloc(88);
  #logged = 0;
  /** How often the step has come before which the program is killed. */
  #count = 0;

  constructor(job: TraceJob, pid: number) {
    this.#job = job;
    this.#pid = pid;
  }

  /** Traces until the program has ended. @returns its exit code, 137 when it was killed */
  run(): number {
    const status = new Int32Array(1);
    for (;;) {
      const tid = libc.waitpid(-1, ptr(status), WALL);
      const [word = 0] = status;
      if (tid < 0) return 1;
      const ended = (word & 0x7f) !== 0x7f;
      if (ended && tid === this.#pid) return (word & 0x7f) === 0 ? word >> 8 : 128 + (word & 0x7f);
      if (!ended) this.#stopped(tid, word);
    }
  }

  #stopped(tid: number, word: number): void {
    const signal = (word >> 8) & 0xff;
    const isCall = signal === (SIGTRAP | 0x80);
    if (isCall) this.#call(tid);
    const isEvent = word >> 16 !== 0;
    libc.ptrace(PTRACE.SYSCALL, tid, 0, isCall || isEvent ? 0 : signal);
  }

  #call(tid: number): void {
    const info = this.#info;
    libc.ptrace(PTRACE.GET_SYSCALL_INFO, tid, info.length, ptr(info));
    const kind = info.readUInt8(0);
    if (kind === ENTRY) this.#enter(tid);
    if (kind !== EXIT) return;
    const call = this.#inside.get(tid);
    this.#inside.delete(tid);
    if (call !== undefined) this.#log({ ...call, result: Number(info.readBigInt64LE(24)) });
  }

  #enter(tid: number): void {
    const args = [0, 1, 2, 3, 4, 5].map((index) => Number(this.#info.readBigInt64LE(32 + 8 * index)));
    const call = callOf(Number(this.#info.readBigUInt64LE(24)), args, {
      text: (address) => memoryOf(tid, address, 4096).toString('utf8').split('\0', 1)[0] ?? '',
      bytes: (address, length) => memoryOf(tid, address, length),
      dataBytes: this.#job.dataBytes,
      link: (name) => linkOf(tid, name),
    });
    if (call === undefined) return;
    if (call.call === 'connect') this.#ports.set(call.path, call.port ?? 0);
    const port = this.#ports.get(call.path);
    const isSend = port !== undefined && call.call === 'send';
    const isOurs = [call.path, call.to ?? ''].some((path) => this.#isBelow(path));
    if (isSend || isOurs)
      this.#inside.set(tid, { ...call, ...(isSend ? { port } : {}), after: this.#logged });
    if (!isOurs) return;
    if (this.#isLast(call)) process.kill(tid, 'SIGKILL');
  }

  #isLast(call: Call): boolean {
    const { killBefore } = this.#job;
    if (stepOf(call) !== killBefore?.step) return false;
    this.#count += 1;
    return this.#count === killBefore.nth;
  }

  #isBelow(path: string): boolean {
    return this.#job.roots.some((root) => path === root || path.startsWith(`${root}/`));
  }

  #log(call: TracedCall): void {
    this.#logged += 1;
    appendFileSync(this.#job.log, `${JSON.stringify(call)}\n`);
  }
}

function linkOf(tid: number, name: string): string {
  try {
    return readlinkSync(`/proc/${tid}/${name}`);
  } catch {
    return '';
  }
}

/** What lies in the memory of a stopped thread, as far as it is mapped. */
function memoryOf(tid: number, address: number, length: number): Buffer {
  const memory = openSync(`/proc/${tid}/mem`, 'r');
  try {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(memory, bytes, 0, length, address));
  } finally {
    closeSync(memory);
  }
}

/** Starts a program that is stopped until it is traced. */
function startStopped(program: string[]): number {
  const { pid } = spawn('/bin/sh', ['-c', 'kill -STOP $$; exec "$@"', 'sh', ...program], {
    stdio: 'inherit',
  });
  if (pid === undefined) throw new Error(`cannot start ${program[0]}`);
  const isStopped = () => / T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  const cell = new Int32Array(new SharedArrayBuffer(4));
  while (!isStopped()) Atomics.wait(cell, 0, 0, 1);
  return pid;
}

/** Traces a stopped process from here on. It never outlives the tracer. */
function trace(job: TraceJob, pid: number): number {
  try {
    const options = Object.values(OPTIONS).reduce((all, one) => all | one);
    if (libc.ptrace(PTRACE.SEIZE, pid, 0, options) !== 0n) throw new Error('ptrace is not allowed here');
    process.kill(pid, 'SIGCONT');
    return new Tracer(job, pid).run();
  } catch (error) {
    process.kill(pid, 'SIGKILL');
    throw error;
  }
}

if (import.meta.main) {
  const [text = '', ...program] = process.argv.slice(2);
  const job = v.parse(jobSchema, JSON.parse(text));
  job.roots = job.roots.map((root) => resolve(root));
  writeFileSync(job.log, '');
  process.exit(trace(job, startStopped(program)));
}
