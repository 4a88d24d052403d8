/** How much a bench measures: what its figures need, or with `--quick` the least that goes through each part of it. */
import { join } from 'node:path';

/** With it a bench takes seconds, and its figures say nothing. */
export const quick = process.argv.includes('--quick');

/** How often, how long or how much: as the figures need it, or the least. */
export function extent<T>(usual: T, least: T): T {
  return quick ? least : usual;
}

/** Where results go; those of a quick run never replace measured ones. */
export function resultPath(bench: string, ending: string): string {
  return join('dist', `bench-${bench}${quick ? '-quick' : ''}.${ending}`);
}
