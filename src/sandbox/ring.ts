const maxEntries = 1000;

/** Appends to a list that keeps the newest 1000 entries. */
export function remember<T>(entries: T[], entry: T): void {
  entries.push(entry);
  if (entries.length > maxEntries) entries.shift();
}
