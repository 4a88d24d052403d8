import type { IncomingHttpHeaders } from 'node:http';
import type { Faults } from '../faults.ts';
import type { Reply } from './operation.ts';

/** The headers as a server reads them that ignores a condition or a range, or sends another range. */
export function misread(asked: IncomingHttpHeaders, faults: Faults): IncomingHttpHeaders {
  const { 'if-match': condition, ...unconditional } = asked;
  const isIgnored = condition !== undefined && faults.take('s3-ignore-if-match') !== undefined;
  const headers = isIgnored ? unconditional : asked;
  const { range, ...rest } = headers;
  if (range === undefined) return headers;
  if (faults.take('s3-ignore-range') !== undefined) return rest;
  const bytes = faults.take('s3-wrong-range') ?? 0;
  return { ...rest, range: range.replace(/\d+/, (first) => String(Math.max(0, Number(first) - bytes))) };
}

/** The answer of a server that knows no conditions, and so no ETags. */
export function withoutETag(reply: Reply): Reply {
  const { ETag: _, ...headers } = reply.headers ?? {};
  return { ...reply, headers };
}
