/** The text of `shadow-agent status`, for people. */
import type { OtherConfiguration } from './other-configuration.ts';
import type { Paint } from './paint.ts';
import { type AgentStatus, daysLeft, type StatusOfFile, type StatusWarning, warningsOf } from './status.ts';
import { bytesText, durationText, folded, grouped, oneLine } from './words.ts';

export interface Canvas {
  wallMs: number;
  paint: Paint;
  /** Characters in a line; undefined: lines are not folded. */
  columns: number | undefined;
}

/** What the command knows beside what the agent or the disk says. */
export interface Told {
  /** Whether an agent runs. */
  running: boolean;
  /** Why the running agent says nothing, or the state file. */
  error: StatusOfFile['error'];
  /** How the configuration of the running agent differs from the one that was named. */
  other: OtherConfiguration | null;
}

type Row = readonly [label: string, text: string];

const labelWidth = 13;

/** The whole text: the agent, its link and certificate, then each file. */
export function statusText(
  status: AgentStatus,
  canvas: Canvas,
  told: Told = { running: status.version !== null, error: null, other: null },
): string {
  const isTold = status.version !== null;
  const files = Object.entries(status.files).map(([property, file]) =>
    fileBlock(property, file, isTold, canvas),
  );
  return [table(agentRows(status, told, canvas), canvas), ...files].join('\n');
}

function agentRows(status: AgentStatus, { running, error, other }: Told, canvas: Canvas): Row[] {
  const { thing, shadow, certificate } = status;
  const { paint } = canvas;
  const otherRows: Row[] =
    other === null
      ? []
      : [
          ['config', paint('red', oneLine(other.message))],
          ['hint', oneLine(other.hint)],
        ];
  return [
    ['agent', agentText(status, running, canvas)],
    ...errorRows(error, paint),
    ...otherRows,
    ['thing', shadow === null ? thing : `${thing}, shadow ${shadow}`],
    ...linkRows(status, canvas),
    ['certificate', certificateText(certificate.notAfter, canvas)],
    ...warningsOf(status, canvas.wallMs).flatMap((warning) => warningRows(warning, canvas)),
  ];
}

function agentText(
  { version, pid, startedAt }: AgentStatus,
  isRunning: boolean,
  { paint, wallMs }: Canvas,
): string {
  if (version === null || startedAt === null) {
    const state = isRunning ? 'runs, but cannot be asked' : 'does not run';
    return paint('red', `${state}; what follows is what the disk and the state file tell`);
  }
  const forMs = wallMs - Date.parse(startedAt);
  return `version ${version}, ${paint('green', 'running')} for ${durationText(forMs)} (since ${startedAt}, pid ${pid})`;
}

function linkRows({ link }: AgentStatus, { paint, wallMs }: Canvas): Row[] {
  if (link === null) return [];
  const { connected, since, lastAnswerAt, error } = link;
  const answer = lastAnswerAt === null ? '' : `; last answer ${ago(lastAnswerAt, wallMs)}`;
  const text =
    connected && since !== null
      ? `${paint('green', 'connected')} for ${durationText(wallMs - Date.parse(since))} (since ${since})`
      : paint('red', 'not connected');
  return [['link', text + answer], ...errorRows(error, paint)];
}

function ago(time: string, wallMs: number): string {
  return `${durationText(wallMs - Date.parse(time))} ago`;
}

function certificateText(notAfter: string | null, { paint, wallMs }: Canvas): string {
  if (notAfter === null) return paint('red', 'none that can be used');
  const days = daysLeft(notAfter, wallMs);
  if (days < 0) return paint('red', `expired at ${notAfter}`);
  const text = `valid until ${notAfter} (${grouped(days)} days left)`;
  return days < 30 ? paint('yellow', text) : text;
}

function warningRows({ message, hint, since }: StatusWarning, { paint }: Canvas): Row[] {
  const text = since === null ? message : `since ${since}: ${message}`;
  const rows: Row[] = [['warning', paint('yellow', oneLine(text))]];
  return hint === null ? rows : [...rows, ['hint', oneLine(hint)]];
}

function errorRows(error: StatusOfFile['error'], paint: Paint): Row[] {
  if (error === null) return [];
  const rows: Row[] = [['error', paint('red', oneLine(`${error.code}: ${error.message}`))]];
  return error.hint === null ? rows : [...rows, ['hint', oneLine(error.hint)]];
}

const colours = {
  unknown: 'dim',
  none: 'dim',
  current: 'green',
  pending: 'yellow',
  downloading: 'yellow',
  waiting: 'yellow',
  failed: 'red',
} as const;

const untold = 'unknown as long as no agent answers';

const meanings: Record<StatusOfFile['status'], string> = {
  unknown: 'unknown: the shadow has not answered yet',
  none: 'the shadow desires nothing',
  current: 'current',
  pending: 'pending: about to be installed',
  downloading: 'downloading',
  waiting: 'waiting',
  failed: 'failed: somebody has to mend it',
};

function verdictText({ status, error, progress }: StatusOfFile, isTold: boolean): string {
  if (status === 'unknown' && !isTold) return untold;
  if (status !== 'waiting') return meanings[status];
  if (error === null && progress !== null) return 'waiting: half downloaded; the agent goes on from there';
  if (error === null) return 'waiting: for its hook, or the way back, to end';
  return error.code === 'HELD'
    ? 'waiting: rolled back here, held until another hash is desired'
    : 'waiting: an error that is likely to pass';
}

function fileBlock(property: string, file: StatusOfFile, isTold: boolean, canvas: Canvas): string {
  const { paint, wallMs } = canvas;
  const { path, status, installed, desired, progress, error, attempt, retryAt } = file;
  const rows: Row[] = [
    ['status', paint(colours[status], verdictText(file, isTold))],
    ['path', oneLine(path)],
    ['installed', installed ?? 'nothing'],
  ];
  if (desired !== null) {
    rows.push(['wanted', desired.hash === installed ? 'the same' : desired.hash]);
    rows.push(['from', oneLine(sourceText(desired))]);
  }
  if (progress !== null) rows.push(['progress', progressText(progress)]);
  rows.push(...errorRows(error, paint));
  if (attempt !== null && attempt > 1) rows.push(['attempts', `${attempt} in a row`]);
  if (retryAt !== null) rows.push(['next try', retryText(retryAt, isTold, wallMs)]);
  return `${paint('bold', oneLine(property))}\n${table(rows, canvas, '  ')}`;
}

function sourceText({ url, versionId, size }: NonNullable<StatusOfFile['desired']>): string {
  const version = versionId === null ? '' : `, version ${versionId}`;
  return `${url}${version}${size === null ? '' : `, ${bytesText(size)}`}`;
}

function retryText(retryAt: string, isTold: boolean, wallMs: number): string {
  const inMs = Date.parse(retryAt) - wallMs;
  if (inMs < 500) return isTold ? `now (${retryAt})` : 'as soon as the agent runs';
  return `in ${durationText(inMs)} (${retryAt})${isTold ? '' : ', if the agent runs then'}`;
}

/** `12.3 MB of 98.0 MB (12 %), 1.2 MB/s, 1 min 11 s left` */
export function progressText({ bytes, size, bytesPerSecond }: NonNullable<StatusOfFile['progress']>): string {
  const parts = [
    size === null || size === 0
      ? bytesText(bytes)
      : `${bytesText(bytes)} of ${bytesText(size)} (${Math.floor((bytes * 100) / size)} %)`,
  ];
  if (bytesPerSecond !== null) parts.push(`${bytesText(bytesPerSecond)}/s`);
  if (size !== null && bytesPerSecond !== null && bytesPerSecond > 0) {
    parts.push(`${durationText(((size - bytes) * 1000) / bytesPerSecond)} left`);
  }
  return parts.join(', ');
}

/** What of `progressText` counts most: `12 %, 1 min 11 s left`. */
export function shortProgressText(progress: NonNullable<StatusOfFile['progress']>): string {
  const { bytes, size } = progress;
  if (size === null || size === 0) return bytesText(bytes);
  const left = progressText(progress).split(', ').at(-1) ?? '';
  return [`${Math.floor((bytes * 100) / size)} %`, ...(left.endsWith(' left') ? [left] : [])].join(', ');
}

/** Labels in a column of their own; what is folded goes on beneath its text. */
function table(rows: readonly Row[], { paint, columns }: Canvas, indent = ''): string {
  const start = indent.length + labelWidth;
  return rows
    .map(([label, text]) => {
      const lines = columns === undefined ? [text] : folded(text, Math.max(columns - start, 20));
      return `${indent}${paint('dim', label.padEnd(labelWidth))}${lines.join(`\n${' '.repeat(start)}`)}\n`;
    })
    .join('');
}
