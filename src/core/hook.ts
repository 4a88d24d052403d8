import type { HookFailure, Pending } from './pending.ts';

/** Where a hook without a slash is looked for, if no PATH is set. */
export const defaultSearchPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** How a run of a hook has ended. */
export type HookEnd =
  | { kind: 'exit'; code: number }
  | { kind: 'signal'; signal: string }
  | { kind: 'timeout'; seconds: number }
  | { kind: 'not-started'; reason: string };

// A message in the shadow has at most 200 bytes.
const maxMessageBytes = 200;

/**
 * What is told of a run that has failed; undefined for one that has not.
 *
 * @param output the last lines that it has printed, of which the end is what counts
 */
export function hookFailure(end: HookEnd, output: readonly string[]): HookFailure | undefined {
  if (end.kind === 'exit' && end.code === 0) return undefined;
  const what = `The hook ${wordsOf(end)}`;
  const said = lastBytes(output.join(' ').trim(), maxMessageBytes - what.length - 2);
  return {
    message: said === '' ? what : `${what}: ${said}`,
    hint:
      end.kind === 'not-started'
        ? 'give "onInstall.command" the path of an executable; a script needs its #! line and the right to be executed'
        : 'its output is in the log; mend it, then desire another hash, or the same with another key beside it',
  };
}

/** What a hook has refused, from when the way back is begun: a failure that ends with another desired value alone. */
export function refusalOf({ step, value, failed }: Pending) {
  if (step === 'apply' || failed === undefined || value === undefined) return undefined;
  return { value, code: 'HOOK_FAILED', ...failed, attempt: 1 } as const;
}

function wordsOf(end: HookEnd): string {
  switch (end.kind) {
    case 'exit':
      return `exited with ${end.code}`;
    case 'signal':
      return `was ended by ${end.signal}`;
    case 'timeout':
      return `was ended after ${end.seconds} s`;
    case 'not-started':
      return `cannot be started: ${end.reason}`;
  }
}

/** The end of a text, in whole characters. */
function lastBytes(text: string, bytes: number): string {
  const all = new TextEncoder().encode(text);
  if (all.length <= bytes) return text;
  return new TextDecoder().decode(all.subarray(all.length - Math.max(bytes, 0))).replace(/^\uFFFD+/, '');
}
