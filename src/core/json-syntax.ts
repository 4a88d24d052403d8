/** Where a text stops being JSON; line and column count from 1. */
export interface SyntaxProblem {
  line: number;
  column: number;
  /** "expected a value, found }" */
  message: string;
  hint: string;
}

type Expecting = 'value' | 'value or ]' | 'key' | 'key or }' | 'colon' | 'comma or end';

const token =
  /[{}[\],:]|"(?:[ !#-[\]-\u{10ffff}]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|(?:true|false|null)(?!\w)/uy;
const space = /[ \t\r\n]*/y;

// The configuration has four levels; what goes deep could exhaust the stack of whoever walks through it.
const maxDepth = 32;

/** Finds the first place that RFC 8259 does not allow, or that lies too deep; undefined for JSON. Runtimes do not tell it alike, or at all. */
export function findSyntaxProblem(text: string): SyntaxProblem | undefined {
  const open: string[] = [];
  let expecting: Expecting = 'value';
  let offset = 0;
  for (;;) {
    offset = skip(space, text, offset);
    if (offset === text.length && open.length === 0 && expecting === 'comma or end') return undefined;
    const end = skip(token, text, offset);
    const next: Expecting | undefined = step(text.slice(offset, end), expecting, open);
    if (next === undefined) return problemAt(text, offset, expecting, open.at(-1));
    if (open.length > maxDepth) {
      return { ...place(text, offset), message: 'nested too deep', hint: `${maxDepth} levels are the most` };
    }
    expecting = next;
    offset = end;
  }
}

function skip(pattern: RegExp, text: string, offset: number): number {
  pattern.lastIndex = offset;
  return pattern.test(text) ? pattern.lastIndex : offset;
}

/** What may follow the token, or undefined where it may not stand; keeps `open` as the stack of open brackets. */
function step(found: string, expecting: Expecting, open: string[]): Expecting | undefined {
  if (found === '') return undefined;
  if (expecting === 'colon') return found === ':' ? 'value' : undefined;
  if (expecting === 'comma or end') {
    const inside = open.at(-1);
    if (found === ',' && inside !== undefined) return inside === '{' ? 'key' : 'value';
    return closes(found, inside) ? close(open) : undefined;
  }
  if (expecting === 'key' || expecting === 'key or }') {
    if (found.startsWith('"')) return 'colon';
    return expecting === 'key or }' && found === '}' ? close(open) : undefined;
  }
  if (expecting === 'value or ]' && found === ']') return close(open);
  if (found === '{' || found === '[') {
    open.push(found);
    return found === '{' ? 'key or }' : 'value or ]';
  }
  return /^[}\],:]$/.test(found) ? undefined : 'comma or end';
}

function closes(found: string, inside: string | undefined): boolean {
  return (found === '}' && inside === '{') || (found === ']' && inside === '[');
}

function close(open: string[]): Expecting {
  open.pop();
  return 'comma or end';
}

function problemAt(text: string, offset: number, expecting: Expecting, inside?: string): SyntaxProblem {
  const found = text[offset];
  return {
    ...place(text, offset),
    message: `expected ${wanted(expecting, inside)}, found ${found === undefined ? 'the end' : shown(found)}`,
    hint: hintFor(text, offset, expecting),
  };
}

function place(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: (before.at(-1) ?? '').length + 1 };
}

function wanted(expecting: Expecting, inside: string | undefined): string {
  if (expecting === 'comma or end')
    return inside === undefined ? 'the end' : `, or ${inside === '{' ? '}' : ']'}`;
  if (expecting === 'colon') return ':';
  return expecting.startsWith('key') ? expecting.replace('key', 'a key in "quotes"') : `a ${expecting}`;
}

function shown(character: string): string {
  return /[\x21-\x7e]/.test(character)
    ? character
    : `U+${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0').toUpperCase()}`;
}

function hintFor(text: string, offset: number, expecting: Expecting): string {
  const rest = text.slice(offset, offset + 2);
  const last = text.slice(0, offset).trimEnd().at(-1);
  if (rest === '') return 'the file is cut short, or a bracket is not closed';
  if (rest === '//' || rest === '/*' || rest.startsWith('#')) return 'JSON has no comments';
  if (rest.startsWith("'")) return 'JSON quotes with ", not with \'';
  if (rest.startsWith('"')) {
    return expecting === 'comma or end'
      ? 'a comma is missing before it'
      : 'the string is not closed on its line, or has a \\ that is not doubled';
  }
  if (last === ',' && /^[}\]]/.test(rest)) return 'JSON has no comma after the last element';
  if (expecting.startsWith('key')) return 'keys stand in "quotes"';
  return 'correct the file at this place; text stands in "quotes"';
}
