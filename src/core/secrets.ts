/**
 * The secrets of this process, and how they are kept out of what is shown or stored. Whatever becomes an error's text
 * passes here, and once more what becomes a line of the log: a server may say back what it was sent.
 */

/** A text that must not be shown; one that was cut short counts from `startChars` characters on. */
interface Protected {
  text: string;
  startChars: number;
}

const startChars = 12;

// The newest secrets of the process; older ones have long expired.
const passing = new Map<string, Protected>();
const maxPassing = 64;

// Those that stay good as long as the process: no number of newer ones drives them out.
const lasting = new Map<string, Protected>();

/** Makes sure that this value is never shown, wherever it may turn up, also as a part of a URL. */
export function protect(value: string): void {
  if (value.length < 8) return;
  for (const text of [value, encodeURIComponent(value)]) passing.set(text, { text, startChars });
  for (const oldest of [...passing.keys()].slice(0, -maxPassing)) passing.delete(oldest);
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
    const most = Math.max(startChars, name.length + 4);
    lasting.set(name + secret, { text: name + secret, startChars: most });
  }
  const bare = isWord(password) ? [] : [password, encodeURIComponent(password)];
  for (const text of [base64(`${user}:${password}`), base64(password), ...bare]) {
    lasting.set(text, { text, startChars });
  }
}

/**
 * Whether a password may be a part of any text, which would be blanked out, and would tell what the password is. By
 * itself it is neither sent nor written anywhere.
 */
function isWord(password: string): boolean {
  return password.length < 4 || (password.length < 8 && /^(\p{L}+|\p{N}+)$/u.test(password));
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/**
 * Takes out of a text what must not be shown: protected values, keys, signatures of requests, userinfo and queries of
 * web URLs. A text is to be redacted before it is cut.
 */
export function redact(text: string): string {
  return withoutProtected(text)
    .replace(/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, '[secret]')
    .replace(/(https?:\/\/)[^\s/@"']+@/g, '$1[secret]@')
    .replace(/(https?:\/\/[^\s?"']+)\?[^\s"']*/g, '$1?[secret]')
    .replace(/(X-Amz-(?:Security-Token|Signature|Credential)[=:]\s*)[^\s&"']+/gi, '$1[secret]')
    .replace(/(\bSignature=)[0-9a-f]{16,}/gi, '$1[secret]');
}

/** Where several begin, or one within another, the longest goes: they may have their first characters in common. */
function withoutProtected(text: string): string {
  const values = [...lasting.values(), ...passing.values()];
  let shown = '';
  let rest = text;
  for (;;) {
    const begun = values.map((value) => rest.indexOf(value.text.slice(0, value.startChars)));
    const at = Math.min(...begun.filter((index) => index >= 0));
    if (!Number.isFinite(at)) return shown + rest;
    const lengths = values
      .filter((_, index) => begun[index] === at)
      .map(({ text }) => common(text, rest, at));
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
