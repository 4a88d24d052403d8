/** What a program of Linux says of the CPU that it is for, and of the loader that starts it. Source: System V ABI, 4 and 5. */

/** A part of a file, in bytes. */
export interface Span {
  offset: number;
  size: number;
}

export interface ElfHead {
  /** e_machine */
  machine: number;
  is64: boolean;
  isLittle: boolean;
  /** All program headers. */
  table: Span;
  /** Bytes of one of them. */
  entrySize: number;
}

/** Bytes of the longer of both headers, of 64 and of 32 bits. */
export const elfHeadBytes = 64;

const magic = [0x7f, 0x45, 0x4c, 0x46];
const leastBytes = { 32: 52, 64: elfHeadBytes };
// PT_INTERP
const interpreterType = 3;

/** Reads what an ELF file begins with; undefined where it is none. */
export function parseElfHead(bytes: Uint8Array): ElfHead | undefined {
  const is64 = bytes[4] === 2;
  if (magic.some((byte, index) => bytes[index] !== byte)) return undefined;
  if (bytes.length < leastBytes[is64 ? 64 : 32]) return undefined;
  const isLittle = bytes[5] !== 2;
  const view = viewOf(bytes);
  const entrySize = view.getUint16(is64 ? 54 : 42, isLittle);
  const count = view.getUint16(is64 ? 56 : 44, isLittle);
  const offset = is64 ? Number(view.getBigUint64(32, isLittle)) : view.getUint32(28, isLittle);
  const machine = view.getUint16(18, isLittle);
  return { machine, is64, isLittle, entrySize, table: { offset, size: entrySize * count } };
}

/** Where the path of its loader stands, which ends with a zero byte; undefined for a program that needs none. */
export function loaderSpan({ is64, isLittle, entrySize }: ElfHead, table: Uint8Array): Span | undefined {
  const view = viewOf(table);
  if (entrySize < (is64 ? 56 : 32)) return undefined;
  for (let at = 0; at + entrySize <= table.length; at += entrySize) {
    if (view.getUint32(at, isLittle) !== interpreterType) continue;
    return is64
      ? {
          offset: Number(view.getBigUint64(at + 8, isLittle)),
          size: Number(view.getBigUint64(at + 32, isLittle)),
        }
      : { offset: view.getUint32(at + 4, isLittle), size: view.getUint32(at + 16, isLittle) };
  }
  return undefined;
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
