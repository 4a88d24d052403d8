import { isJsonObject, type JsonObject, type JsonValue, member } from '../core/json.ts';

/** One object that S3 has taken. */
export interface Upload {
  bucket: string;
  /** As it is, decoded. */
  key: string;
  /** Null where the bucket keeps no versions. */
  versionId: string | null;
  /** Hexadecimal; orders the uploads of one key, see `compareSequencers`. */
  sequencer: string;
  /** When S3 took it: ISO 8601 in UTC with milliseconds. */
  uploadedAt: string;
}

/**
 * The uploads that an event tells of, whether S3 sent it itself (S3 user guide, notification-content-structure) or
 * through EventBridge (ev-events). Test events, deletions and whatever else happens to objects are none.
 *
 * @param onMalformed takes the error of a record that lacks what it must have; its neighbours are read all the same
 * @throws Error when it is an event of neither kind
 */
export function uploadsOf(event: JsonValue, onMalformed: (error: unknown) => void): Upload[] {
  const guarded = (read: () => Upload[]) => {
    try {
      return read();
    } catch (error) {
      onMalformed(error);
      return [];
    }
  };
  if (isJsonObject(event)) {
    const records = member(event, 'Records');
    if (Array.isArray(records)) return records.flatMap((record) => guarded(() => uploadOfRecord(record)));
    if (member(event, 'Event') === 's3:TestEvent') return [];
    if (member(event, 'source') === 'aws.s3') return guarded(() => uploadOfEventBridge(event));
  }
  throw new Error('The event is neither an S3 notification nor one of S3 through EventBridge');
}

function uploadOfRecord(record: JsonValue): Upload[] {
  const name = at(record, 'eventName');
  if (at(record, 'eventSource') !== 'aws:s3') throw new Error('The event has a record that is not from S3');
  if (typeof name !== 'string' || !name.startsWith('ObjectCreated:')) return [];
  const object = at(record, 's3', 'object');
  return [
    {
      bucket: text(at(record, 's3', 'bucket', 'name'), 's3.bucket.name'),
      key: formDecoded(text(at(object, 'key'), 's3.object.key')),
      versionId: versionOf(at(object, 'versionId')),
      sequencer: sequencerOf(at(object, 'sequencer')),
      uploadedAt: timeOf(at(record, 'eventTime')),
    },
  ];
}

/** Its names are in kebab case, and its keys are as they are. */
function uploadOfEventBridge(event: JsonObject): Upload[] {
  if (member(event, 'detail-type') !== 'Object Created') return [];
  const object = at(event, 'detail', 'object');
  return [
    {
      bucket: text(at(event, 'detail', 'bucket', 'name'), 'detail.bucket.name'),
      key: text(at(object, 'key'), 'detail.object.key'),
      versionId: versionOf(at(object, 'version-id')),
      sequencer: sequencerOf(at(object, 'sequencer')),
      uploadedAt: timeOf(at(event, 'time')),
    },
  ];
}

function at(value: JsonValue | undefined, ...path: string[]): JsonValue | undefined {
  return path.reduce((inner, key) => (isJsonObject(inner) ? member(inner, key) : undefined), value);
}

function text(value: JsonValue | undefined, name: string): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new Error(`The event has no ${name}`);
}

function versionOf(value: JsonValue | undefined): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function sequencerOf(value: JsonValue | undefined): string {
  const sequencer = text(value, 'sequencer');
  if (/^[0-9a-fA-F]+$/.test(sequencer)) return sequencer.toUpperCase();
  throw new Error(`The event's sequencer is not hexadecimal: ${sequencer}`);
}

function timeOf(value: JsonValue | undefined): string {
  const timeMs = Date.parse(text(value, 'time'));
  if (Number.isNaN(timeMs)) throw new Error(`The event's time is none: ${value}`);
  return new Date(timeMs).toISOString();
}

/** S3 notifications carry keys as HTML forms do: blanks are `+`, the rest is percent-encoded UTF-8. */
function formDecoded(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '));
  } catch (cause) {
    throw new Error(`The event's key is not percent-encoded: ${key}`, { cause });
  }
}
