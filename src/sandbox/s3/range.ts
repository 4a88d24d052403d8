import { S3Error } from './errors.ts';

/** Bytes `start` to `end`, both of them included. */
export interface ByteRange {
  start: number;
  end: number;
}

/**
 * Reads a Range header for an object of that size: undefined when S3 would ignore it and send everything (several
 * ranges, other units, the end before the start). Throws InvalidRange when no byte of it exists.
 */
export function parseRange(header: string | undefined, size: number): ByteRange | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (match === null) return undefined;
  const [, from = '', to = ''] = match;
  if (from === '' && to === '') return undefined;
  if (from === '') {
    if (Number(to) === 0 || size === 0) throw invalidRange(header, size);
    return { start: Math.max(0, size - Number(to)), end: size - 1 };
  }
  const start = Number(from);
  const end = to === '' ? Number.POSITIVE_INFINITY : Number(to);
  if (end < start) return undefined;
  if (start >= size) throw invalidRange(header, size);
  return { start, end: Math.min(end, size - 1) };
}

function invalidRange(header: string | undefined, size: number): S3Error {
  return new S3Error('InvalidRange', {
    details: { RangeRequested: header ?? '', ActualObjectSize: size },
  });
}
