import { crc32 } from 'node:zlib';

/** 1 January 1980, the first day that the format knows: the time of writing must not change the bytes. */
const dosDate = (1 << 5) | 1;
/** 2.0, made on Unix, so that `mode` counts. */
const madeBy = (3 << 8) | 20;
const mode = 0o100644;
/** Names are UTF-8. */
const flags = 1 << 11;

/**
 * Packs files into a ZIP archive, as they are: compressing a few kilobytes saves nothing, and its bytes would depend
 * on the version of zlib. The same files in the same order give the same bytes. Source: PKWARE's APPNOTE, 4.3 and 4.4.
 */
export function zip(files: ReadonlyArray<{ name: string; content: Uint8Array }>): Uint8Array {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const { name, content } of files) {
    const nameBytes = Buffer.from(name);
    const common = commonHeader(content, nameBytes.length);
    const local = Buffer.concat([words([4, 0x04034b50]), common, nameBytes, content]);
    // No comment, disk 0, no internal attributes; then mode and offset.
    const tail = words([2, 0], [2, 0], [2, 0], [4, (mode << 16) >>> 0], [4, offset]);
    directory.push(Buffer.concat([words([4, 0x02014b50], [2, madeBy]), common, tail, nameBytes]));
    parts.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const count = files.length;
  const end = words([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count]);
  return Buffer.concat([...parts, central, end, words([4, central.length], [4, offset], [2, 0])]);
}

/** The fields that local header and directory share: version, flags, method 0, time, checksum, sizes, lengths. */
function commonHeader(content: Uint8Array, nameLength: number): Buffer {
  const { length } = content;
  return words(
    [2, 20],
    [2, flags],
    [2, 0],
    [2, 0],
    [2, dosDate],
    [4, crc32(content)],
    [4, length],
    [4, length],
    [2, nameLength],
    [2, 0],
  );
}

/** Little-endian numbers of 2 or 4 bytes. */
function words(...fields: ReadonlyArray<readonly [2 | 4, number]>): Buffer {
  return Buffer.concat(
    fields.map(([bytes, value]) => {
      const field = Buffer.alloc(bytes);
      field.writeUIntLE(value, 0, bytes);
      return field;
    }),
  );
}
