/** How an object is cut into ranges that are fetched at the same time. Bytes. */

export interface Span {
  start: number;
  /** Not in it. */
  end: number;
}

const mebibyte = 1024 * 1024;

/** Below this, one request is quicker than several. */
export const leastParallelBytes = 16 * mebibyte;
const mostBytes = 4 * mebibyte;
/** Of a range that comes alone. */
const mostAloneBytes = 64 * mebibyte;
const leastBytes = 2 * mebibyte;
const firstBytes = mebibyte;

/** The first ranges of an object: short ones, so that little has run ahead if the process ends soon. */
export function firstSpans(size: number, count: number): Span[] {
  const spans: Span[] = [];
  for (let start = 0; spans.length < count && start < size; ) {
    const end = Math.min(size, start + firstBytes);
    spans.push({ start, end });
    start = end;
  }
  return spans;
}

/** The next range: towards the end ever shorter ones, so that all connections end together. */
export function nextSpan(start: number, size: number, connections: number, limit = size): Span {
  const share = Math.ceil((size - start) / connections);
  const most = connections === 1 ? mostAloneBytes : mostBytes;
  const bytes = Math.max(leastBytes, Math.min(most, share));
  return { start, end: Math.min(limit, start + bytes) };
}
