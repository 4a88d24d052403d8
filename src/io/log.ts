import { configureSync, getLogger, type LogRecord } from '@logtape/logtape';
import { redact } from '../core/secrets.ts';
import { visible } from '../core/words.ts';
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
  return visible(JSON.stringify(line));
}

function formatText(record: LogRecord): string {
  const fields = fieldsOf(record).map(([key, value]) => ` ${key}=${quote(redact(String(value)))}`);
  const time = new Date(record.timestamp).toISOString();
  return `${time} ${record.level.toUpperCase().padEnd(7)} ${messageOf(record)}${fields.join('')}`;
}

/** An error's message may quote the network, which must not forge a line or steer the terminal of whoever reads it. */
function messageOf(record: LogRecord): string {
  return visible(redact(String(record.rawMessage)));
}

function quote(text: string): string {
  return /^[\w./:+@,%-]+$/.test(text) ? text : visible(JSON.stringify(text));
}
