/**
 * The secrets of this process, and how they are kept out of what is shown or stored. Whatever becomes an error's text
 * passes here, and once more what becomes a line of the log: a server may say back what it was sent.
 */

// Of a long token, each run of so many letters is taken out; of a shorter one, and of a password, its letters as a whole.
const runLetters = 12;
const leastLetters = 8;

// The newest secrets of the process; older ones have long expired.
const passing = new Set<string>();
const maxPassing = 16;

// Those that stay good as long as the process: no number of newer ones drives them out.
const lasting = new Set<string>();

// The runs of letters by which all of these are known, however they are written, and how long such runs are.
let runs = new Set<string>();
let lengths: number[] = [];

/** Texts that are taken out as they stand; one that was cut short counts from so many characters on. */
const exact = new Map<string, number>();

/** Makes sure that this value is never shown, wherever it may turn up, however it is written there, and whatever is left of it. */
export function protect(value: string): void {
  passing.delete(value);
  passing.add(value);
  for (const oldest of [...passing].slice(0, -maxPassing)) passing.delete(oldest);
  renewRuns();
}

/** The same for user and password that are used to the end of the process, in each form that they are sent or written in. */
export function protectLogin(user: string, password: string): void {
  if (password === '') return;
  const encoded = encodeURIComponent(user);
  for (const [name, secret] of [
    [`${user}:`, password],
    [`${encoded}:`, encodeURIComponent(password)],
    [`${encoded}%3A`, encodeURIComponent(password)],
  ] as const) {
    // The user alone is no secret.
    exact.set(name + secret, Math.max(runLetters, name.length + 4));
  }
  for (const text of [base64(`${user}:${password}`), base64(password)]) exact.set(text, runLetters);
  if (isWord(password)) return;
  // Behind its user a part of it is taken out as well; by itself it may have its first words in common with any text.
  for (const text of [password, encodeURIComponent(password)]) exact.set(text, text.length);
  lasting.add(password);
  renewRuns();
}

function renewRuns(): void {
  runs = new Set([...[...passing].flatMap(runsOf), ...[...lasting].flatMap(wholeOf)]);
  // Of two that begin alike, the longer one goes.
  lengths = [...new Set([...runs].map((run) => run.length))].sort((a, b) => b - a);
}

function runsOf(secret: string): string[] {
  const { letters } = lettersOf(secret);
  if (letters.length < runLetters) return wholeOf(secret);
  return Array.from({ length: letters.length - runLetters + 1 }, (_, at) =>
    letters.slice(at, at + runLetters),
  );
}

/** A short one of letters alone has only one writing. */
function wholeOf(secret: string): string[] {
  const { letters } = lettersOf(secret);
  const isShort = letters.length < runLetters && letters.length === secret.length;
  return letters.length >= leastLetters && !isShort ? [letters] : [];
}

/**
 * The letters and digits of a text, in lower case, with the place of each: whatever a server makes of a secret
 * (percent-encoding, escapes, entities, other line ends), these are left in their order.
 */
function lettersOf(text: string): { letters: string; places: number[] } {
  const places: number[] = [];
  let letters = '';
  for (const { 1: word = '', index } of text.matchAll(
    /%(?:25)*[\da-f]{2}|\\u[\da-f]{4}|\\[nrt]|&#?\w{1,8};|([a-z\d]+)/gi,
  )) {
    letters += word.toLowerCase();
    for (let at = 0; at < word.length; at += 1) places.push(index + at);
  }
  return { letters, places };
}

/**
 * Whether a password may be a part of any text, which would be blanked out, and would tell what the password is. By
 * itself it is neither sent nor written anywhere.
 */
function isWord(password: string): boolean {
  return password.length < 4 || /^(\p{L}{1,7}|\p{N}{1,7}|\p{L}\p{Ll}{1,14})$/u.test(password);
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/**
 * Takes out of a text what must not be shown: protected values, keys, signatures of requests, userinfo and queries of
 * web URLs. A text is to be redacted before it is cut.
 */
export function redact(text: string): string {
  return withoutExact(withoutRuns(text))
    .replace(/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, '[secret]')
    .replace(/(https?:\/\/)(?!user:password@)[^\s/@"']+@/g, '$1[secret]@')
    .replace(/(https?:\/\/[^\s?"']+)\?[^\s"']*/g, '$1?[secret]')
    .replace(/(X-Amz-(?:Security-Token|Signature|Credential)[=:]\s*)[^\s&"']+/gi, '$1[secret]')
    .replace(/(\bSignature=)[0-9a-f]{16,}/gi, '$1[secret]');
}

// Much more than a secret has, and than any useful text: what lies behind is not looked at.
const marginChars = 4096;

/** The beginning of what a server says, for an error to quote. What a server says may be huge. */
export function quoted(text: string, maxChars: number): string {
  return redact(text.slice(0, maxChars + marginChars)).slice(0, maxChars);
}

/** Takes out what reads as a part of a secret, from its first letter to its last one and the padding behind. */
function withoutRuns(text: string): string {
  if (runs.size === 0) return text;
  const { letters, places } = lettersOf(text);
  let shown = '';
  let from = 0;
  let end = -1;
  for (let at = 0; at < letters.length; at += 1) {
    const length = lengths.find(
      (candidate) => at + candidate <= letters.length && runs.has(letters.slice(at, at + candidate)),
    );
    if (length === undefined) continue;
    if (at > end) shown += `${text.slice(from, places[at])}[secret]`;
    end = Math.max(end, at + length);
    from = (places[end - 1] ?? text.length) + 1;
    from += /^(=|%3d)*/i.exec(text.slice(from))?.[0].length ?? 0;
  }
  return shown + text.slice(from);
}

/** Where several begin, or one within another, the longest goes: they may have their first characters in common. */
function withoutExact(text: string): string {
  const values = [...exact];
  let shown = '';
  let rest = text;
  for (;;) {
    const begun = values.map(([value, startChars]) => rest.indexOf(value.slice(0, startChars)));
    const at = Math.min(...begun.filter((index) => index >= 0));
    if (!Number.isFinite(at)) return shown + rest;
    const lengths = values
      .filter((_, index) => begun[index] === at)
      .map(([value]) => common(value, rest, at));
    shown += `${rest.slice(0, at)}[secret]`;
    rest = rest.slice(at + Math.max(...lengths));
  }
}

/** How many characters of a value stand at this place of a text. */
function common(value: string, text: string, at: number): number {
  let length = 0;
  while (length < value.length && value[length] === text[at + length]) length += 1;
  return length;
}
