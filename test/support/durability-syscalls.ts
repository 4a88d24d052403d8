/** The system calls that change files, and those that tell somebody: their numbers, and what their arguments mean. */
import { constants } from 'node:fs';
import { resolve } from 'node:path';
import * as v from 'valibot';

const callSchema = v.object({
  /** Plain name: `open` also stands for `openat`, `rename` for `renameat2`, and so on. */
  call: v.string(),
  /** The file, or the socket as /proc names it. */
  path: v.string(),
  /** The second name, of rename and link; what a copy writes. */
  to: v.optional(v.string()),
  flags: v.optional(v.number()),
  mode: v.optional(v.number()),
  /** Of chown. */
  uid: v.optional(v.number()),
  gid: v.optional(v.number()),
  /** Bytes of a write or send; the new length of a truncate. */
  length: v.optional(v.number()),
  offset: v.optional(v.number()),
  /** What was written, in base64, as far as it is kept. */
  data: v.optional(v.string()),
  /** TCP port of the other side, of connect and send. */
  port: v.optional(v.number()),
});
const tracedCallSchema = v.object({
  ...callSchema.entries,
  /** What the call returned; negative is an errno. */
  result: v.number(),
  /** How many calls of the log had ended when this one began. */
  after: v.number(),
});

/** A system call that is about to be made. */
export type Call = v.InferOutput<typeof callSchema>;
/** One that was made. */
export type TracedCall = v.InferOutput<typeof tracedCallSchema>;

/** What a call does to what, without what differs from run to run: the process id in the name of a socket. */
export function stepOf({ call, path }: Call): string {
  return `${call} ${path.replace(/\.sock\.\d+$/, '.sock.#')}`;
}

/** Reads the log of a tracer: one JSON line for each call. */
export function parseCalls(log: string): TracedCall[] {
  const lines = log.split('\n').filter((line) => line !== '');
  return lines.map((line) => v.parse(tracedCallSchema, JSON.parse(line)));
}

/** The stopped process. */
export interface Stopped {
  text: (address: number) => string;
  bytes: (address: number, length: number) => Buffer;
  /** So many bytes of each write are kept. */
  dataBytes: number;
  /** Where a link in its directory in /proc leads to; '' for nowhere. */
  link: (name: string) => string;
}

type Args = readonly number[];
type Reader = (args: Args, stopped: Stopped) => Omit<Call, 'call'> | undefined;

const AT_FDCWD = -100;
const AF_INET = 2;

function at(stopped: Stopped, directory: number, address: number): string {
  // The kernel reads 32 bits of it.
  const fd = directory | 0;
  return resolve(stopped.link(fd === AT_FDCWD ? 'cwd' : `fd/${fd}`), stopped.text(address));
}

function fd(stopped: Stopped, number: number): string {
  return stopped.link(`fd/${number | 0}`);
}

function arg(args: Args, index: number): number {
  return args[index] ?? 0;
}

/** Names with a path in the argument of this index, relative to the directory before it if there is one. */
function pathAt(args: Args, stopped: Stopped, index: number): string {
  return at(stopped, index === 0 ? AT_FDCWD : arg(args, index - 1), arg(args, index));
}

const onPath =
  (index: number): Reader =>
  (args, stopped) => ({ path: pathAt(args, stopped, index) });
const onFd: Reader = (args, stopped) => ({ path: fd(stopped, arg(args, 0)) });

const changing = constants.O_WRONLY | constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC;

const opened =
  (index: number): Reader =>
  (args, stopped) => {
    const flags = arg(args, index + 1);
    if ((flags & changing) === 0) return undefined;
    return { path: pathAt(args, stopped, index), flags, mode: arg(args, index + 2) };
  };

const withMode =
  (index: number): Reader =>
  (args, stopped) => ({ path: pathAt(args, stopped, index), mode: arg(args, index + 1) });

const twoPaths: Reader = (args, stopped) => ({
  path: pathAt(args, stopped, 0),
  to: at(stopped, AT_FDCWD, arg(args, 1)),
});

const twoPathsAt: Reader = (args, stopped) => ({
  path: pathAt(args, stopped, 1),
  to: pathAt(args, stopped, 3),
});

const written = (args: Args, stopped: Stopped) => ({
  path: fd(stopped, arg(args, 0)),
  length: arg(args, 2),
  data: stopped.bytes(arg(args, 1), Math.min(arg(args, 2), stopped.dataBytes)).toString('base64'),
});

const writtenAt: Reader = (args, stopped) => ({ ...written(args, stopped), offset: arg(args, 3) });

const cut: Reader = (args, stopped) => ({ path: fd(stopped, arg(args, 0)), length: arg(args, 1) });

/** Numbers of the new owner and group from the argument of this index on. */
const owned = (args: Args, index: number) => ({ uid: arg(args, index) | 0, gid: arg(args, index + 1) | 0 });

const withOwner =
  (index: number): Reader =>
  (args, stopped) => ({ path: pathAt(args, stopped, index), ...owned(args, index + 1) });

const fileOwner: Reader = (args, stopped) => ({ path: fd(stopped, arg(args, 0)), ...owned(args, 1) });

const fileMode: Reader = (args, stopped) => ({ path: fd(stopped, arg(args, 0)), mode: arg(args, 1) });

/** Copies of whole files: what is copied from is `path`, what is written `to`. */
const copied =
  (from: number, to: number): Reader =>
  (args, stopped) => ({ path: fd(stopped, arg(args, from)), to: fd(stopped, arg(args, to)) });

const sent: Reader = (args, stopped) => ({ path: fd(stopped, arg(args, 0)), length: arg(args, 2) });

const connected: Reader = (args, stopped) => {
  const address = stopped.bytes(arg(args, 1), 4);
  const port = address.readUInt16LE(0) === AF_INET ? address.readUInt16BE(2) : 0;
  return { path: fd(stopped, arg(args, 0)), port };
};

const none = -1;

/** Name, number on x86-64, number on arm64 (asm/unistd.h), how the arguments are read. */
const table: ReadonlyArray<readonly [name: string, x64: number, arm64: number, read: Reader]> = [
  ['open', 2, none, opened(0)],
  ['open', 257, 56, opened(1)],
  ['open', 85, none, onPath(0)],
  ['write', 1, 64, written],
  ['write', 18, 68, writtenAt],
  ['writev', 20, 66, onFd],
  ['writev', 296, 70, onFd],
  ['sync', 74, 82, onFd],
  ['datasync', 75, 83, onFd],
  ['truncate', 77, 46, cut],
  ['rename', 82, none, twoPaths],
  ['rename', 264, 38, twoPathsAt],
  ['rename', 316, 276, twoPathsAt],
  ['link', 86, none, twoPaths],
  ['link', 265, 37, twoPathsAt],
  ['symlink', 88, none, twoPaths],
  ['unlink', 87, none, onPath(0)],
  ['unlink', 263, 35, onPath(1)],
  ['rmdir', 84, none, onPath(0)],
  ['mkdir', 83, none, withMode(0)],
  ['mkdir', 258, 34, withMode(1)],
  ['chmod', 90, none, withMode(0)],
  ['chmod', 268, 53, withMode(1)],
  ['chmod', 91, 52, fileMode],
  ['chown', 92, none, withOwner(0)],
  ['chown', 260, 54, withOwner(1)],
  ['chown', 93, 55, fileOwner],
  ['fallocate', 285, 47, onFd],
  ['copy', 326, 285, copied(0, 2)],
  ['copy', 40, 71, copied(1, 0)],
  ['clone', 16, 29, copied(2, 0)],
  ['connect', 42, 203, connected],
  ['send', 44, 206, sent],
];

/** FICLONE, the one ioctl that changes a file (linux/fs.h). */
const FICLONE = 0x40049409;
const numbered = new Map(
  table.map(([name, x64, arm64, read]) => [process.arch === 'arm64' ? arm64 : x64, { name, read }]),
);

/** Reads the call that a process is about to make; undefined for one that changes no file and tells nobody. */
export function callOf(number: number, args: Args, stopped: Stopped): Call | undefined {
  const found = numbered.get(number);
  if (found === undefined) return undefined;
  if (found.name === 'clone' && args[1] !== FICLONE) return undefined;
  const read = found.read(args, stopped);
  return read && { call: found.name, ...read };
}
