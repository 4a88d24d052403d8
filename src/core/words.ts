/** Figures and times in the words of people. */

/** `12 s`, `4 min`, `3 h 12 min`, `5 days`: two figures at most, and none that says less than the one before it. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return withRest(`${minutes} min`, seconds % 60, 's');
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return withRest(`${hours} h`, minutes % 60, 'min');
  return `${grouped(Math.floor(hours / 24))} days`;
}

function withRest(text: string, rest: number, unit: string): string {
  return rest === 0 ? text : `${text} ${rest} ${unit}`;
}

/** `812 B`, `12.3 MB`; units of a thousand, as disks and links are sold. */
export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  const figure = bytes / 1000 ** power;
  return power === 0 ? `${bytes} B` : `${figure.toFixed(1)} ${units[power] ?? ''}`;
}

/** `8,436` */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** `2026-11-25T10:12:03Z`, as in the log and in the shadow. */
export function timeText(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d{3}/, '');
}

/** Whatever a text brings along, it cannot begin a line of its own, steer the terminal, or be read in another order. */
export function oneLine(text: string): string {
  return visible(text.replace(/[\p{Cc}\s]+/gu, ' ').trim());
}

/** Writes what cannot be seen as an escape: line ends, what drives a terminal, and what turns the direction of a text. */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (char) =>
    char
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

// Colours take no place in a line.
const colour = /\p{Cc}\[\d+m/gu;

// Where a line may end: at a blank, but not between a figure and its unit.
const breakable = / (?!(?:ms|s|min|h|days|[kMGT]?B|%)(?!\w))|(?<!\d) /u;

/** Folds a text at its blanks into lines of at most `width` characters; a longer word stays whole. */
export function folded(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(breakable)) {
    const longer = [...lines.slice(-1), word].join(' ');
    if (lines.length === 0 || longer.replace(colour, '').length > width) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}
