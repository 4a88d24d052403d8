import type { JsonObject } from '../../src/core/json.ts';

/** A line for each row whose `ratio` is above its `aim`. Bytes are the same on every machine; times are not. */
export function aboveAim(rows: readonly JsonObject[]): string[] {
  return rows.flatMap(({ play, aim, ratio }) =>
    typeof aim === 'number' && typeof ratio === 'number' && ratio > aim
      ? [`${play}: the ratio ${ratio} is above the aim of ${aim}`]
      : [],
  );
}
