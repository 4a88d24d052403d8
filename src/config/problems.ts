import type { BaseIssue } from 'valibot';
import type { Problem } from '../core/errors.ts';
import { configKeys, exampleOf, formatPath } from './keys.ts';

const expectedText: Record<string, string> = {
  string: 'a string in "quotes"',
  number: 'a number',
  boolean: 'true or false',
  Array: 'a list',
  Object: 'an object',
};

/** What is no proxy may still hold its password, and what is no public key may be the private one. */
const neverShown = new Set<unknown>(['proxy', 'verify']);

/** Turns an issue of the schema into a problem; unknown keys and lists in an object's place are told by the structure. */
export function issueProblem(issue: BaseIssue<unknown>): Problem[] {
  if (issue.kind === 'schema' && issue.expected === 'never') return [];
  const segments = (issue.path ?? []).map(({ key }) => (typeof key === 'number' ? key : String(key)));
  const example = exampleOf(segments);
  const path = formatPath(segments);
  if (issue.input === undefined) return [{ path, message: 'is missing', hint: missingHint(path, example) }];
  return [
    {
      path,
      message: messageOf(issue),
      hint: example === undefined ? 'see `shadow-agent schema`' : `for example ${example}`,
    },
  ];
}

function messageOf(issue: BaseIssue<unknown>): string {
  const isSecret = issue.path?.some(({ key }) => neverShown.has(key)) === true;
  const shown = isSecret ? '' : shorten(JSON.stringify(issue.input));
  if (issue.kind !== 'schema') return `${issue.message}${shown && `: ${shown}`}`;
  const expected = issue.expected ?? '';
  const wanted = expectedText[expected] ?? expected.replace(/^\((.*)\)$/, '$1').replaceAll(' | ', ' or ');
  return `must be ${wanted}${shown && `, not ${shown}`}`;
}

function missingHint(path: string, example: string | undefined): string {
  const key = configKeys.find((candidate) => candidate.path === path.replace('files[0]', 'files[]'));
  const flag = path === 'files' ? 'shadow-property' : key?.flag;
  const inFile = example === undefined ? 'set it' : `set ${example} in the configuration`;
  return flag === undefined ? inFile : `${inFile}, or give --${flag}`;
}

/** A value as an error shows it: short, and never the content of a PEM file that stands where its path should. */
function shorten(json: string): string {
  if (json.includes('-----BEGIN')) return '(PEM)';
  return json.length > 80 ? `${json.slice(0, 77)}…` : json;
}
