import { redact } from './log.ts';

const maxLineChars = 500;
/** So many lines are handed on as they come; of what follows only the last ones, when the hook has ended. */
const maxLines = 100;
const lastLines = 10;

/** What a hook prints, in lines that are fit for a log, and not more of them than a log can bear. */
export class HookOutput {
  readonly #onLine: (line: string) => void;
  readonly #sources: LineSource[] = [];
  #lines = 0;
  /** The newest lines; those of them that were not handed on are so at the end. */
  readonly #last: { line: string; isTold: boolean }[] = [];

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  /** A stream of text of its own; lines of several are told apart. */
  source(): LineSource {
    const source = new LineSource((line) => this.#take(line));
    this.#sources.push(source);
    return source;
  }

  /** Hands on what is left. @returns the last lines */
  end(): string[] {
    for (const source of this.#sources) source.end();
    const untold = this.#last.filter(({ isTold }) => !isTold);
    const left = this.#lines - maxLines - untold.length;
    if (left > 0) this.#onLine(`[${left} lines are left out]`);
    for (const { line } of untold) this.#onLine(line);
    return this.#last.map(({ line }) => line);
  }

  #take(line: string): void {
    this.#lines += 1;
    const isTold = this.#lines <= maxLines;
    if (isTold) this.#onLine(line);
    this.#last.push({ line, isTold });
    if (this.#last.length > lastLines) this.#last.shift();
  }
}

/** Cuts a text into lines: bounded, without control characters, and without the keys and tokens that a log may not have. */
class LineSource {
  readonly #onLine: (line: string) => void;
  #line = '';
  #isCut = false;
  /** Within a private key, which has many lines. */
  #isKey = false;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  take(text: string): void {
    const [first = '', ...rest] = text.split(/\r?\n|\r/);
    this.#add(first);
    for (const next of rest) {
      this.#flush();
      this.#add(next);
    }
  }

  end(): void {
    this.#flush();
  }

  #add(text: string): void {
    const room = maxLineChars - this.#line.length;
    this.#line += text.slice(0, room);
    this.#isCut ||= text.length > room;
  }

  #flush(): void {
    const line = this.#line.replace(/\p{Cc}+/gu, ' ').trim();
    const isCut = this.#isCut;
    this.#line = '';
    this.#isCut = false;
    if (line === '') return;
    const wasKey = this.#isKey;
    if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(line)) this.#isKey = true;
    if (/-----END [A-Z ]*PRIVATE KEY-----/.test(line)) this.#isKey = false;
    if (wasKey) return;
    this.#onLine(redact(line).toWellFormed() + (isCut ? '…' : ''));
  }
}
