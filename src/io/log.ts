import { configureSync, getLogger, type LogRecord } from '@logtape/logtape';
import { writeLine } from './stderr.ts';

/** What may stand in a log line. A Secret is none of these, so the compiler keeps it out. */
export type LogField = string | number | boolean | undefined;
export type LogFields = Record<string, LogField>;

/** The agent's log: constant messages, with what varies in fields. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warning(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface LogOptions {
  level: 'debug' | 'info' | 'warning' | 'error';
  format: 'text' | 'json';
}

/** The log on stderr, a line for each event, in text or JSON. */
export function createLogger({ level, format }: LogOptions): Logger {
  const formatRecord = format === 'json' ? formatJson : formatText;
  configureSync({
    reset: true,
    sinks: { stderr: (record) => writeLine(formatRecord(record)) },
    loggers: [
      { category: 'agent', sinks: ['stderr'], lowestLevel: level },
      { category: ['logtape', 'meta'], sinks: [] },
    ],
  });
  return getLogger('agent');
}

// The newest secrets of the process; older ones have long expired.
const protectedValues: string[] = [];
const maxProtected = 32;

/** Makes sure that this value is never written to the log, wherever it may turn up. */
export function protect(value: string): void {
  if (value.length < 8 || protectedValues.includes(value)) return;
  protectedValues.push(value);
  if (protectedValues.length > maxProtected) protectedValues.shift();
}

// Those that stay good as long as the process: no number of newer ones drives them out.
const lastingValues = new Set<string>();

/** The same for user and password that are used to the end of the process, in each form that they are sent or written in. */
export function protectLogin(user: string, password: string): void {
  const login = `${user}:${password}`;
  const forms = [login, Buffer.from(login).toString('base64'), password, encodeURIComponent(password)];
  // Fewer characters would blank out words; they are still taken out beside the user.
  for (const form of forms) if (form.length >= 4) lastingValues.add(form);
}

/** Takes out of a text what must not be shown: protected values, keys, userinfo and queries of web URLs. */
export function redact(text: string): string {
  // The longest first: one may be a part of another.
  const values = [...lastingValues, ...protectedValues].sort((one, other) => other.length - one.length);
  const known = values.reduce((rest, value) => rest.replaceAll(value, '[secret]'), text);
  return known
    .replace(/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, '[secret]')
    .replace(/(https?:\/\/)[^\s/@"']+@/g, '$1[secret]@')
    .replace(/(https?:\/\/[^\s?"']+)\?[^\s"']*/g, '$1?[secret]')
    .replace(/(X-Amz-(?:Security-Token|Signature|Credential)[=:]\s*)[^\s&"']+/gi, '$1[secret]');
}

function fieldsOf(record: LogRecord): Array<[string, unknown]> {
  return Object.entries(record.properties).filter(([, value]) => value !== undefined);
}

function formatJson(record: LogRecord): string {
  const fields = fieldsOf(record).map(([key, value]) => [
    key,
    typeof value === 'string' ? redact(value) : value,
  ]);
  const line = {
    time: new Date(record.timestamp).toISOString(),
    level: record.level,
    message: messageOf(record),
    ...Object.fromEntries(fields),
  };
  return harmless(JSON.stringify(line));
}

function formatText(record: LogRecord): string {
  const fields = fieldsOf(record).map(([key, value]) => ` ${key}=${quote(redact(String(value)))}`);
  const time = new Date(record.timestamp).toISOString();
  return `${time} ${record.level.toUpperCase().padEnd(7)} ${messageOf(record)}${fields.join('')}`;
}

/** An error's message may quote the network. */
function messageOf(record: LogRecord): string {
  return harmless(redact(String(record.rawMessage)));
}

/** Line ends would forge lines, and terminal sequences drive the terminal of whoever reads them. */
function harmless(text: string): string {
  return text.replace(
    /[\p{Cc}\u2028\u2029]/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function quote(text: string): string {
  return /^[\w./:+@,%-]+$/.test(text) ? text : harmless(JSON.stringify(text));
}
