/**
 * A disk that forgets. What was not synced may have reached it or not, whole or torn, in any order: a power cut leaves
 * one of many disks, and this model tells all that a path may then be.
 *
 * POSIX promises no more: fsync of a file brings its bytes, mode and owner, fdatasync its bytes, and only fsync of a
 * directory brings the names in it. A rename within a directory happens or does not.
 */
import { constants, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { TracedCall } from './durability-syscalls.ts';

/** Who may do what with a file. */
export interface Access {
  mode: number;
  uid: number;
  gid: number;
}

/** What a file is after a power cut. */
export interface Image extends Access {
  bytes: Buffer;
}

/** Whose the files are that this process, and so the agent, makes. */
export const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };

type Change = { kind: 'write'; offset: number; bytes: Buffer } | { kind: 'truncate'; length: number };

class FileNode {
  /** What has reached the disk for certain. */
  bytes: Buffer;
  /** As programs see it. */
  #access: Access;
  /** What has reached the disk, or may have. */
  accesses: Access[];
  changes: Change[] = [];
  /** Where the next write without an offset goes. */
  position = 0;

  constructor({ bytes, mode, uid, gid }: Image) {
    this.bytes = bytes;
    this.#access = { mode, uid, gid };
    this.accesses = [this.#access];
  }

  /** Changes mode or owner. */
  grant(change: Partial<Access>): void {
    this.#access = { ...this.#access, ...change };
    this.accesses.push(this.#access);
  }

  /** As programs see it. */
  get current(): Buffer {
    return this.changes.reduce(changed, this.bytes);
  }

  sync(): void {
    this.datasync();
    this.accesses = [this.#access];
  }

  datasync(): void {
    this.bytes = this.current;
    this.changes = [];
  }

  /** What may be left: each change lost, alone or with all after it; all as zeros; the last one torn. */
  images(): Image[] {
    const { changes } = this;
    const orders = changes.flatMap((_, index) => [changes.slice(0, index), changes.toSpliced(index, 1)]);
    const torn = changes.slice(-1).map((last) => half(last));
    orders.push(changes, changes.map(zeroed), [...changes.slice(0, -1), ...torn]);
    const contents = orders.map((order) => order.reduce(changed, this.bytes));
    return contents.flatMap((bytes) => this.accesses.map((access) => ({ bytes, ...access })));
  }
}

function changed(bytes: Buffer, change: Change): Buffer {
  const end = change.kind === 'write' ? change.offset + change.bytes.length : change.length;
  const result = Buffer.alloc(change.kind === 'write' ? Math.max(bytes.length, end) : end);
  bytes.copy(result);
  if (change.kind === 'write') change.bytes.copy(result, change.offset);
  return result;
}

function zeroed(change: Change): Change {
  return change.kind === 'write' ? { ...change, bytes: Buffer.alloc(change.bytes.length) } : change;
}

function half(change: Change): Change {
  if (change.kind !== 'write') return change;
  return { ...change, bytes: change.bytes.subarray(0, change.bytes.length / 2) };
}

type Node = FileNode | DirectoryNode;

/** Names that come and go at once. */
interface Entry {
  add?: [name: string, node: Node];
  drop?: string;
}

const maxPending = 12;

class DirectoryNode {
  names = new Map<string, Node>();
  changes: Entry[] = [];

  get current(): Map<string, Node> {
    return entered(this.names, this.changes);
  }

  sync(): void {
    this.names = this.current;
    this.changes = [];
  }

  /** What a name may stand for: any of the pending changes may be lost. */
  possible(name: string): Set<Node | undefined> {
    const { changes } = this;
    if (changes.length > maxPending)
      throw new Error(`${changes.length} changes of a directory are not synced`);
    const found = new Set<Node | undefined>();
    for (let subset = 0; subset < 2 ** changes.length; subset += 1) {
      const kept = changes.filter((_, index) => (subset & (1 << index)) !== 0);
      found.add(entered(this.names, kept).get(name));
    }
    return found;
  }
}

function entered(names: Map<string, Node>, changes: Entry[]): Map<string, Node> {
  const result = new Map(names);
  for (const { add, drop } of changes) {
    if (drop !== undefined) result.delete(drop);
    if (add !== undefined) result.set(...add);
  }
  return result;
}

/** A file, or a directory without an image, as it stands on a real disk. */
export interface Found {
  path: string;
  image?: Image;
}

/** All that is below a directory, the directory itself first; sockets are left out. */
export function snapshot(directory: string): Found[] {
  const below = readdirSync(directory).flatMap((name): Found[] => {
    const path = join(directory, name);
    const stat = lstatSync(path);
    if (stat.isDirectory()) return snapshot(path);
    const { mode, uid, gid } = stat;
    return stat.isFile()
      ? [{ path, image: { bytes: readFileSync(path), mode: mode & 0o7777, uid, gid } }]
      : [];
  });
  return [{ path: directory }, ...below];
}

/** Some directories, with what is below them; all of it is safe at first. */
export class Disk {
  readonly #roots = new Map<string, DirectoryNode>();

  constructor(found: readonly Found[]) {
    for (const { path, image } of found) {
      const node = image === undefined ? new DirectoryNode() : new FileNode(image);
      const parent = this.#find(dirname(path));
      if (parent instanceof DirectoryNode) parent.names.set(basename(path), node);
      else if (node instanceof DirectoryNode) this.#roots.set(path, node);
    }
  }

  /** All that a file may be after a power cut at this moment; undefined stands for no file. */
  afterPowerCut(path: string): Array<Image | undefined> {
    const nodes = [...this.#possible(path)];
    return nodes.flatMap((node) => (node instanceof FileNode ? node.images() : [undefined]));
  }

  #possible(path: string): Set<Node | undefined> {
    const root = this.#roots.get(path);
    if (root !== undefined) return new Set([root]);
    if (path === dirname(path)) return new Set([undefined]);
    const found = new Set<Node | undefined>();
    for (const parent of this.#possible(dirname(path))) {
      const names = parent instanceof DirectoryNode ? parent.possible(basename(path)) : [undefined];
      for (const node of names) found.add(node);
    }
    return found;
  }

  /** Does what a call did. Calls that failed, and files that the model does not know (sockets), change nothing. */
  apply({ call, path, to = '', ...facts }: TracedCall): void {
    if (facts.result < 0) return;
    const node = this.#find(path);
    if (call === 'open') this.#open(path, node, facts.flags ?? 0, facts.mode ?? 0);
    if (call === 'mkdir') this.#enter(path, { add: [basename(path), new DirectoryNode()] });
    if (node === undefined) return;
    if (call === 'unlink' || call === 'rmdir') this.#enter(path, { drop: basename(path) });
    if (call === 'link') this.#enter(to, { add: [basename(to), node] });
    if (call === 'rename') this.#rename(path, to, node);
    if (call === 'sync') node.sync();
    if (node instanceof FileNode) this.#change(node, call, to, facts);
  }

  #change(
    node: FileNode,
    call: string,
    to: string,
    {
      data = '',
      offset,
      length = 0,
      mode = 0,
      uid = -1,
      gid = -1,
      result,
    }: Omit<TracedCall, 'call' | 'path'>,
  ): void {
    if (call === 'datasync') node.datasync();
    if (call === 'chmod') node.grant({ mode });
    // -1 leaves what is.
    if (call === 'chown') node.grant({ ...(uid < 0 ? {} : { uid }), ...(gid < 0 ? {} : { gid }) });
    if (call === 'truncate') node.changes.push({ kind: 'truncate', length });
    if (call === 'write') write(node, Buffer.from(data, 'base64').subarray(0, result), offset);
    const copy = this.#find(to);
    if (call === 'clone' && copy instanceof FileNode) write(copy, node.current, 0);
    if (call === 'copy' && copy instanceof FileNode) {
      write(copy, node.current.subarray(copy.position, copy.position + result));
    }
  }

  #open(path: string, node: Node | undefined, flags: number, mode: number): void {
    if (node === undefined) {
      this.#enter(path, { add: [basename(path), new FileNode({ bytes: Buffer.alloc(0), mode, ...own })] });
    } else if (node instanceof FileNode) {
      node.position = 0;
      if ((flags & constants.O_TRUNC) !== 0) node.changes.push({ kind: 'truncate', length: 0 });
    }
  }

  /** Between two names of one file rename(2) does nothing. */
  #rename(from: string, to: string, node: Node): void {
    if (this.#find(to) === node) return;
    const add: Entry = { add: [basename(to), node] };
    if (dirname(from) === dirname(to)) {
      this.#enter(to, { ...add, drop: basename(from) });
    } else {
      this.#enter(to, add);
      this.#enter(from, { drop: basename(from) });
    }
  }

  #enter(path: string, entry: Entry): void {
    const parent = this.#find(dirname(path));
    if (parent instanceof DirectoryNode) parent.changes.push(entry);
  }

  #find(path: string): Node | undefined {
    const root = this.#roots.get(path);
    if (root !== undefined || path === dirname(path)) return root;
    const parent = this.#find(dirname(path));
    return parent instanceof DirectoryNode ? parent.current.get(basename(path)) : undefined;
  }
}

function write(node: FileNode, bytes: Buffer, offset?: number): void {
  node.changes.push({ kind: 'write', offset: offset ?? node.position, bytes });
  if (offset === undefined) node.position += bytes.length;
}
