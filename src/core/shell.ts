/** A text as one word of a POSIX shell, quoted only where it must be. */
export function shellWord(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A text on one line, its control characters by their codes, as in `a\x0ab`. */
export function oneLine(text: string): string {
  const code = (control: string) => (control.codePointAt(0) ?? 0).toString(16).padStart(2, '0');
  return text.replaceAll(/\p{Cc}/gu, (control) => `\\x${code(control)}`);
}
