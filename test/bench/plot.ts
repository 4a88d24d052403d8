/** Small plots side by side, as one SVG that needs no script and no font of its own. */

export interface Line {
  name: string;
  points: ReadonlyArray<readonly [x: number, y: number]>;
}

export interface Axis {
  /** What it shows, with its unit. */
  title: string;
  scale: 'linear' | 'log';
  /** Where it is marked, the first and the last are its ends. */
  ticks: readonly number[];
  label?: (value: number) => string;
}

export interface Plot {
  title: string;
  x: Axis;
  y: Axis;
  lines: readonly Line[];
}

const colours = ['#2f6f4f', '#c2562d', '#3d4f9f', '#7a6a2f'];
const [width, height] = [440, 290];
const frame = { left: 58, right: 22, top: 50, bottom: 44 };
const columns = 2;
// About what a letter of 11 pixels takes.
const letterWidth = 6;

/** All plots in rows of two. */
export function svgOf(plots: readonly Plot[], description: string): string {
  const rows = Math.ceil(plots.length / columns);
  const [w, h] = [width * columns, height * rows];
  const panels = plots.map(
    (plot, index) =>
      `<g transform="translate(${(index % columns) * width} ${Math.floor(index / columns) * height})">\n${panel(plot)}\n</g>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="11" role="img" aria-labelledby="desc">
<desc id="desc">${escaped(description)}</desc>
<rect width="${w}" height="${h}" rx="10" fill="#ffffff"/>
${panels.join('\n')}
</svg>
`;
}

function panel({ title, x, y, lines }: Plot): string {
  const [left, right] = [frame.left, width - frame.right];
  const [top, bottom] = [frame.top, height - frame.bottom];
  const atX = (value: number) => left + place(x, value) * (right - left);
  const atY = (value: number) => bottom - place(y, value) * (bottom - top);
  const text = (px: number, py: number, value: string, more = '') =>
    `<text x="${round(px)}" y="${round(py)}" ${more}>${escaped(value)}</text>`;
  return [
    text(left, 20, title, 'font-size="13" font-weight="600" fill="#14202e"'),
    ...y.ticks.flatMap((tick) => [
      `<path d="M${left} ${round(atY(tick))}H${right}" stroke="#e1e7ee"/>`,
      text(left - 6, atY(tick) + 4, labelOf(y, tick), 'text-anchor="end" fill="#45566a"'),
    ]),
    ...withRoom(x, atX).map((tick) =>
      text(atX(tick), bottom + 15, labelOf(x, tick), 'text-anchor="middle" fill="#45566a"'),
    ),
    text((left + right) / 2, bottom + 34, x.title, 'text-anchor="middle" fill="#45566a"'),
    text(left, 38, y.title, 'fill="#45566a"'),
    `<path d="M${left} ${top}V${bottom}H${right}" fill="none" stroke="#8a9bb0"/>`,
    ...lines.map((line, index) => drawn(line, strokeOf(index), atX, atY)),
    ...legend(lines, right),
  ].join('\n');
}

/** The ticks whose labels do not touch the next one on the right; the last one always has its own. */
function withRoom(axis: Axis, atX: (value: number) => number): number[] {
  const widthOf = (tick: number) => labelOf(axis, tick).length * letterWidth;
  const kept: number[] = [];
  for (const tick of axis.ticks.toReversed()) {
    const next = kept.at(-1);
    const apart = next === undefined ? 0 : (widthOf(tick) + widthOf(next)) / 2 + letterWidth;
    if (next === undefined || atX(next) - atX(tick) >= apart) kept.push(tick);
  }
  return kept.reverse();
}

interface Stroke {
  colour: string;
  /** As SVG has it. */
  dashes: string;
}

/** From the third line on dashed, so that one right below shows. */
function strokeOf(index: number): Stroke {
  return {
    colour: colours[index % colours.length] ?? '',
    dashes: index < 2 ? '' : ' stroke-dasharray="6 6"',
  };
}

function drawn(
  { points }: Line,
  { colour, dashes }: Stroke,
  atX: (x: number) => number,
  atY: (y: number) => number,
): string {
  const path = points.map(
    ([px, py], index) => `${index === 0 ? 'M' : 'L'}${round(atX(px))} ${round(atY(py))}`,
  );
  const dots = points.map(
    ([px, py]) => `<circle cx="${round(atX(px))}" cy="${round(atY(py))}" r="2.6" fill="${colour}"/>`,
  );
  return `<path d="${path.join('')}" fill="none" stroke="${colour}" stroke-width="1.8"${dashes}/>${dots.join('')}`;
}

/** The names in one row from the right; one line needs none. */
function legend(lines: readonly Line[], right: number): string[] {
  if (lines.length < 2) return [];
  const ends = lines.map((_, index) =>
    lines.slice(index + 1).reduce((end, { name }) => end - name.length * letterWidth - 14, right),
  );
  return lines.map(
    ({ name }, index) =>
      `<text x="${ends[index]}" y="38" text-anchor="end" fill="${strokeOf(index).colour}">${escaped(name)}</text>`,
  );
}

/** From 0 to 1; a value outside of the axis is an error of whoever chose its ticks. */
function place({ scale, ticks, title }: Axis, value: number): number {
  const map = scale === 'log' ? Math.log : Number;
  const [first = 0, last = 1] = [ticks[0], ticks.at(-1)];
  const at = (map(value) - map(first)) / (map(last) - map(first));
  if (!(at >= -1e-9 && at <= 1 + 1e-9)) throw new Error(`${value} is not on the axis "${title}"`);
  return at;
}

function labelOf({ label = String }: Axis, value: number): string {
  return label(value);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

/** An axis from zero to a round number above all values. */
export function linear(title: string, values: readonly number[], label?: (value: number) => string): Axis {
  const most = Math.max(...values);
  const raw = most / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw) ?? raw;
  const count = Math.ceil(most / step - 1e-9);
  const ticks = Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(6)));
  return { title, scale: 'linear', ticks, ...(label === undefined ? {} : { label }) };
}

/** An axis over whole decades, or from the first to the last of values that have names of their own. */
export function logarithmic(
  title: string,
  values: readonly number[],
  label?: (value: number) => string,
): Axis {
  if (label !== undefined) return { title, scale: 'log', ticks: values, label };
  const [first, last] = [
    Math.floor(Math.log10(Math.min(...values))),
    Math.ceil(Math.log10(Math.max(...values))),
  ];
  const ticks = Array.from({ length: last - first + 1 }, (_, index) =>
    Number((10 ** (first + index)).toPrecision(6)),
  );
  return { title, scale: 'log', ticks };
}
