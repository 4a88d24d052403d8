/** What an executable asks of the machine, read from the file. Layouts: System V ABI chapter 5, LSB symbol versioning. */
import { readFile } from 'node:fs/promises';

export interface ElfNeeds {
  /** The dynamic loader. */
  interpreter: string;
  /** Shared libraries, in the file's order. */
  libraries: string[];
  /** Versions of symbols that the libraries must have, such as GLIBC_2.17. */
  versions: string[];
}

const segmentType = { load: 1, dynamic: 2, interpreter: 3 };
const tagOf = { needed: 1, strings: 5, versionNeeds: 0x6ffffffe, versionNeedsCount: 0x6fffffff };

interface Segment {
  type: number;
  offset: number;
  address: number;
  bytes: number;
}

/** Reads a 64-bit little-endian ELF file. */
export async function readElfNeeds(path: string): Promise<ElfNeeds> {
  const file = await readFile(path);
  if (file.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') throw new Error(`${path} is no 64-bit ELF file`);
  const segments = segmentsOf(file);
  const tags = dynamicTags(file, segment(segments, segmentType.dynamic));
  const first = (tag: number) => tags.find(([key]) => key === tag)?.[1];
  const strings = offsetOf(segments, first(tagOf.strings) ?? 0);
  const needs = first(tagOf.versionNeeds);
  const { offset } = segment(segments, segmentType.interpreter);
  return {
    interpreter: textAt(file, offset),
    libraries: tags.filter(([key]) => key === tagOf.needed).map(([, at]) => textAt(file, strings + at)),
    versions:
      needs === undefined
        ? []
        : versionsOf(file, offsetOf(segments, needs), first(tagOf.versionNeedsCount) ?? 0, strings),
  };
}

function segmentsOf(file: Buffer): Segment[] {
  const start = number64(file, 32);
  return Array.from({ length: file.readUInt16LE(56) }, (_, index) => {
    const at = start + index * file.readUInt16LE(54);
    return {
      type: file.readUInt32LE(at),
      offset: number64(file, at + 8),
      address: number64(file, at + 16),
      bytes: number64(file, at + 32),
    };
  });
}

function segment(segments: Segment[], wanted: number): Segment {
  const found = segments.find(({ type }) => type === wanted);
  if (found === undefined) throw new Error(`no segment of type ${wanted}`);
  return found;
}

/** Where in the file the byte lies that will be at this address. */
function offsetOf(segments: Segment[], wanted: number): number {
  const found = segments.find(
    ({ type, address, bytes }) => type === segmentType.load && wanted >= address && wanted < address + bytes,
  );
  if (found === undefined) throw new Error(`nothing is loaded at ${wanted}`);
  return found.offset + wanted - found.address;
}

function dynamicTags(file: Buffer, { offset, bytes }: Segment): [tag: number, value: number][] {
  return Array.from({ length: bytes / 16 }, (_, index) => {
    const at = offset + index * 16;
    return [number64(file, at), number64(file, at + 8)];
  });
}

/** Each library's record is followed by a chain of the versions that are needed of it. */
function versionsOf(file: Buffer, start: number, count: number, strings: number): string[] {
  const versions: string[] = [];
  let library = start;
  for (let index = 0; index < count; index += 1) {
    let version = library + file.readUInt32LE(library + 8);
    for (let left = file.readUInt16LE(library + 2); left > 0; left -= 1) {
      versions.push(textAt(file, strings + file.readUInt32LE(version + 8)));
      version += file.readUInt32LE(version + 12);
    }
    library += file.readUInt32LE(library + 12);
  }
  return versions;
}

function textAt(file: Buffer, offset: number): string {
  return file.toString('utf8', offset, file.indexOf(0, offset));
}

function number64(file: Buffer, offset: number): number {
  return Number(file.readBigUInt64LE(offset));
}
