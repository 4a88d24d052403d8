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
const leastBytes = mebibyte;
const firstBytes = mebibyte;

/**
 * The first ranges of an object that nothing is known of: small ones, so that each connection soon is one that is warm
 * and in use, and little is lost if the process ends; the last is of the usual length.
 */
export function firstSpans(size: number, connections: number): Span[] {
  const spans: Span[] = [];
  // Half as many again: in the end the requests for the next ranges are under way while these are received.
  const count = Math.ceil(connections * 1.5);
  for (let start = 0; spans.length < count && start < size; ) {
    const isLast = spans.length === count - 1;
    const end = isLast ? nextSpan(start, size, connections).end : Math.min(size, start + firstBytes);
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
