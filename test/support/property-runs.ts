import type { JsonValue } from '../../src/core/json.ts';

/** Runs of a property: `FC_RUNS` multiplies them, for a longer look. */
export function runs(few: number): number {
  return Math.ceil(few * Number(process.env['FC_RUNS'] ?? 1));
}

/** JSON text with the keys of each object in order: equal texts are equal values, `__proto__` and all. */
export function canonical(value: object | JsonValue): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
