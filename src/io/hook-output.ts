import { redact } from '../core/secrets.ts';

const maxLineChars = 500;
/** So many lines are handed on as they come; of what follows only the last ones, when the hook has ended. */
const maxLines = 100;
const lastLines = 10;
/** What follows is not looked at before the end, but for this much of it: a loop that prints costs no more than a copy. */
const tailBytes = 65_536;
const pieceBytes = 16_384;

const keyMarks = /-----(?:BEGIN|END) [A-Z ]*PRIVATE KEY-----/g;
const [newline, carriageReturn] = [0x0a, 0x0d];

/** What a hook prints, in lines that are fit for a log, and not more of them than a log can bear. */
export class HookOutput {
  readonly #onLine: (line: string) => void;
  readonly #sources: LineSource[] = [];
  #lines = 0;
  /** The newest lines; those of them that were not handed on are so at the end. */
  readonly #last: { line: string; isTold: boolean }[] = [];
  /** The newest bytes of all streams, once enough lines were handed on. */
  readonly #tail: { source: LineSource; bytes: Uint8Array }[] = [];
  #tailBytes = 0;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  /** A stream of its own; lines of several are told apart. @returns takes its bytes */
  source(): (bytes: Uint8Array) => void {
    const source = new LineSource((line) => this.#takeLine(line));
    this.#sources.push(source);
    return (bytes) => {
      for (let start = 0; start < bytes.length; start += pieceBytes)
        this.#take(source, bytes.subarray(start, start + pieceBytes));
    };
  }

  /** Hands on what is left. @returns the last lines */
  end(): string[] {
    for (const { source, bytes } of this.#tail) source.take(bytes);
    for (const source of this.#sources) source.end();
    const untold = this.#last.filter(({ isTold }) => !isTold);
    const left = this.#lines - maxLines - untold.length;
    if (left > 0) this.#onLine(`[${left} lines are left out]`);
    for (const { line } of untold) this.#onLine(line);
    return this.#last.map(({ line }) => line);
  }

  #take(source: LineSource, bytes: Uint8Array): void {
    if (this.#lines < maxLines) {
      source.take(bytes);
      return;
    }
    // The memory of a stream may be used again for what comes next.
    this.#tail.push({ source, bytes: Uint8Array.from(bytes) });
    this.#tailBytes += bytes.length;
    while (this.#tailBytes > tailBytes + pieceBytes) {
      const oldest = this.#tail.shift();
      if (oldest === undefined) return;
      this.#tailBytes -= oldest.bytes.length;
      this.#lines += oldest.source.skip(oldest.bytes);
    }
  }

  #takeLine(line: string): void {
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
  #decoder = new TextDecoder();
  #line = '';
  #isCut = false;
  /** Within a private key, which has many lines. */
  #isKey = false;
  /** What comes up to the next line end belongs to a line whose start was skipped. */
  #isSkipping = false;
  /** What was skipped last has ended a line. */
  #isBetween = true;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  take(bytes: Uint8Array): void {
    const text = this.#decoder.decode(bytes, { stream: true });
    const [first = '', ...rest] = text.split(/\r?\n|\r/);
    this.#add(first);
    for (const next of rest) {
      this.#flush();
      this.#add(next);
    }
  }

  /** Leaves out what comes next. @returns the lines that begin in it, and the one that began before */
  skip(bytes: Uint8Array): number {
    let lines = this.#line.trim() === '' ? 0 : 1;
    if (lines === 1) this.#isBetween = false;
    this.#decoder = new TextDecoder();
    this.#line = '';
    this.#isSkipping = true;
    for (const byte of bytes) {
      const isEnd = byte === newline || byte === carriageReturn;
      if (!isEnd && this.#isBetween) lines += 1;
      this.#isBetween = isEnd;
    }
    const mark = Buffer.from(bytes).toString('latin1').match(keyMarks)?.at(-1);
    if (mark !== undefined) this.#isKey = mark.includes('BEGIN');
    return lines;
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
    const line = this.#isSkipping ? '' : this.#line.replace(/\p{Cc}+/gu, ' ').trim();
    const isCut = this.#isCut;
    this.#line = '';
    this.#isCut = false;
    this.#isSkipping = false;
    if (line === '') return;
    const wasKey = this.#isKey;
    if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(line)) this.#isKey = true;
    if (/-----END [A-Z ]*PRIVATE KEY-----/.test(line)) this.#isKey = false;
    if (wasKey) return;
    this.#onLine(redact(line).toWellFormed() + (isCut ? '…' : ''));
  }
}
