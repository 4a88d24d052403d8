/** What a list request asks for. `after` is the last key or common prefix of the page before. */
export interface ListQuery {
  prefix: string;
  delimiter: string;
  maxKeys: number;
}

export interface ListPage<Entry> {
  entries: Entry[];
  commonPrefixes: string[];
  truncated: boolean;
  /** The last entry of the page, or the last common prefix, whichever is later: where the next page goes on. */
  last: { entry?: Entry; prefix?: string };
}

/**
 * One page of a listing: entries (sorted by key) that begin with the prefix, those with the delimiter further on rolled
 * up into common prefixes, which count as one key each. `seen` tells what earlier pages had.
 * Source: API Reference, ListObjectsV2.
 */
export function listPage<Entry extends { key: string }>(
  sorted: Iterable<Entry>,
  query: ListQuery,
  seen: (entry: Entry, commonPrefix: string | undefined) => boolean,
): ListPage<Entry> {
  const page: ListPage<Entry> = { entries: [], commonPrefixes: [], truncated: false, last: {} };
  if (query.maxKeys === 0) return page;
  for (const entry of sorted) {
    if (!entry.key.startsWith(query.prefix)) continue;
    const commonPrefix = commonPrefixOf(entry.key, query);
    if (seen(entry, commonPrefix)) continue;
    if (commonPrefix !== undefined && commonPrefix === page.commonPrefixes.at(-1)) continue;
    if (page.entries.length + page.commonPrefixes.length === query.maxKeys) {
      page.truncated = true;
      return page;
    }
    if (commonPrefix === undefined) page.entries.push(entry);
    else page.commonPrefixes.push(commonPrefix);
    page.last = commonPrefix === undefined ? { entry } : { prefix: commonPrefix };
  }
  return page;
}

/** The part of a key up to the first delimiter behind the prefix; undefined when there is none. */
function commonPrefixOf(key: string, { prefix, delimiter }: ListQuery): string | undefined {
  const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

/** Orders keys as S3 lists them: by the bytes of their UTF-8. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
