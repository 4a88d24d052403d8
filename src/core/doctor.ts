/** What the probes of `doctor` find, and how that is shown. */
import type { Paint } from './paint.ts';
import { folded, oneLine, visible } from './words.ts';

/** `skip`: it could not be tried, since an earlier probe failed or there is nothing to try. */
export const verdicts = ['ok', 'skip', 'warn', 'fail'] as const;
export type Verdict = (typeof verdicts)[number];

/** What one probe says, with the measured figure; the hint is what to type. */
export interface Finding {
  verdict: Verdict;
  message: string;
  hint?: string | undefined;
  /** Statement of a policy that is missing, to be pasted. */
  policy?: Policy | undefined;
}

/** A statement, and the place where it belongs. */
export interface Policy {
  of: string;
  statement: object;
}

/** A finding of a probe that has run. */
export interface Result extends Finding {
  probe: string;
  /** How long the probe took. */
  milliseconds: number;
}

const colours = { ok: 'green', skip: 'dim', warn: 'yellow', fail: 'red' } as const;
const verdictWidth = 6;
const probeWidth = 18;
/** Where less than this is left of a line, the text stands beneath the name of its probe. */
const leastTextWidth = 40;

/** The lines of one result. Where `columns` is undefined they are not folded. */
export function resultText(result: Result, paint: Paint, columns?: number): string {
  const { verdict, probe, message, hint, policy } = result;
  const isNarrow = columns !== undefined && columns - verdictWidth - probeWidth < leastTextWidth;
  const indent = ' '.repeat(isNarrow ? verdictWidth : verdictWidth + probeWidth);
  const fold = (text: string) =>
    columns === undefined ? [text] : folded(text, Math.max(columns - indent.length, 20));
  const name = isNarrow ? `${paint('bold', probe)}\n${indent}` : `${probe.padEnd(probeWidth - 1)} `;
  const head = `${paint(colours[verdict], verdict.padEnd(verdictWidth))}${name}`;
  const lines = [
    ...fold(oneLine(message)),
    ...(hint === undefined ? [] : fold(`${paint('bold', 'hint:')} ${oneLine(hint)}`)),
    ...(policy === undefined
      ? []
      : [...fold(`${paint('bold', 'add:')} to ${policy.of}`), ...jsonLines(policy.statement)]),
  ];
  return `${head}${lines.join(`\n${indent}`)}\n`;
}

/** Never folded, so that it can be copied. */
function jsonLines(value: object): string[] {
  return JSON.stringify(value, null, 2).split('\n').map(visible);
}

/** `12 ok, 1 warning, 2 failed, 3 skipped` */
export function summaryText(results: readonly Result[], paint: Paint): string {
  const count = (verdict: Verdict) => results.filter((result) => result.verdict === verdict).length;
  const parts = [paint('green', `${count('ok')} ok`)];
  if (count('warn') > 0) parts.push(paint('yellow', `${count('warn')} with a warning`));
  if (count('fail') > 0) parts.push(paint('red', `${count('fail')} failed`));
  if (count('skip') > 0) parts.push(`${count('skip')} skipped`);
  return `\n${parts.join(', ')}\n`;
}

export function hasFailed(results: readonly Pick<Result, 'verdict'>[]): boolean {
  return results.some(({ verdict }) => verdict === 'fail');
}
