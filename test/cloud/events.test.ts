/** What the publisher reads out of events, who gets it, and which release is newer. */
import { expect, test } from 'bun:test';
import { uploadsOf as read, type Upload } from '../../src/cloud/events.ts';
import {
  compareSequencers,
  desiredOf,
  formatPage,
  parsePage,
  type Release,
} from '../../src/cloud/release.ts';
import { targetOf } from '../../src/cloud/target.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { oddKeys } from '../support/odd-keys.ts';

/** The uploads of an event that is whole. */
function uploadsOf(event: JsonValue): Upload[] {
  return read(event, (error) => {
    throw error;
  });
}

/** A record as the S3 user guide shows it (notification-content-structure). */
function record(object: JsonObject, eventName = 'ObjectCreated:Put'): JsonObject {
  return {
    eventVersion: '2.1',
    eventSource: 'aws:s3',
    awsRegion: 'us-east-1',
    eventTime: '2019-09-03T19:37:27.192Z',
    eventName,
    userIdentity: { principalId: 'AWS:AIDAINPONIXQXHT3IKHL2' },
    s3: {
      s3SchemaVersion: '1.0',
      configurationId: '828aa6fc-f7b5-4305-8584-487c791949c1',
      bucket: { name: 'bucket', arn: 'arn:aws:s3:::bucket' },
      object: { key: 'key', size: 11, eTag: 'b21b84d6', sequencer: '0055AED6DCD90281E5', ...object },
    },
  };
}

/** The event that the S3 user guide shows for EventBridge (ev-events). */
function bridged(object: JsonObject, detailType = 'Object Created'): JsonObject {
  return {
    version: '0',
    source: 'aws.s3',
    'detail-type': detailType,
    time: '2021-11-12T00:00:00Z',
    detail: {
      version: '0',
      bucket: { name: 'bucket' },
      object: { key: 'key', size: 5, etag: 'b1946ac9', sequencer: '00617F08299329D189', ...object },
      reason: 'PutObject',
    },
  };
}

test('an S3 notification tells of its object, with the version where there is one', () => {
  const upload = {
    bucket: 'bucket',
    key: 'key',
    versionId: null,
    sequencer: '0055AED6DCD90281E5',
    uploadedAt: '2019-09-03T19:37:27.192Z',
  };
  expect(uploadsOf({ Records: [record({})] })).toEqual([upload]);
  expect(uploadsOf({ Records: [record({ versionId: 'v1' }, 'ObjectCreated:Copy'), record({})] })).toEqual([
    { ...upload, versionId: 'v1' },
    upload,
  ]);
});

test('an event through EventBridge tells the same in its own names', () => {
  expect(uploadsOf(bridged({ 'version-id': 'v1' }))).toEqual([
    {
      bucket: 'bucket',
      key: 'key',
      versionId: 'v1',
      sequencer: '00617F08299329D189',
      uploadedAt: '2021-11-12T00:00:00.000Z',
    },
  ]);
});

test.each(oddKeys)('the key %j comes back from either form', (key) => {
  const encoded = encodeURIComponent(key).replaceAll('%20', '+').replaceAll('%2F', '/');
  expect(uploadsOf({ Records: [record({ key: encoded })] })[0]?.key).toBe(key);
  expect(uploadsOf(bridged({ key }))[0]?.key).toBe(key);
});

test.each([
  ['the test event', { Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: 'bucket' }],
  ['a deletion', { Records: [record({}, 'ObjectRemoved:Delete')] }],
  ['a delete marker', { Records: [record({}, 'ObjectRemoved:DeleteMarkerCreated')] }],
  ['a deletion through EventBridge', bridged({}, 'Object Deleted')],
  ['tags', { Records: [record({}, 'ObjectTagging:Put')] }],
])('%s is no upload', (_name, event) => {
  expect(uploadsOf(event)).toEqual([]);
});

test.each([
  ['nothing', null],
  ['another source', { source: 'aws.ec2' }],
  ['a message of SQS', { Records: [{ eventSource: 'aws:sqs', body: '' }] }],
  ['a key that is not encoded', { Records: [record({ key: '100%' })] }],
  ['no key', { Records: [record({ key: '' })] }],
  ['no sequencer', bridged({ sequencer: null })],
  ['a sequencer that is no number', { Records: [record({ sequencer: 'xyz' })] }],
])('%s is an error', (_name, event) => {
  expect(() => uploadsOf(event)).toThrow('The event');
});

test('a malformed record does not cost its neighbours', () => {
  const errors: string[] = [];
  const records = [record({ key: '100%' }), record({ key: 'good' }), record({ sequencer: 'xyz' }), null];
  const uploads = read({ Records: records }, (error) => errors.push(String(error)));
  expect(uploads.map(({ key }) => key)).toEqual(['good']);
  expect(errors).toEqual([
    "Error: The event's key is not percent-encoded: 100%",
    "Error: The event's sequencer is not hexadecimal: xyz",
    'Error: The event has a record that is not from S3',
  ]);
});

test('a rule names one thing, one group, or leaves it to the key', () => {
  expect(targetOf('things/a:b_c-d', 'any/key')).toEqual({ kind: 'thing', name: 'a:b_c-d' });
  expect(targetOf('groups/fleet', 'things/a/file')).toEqual({ kind: 'group', name: 'fleet' });
  expect(targetOf('key', 'things/board-1/model.bin')).toEqual({ kind: 'thing', name: 'board-1' });
  expect(targetOf('key', 'groups/fleet/a/b\nc')).toEqual({ kind: 'group', name: 'fleet' });
});

test.each([
  '',
  'file',
  'things/',
  'things/a',
  'things/a/',
  'things//x',
  'things/a b/x',
  'other/a/x',
  '/things/a/x',
])('the key %j names no target', (key) => {
  expect(targetOf('key', key)).toBeUndefined();
});

test.each(['', 'thing/a', 'things/a/', 'things/a/b', 'groups/ä', 'Key'])('the rule %j is refused', (rule) => {
  expect(() => targetOf(rule, 'things/a/x')).toThrow('is none');
});

test('sequencers compare with the shorter one padded on the right', () => {
  expect(compareSequencers('0055AED6DCD90281E5', '0055AED6DCD90281E6')).toBeLessThan(0);
  expect(compareSequencers('0055AED6DCD90281E5', '0055aed6dcd90281e5')).toBe(0);
  expect(compareSequencers('0055', '005500')).toBe(0);
  expect(compareSequencers('0056', '0055FF')).toBeGreaterThan(0);
});

const release: Release = {
  url: 's3://bucket/key',
  hash: 'ab'.repeat(32),
  size: 5,
  versionId: null,
  sequencer: '0055AED6DCD90281E5',
  uploadedAt: '2019-09-03T19:37:27.192Z',
};

/** What is desired after these releases, each arriving in its turn. */
function after(...releases: Release[]): JsonObject | undefined {
  return releases.reduce<JsonObject | undefined>(
    (current, one) => desiredOf(one, current) ?? current,
    undefined,
  );
}

const at = (second: number) => `2020-01-01T00:00:0${second}.000Z`;
const a1: Release = { ...release, url: 's3://bucket/a', sequencer: '01', uploadedAt: at(5) };
const a2: Release = { ...a1, hash: 'cd'.repeat(32), sequencer: '02', uploadedAt: at(3) };
const b: Release = { ...release, url: 's3://bucket/b', sequencer: '00', uploadedAt: at(4) };

test('of two uploads of one key the sequencer decides, whatever their times, and whichever comes first', () => {
  for (const order of [
    [a1, a2],
    [a2, a1],
    [a1, a2, a1],
  ]) {
    expect(after(...order)).toMatchObject({ hash: a2.hash, sequencer: '02' });
  }
  expect(desiredOf(a1, after(a1))).toBeUndefined();
});

test('of two keys the time decides, and sequencers only within one moment', () => {
  const c = { ...b, url: 's3://bucket/c', sequencer: '09', uploadedAt: at(3) };
  for (const order of [
    [b, c],
    [c, b],
  ]) {
    expect(after(...order)).toMatchObject({ url: b.url, uploadedAt: at(4) });
  }
  const tied = { ...c, uploadedAt: at(4) };
  for (const order of [
    [b, tied],
    [tied, b],
  ]) {
    expect(after(...order)).toMatchObject({ url: c.url });
  }
});

test('an upload whose time S3 dates back is not overtaken by one of another key', () => {
  expect(after(a1, a2)).toMatchObject({ hash: a2.hash, uploadedAt: at(5) });
  expect(after(a1, a2, b, a1)).toMatchObject({ hash: a2.hash });
});

test('a value without the marks of an upload is older than any', () => {
  const unmarked = { url: 's3://bucket/key', hash: 'x', sequencer: 'FF', uploadedAt: at(9) };
  for (const other of [undefined, null, 'text', [], {}, unmarked]) {
    expect(desiredOf(release, other)).toMatchObject({ ...release });
  }
});

test.each([
  { uploadedAt: 'tomorrow' },
  { uploadedAt: '9999-01-01' },
  { sequencer: 'zzzz' },
  { sequencerKey: 'of my own' },
])('marks that no upload can have made, %j, hold up no upload', (broken) => {
  const current = { ...after({ ...a1, sequencer: '0F' }), ...broken };
  expect(desiredOf(a1, current)).toMatchObject({ ...a1 });
  expect(desiredOf(b, current)).toMatchObject({ ...b });
});

test('a key desired by hand, over the marks of another one, takes the next real upload of either', () => {
  // As the shadow service merges it.
  const byHand = { ...after({ ...a1, sequencer: '0F' }), url: b.url, hash: 'by hand' };
  expect(desiredOf({ ...a1, sequencer: '0F' }, byHand)).toBeUndefined();
  expect(desiredOf(b, byHand)).toBeUndefined();
  expect(desiredOf({ ...b, uploadedAt: at(6) }, byHand)).toMatchObject({ hash: b.hash });
  expect(desiredOf({ ...a1, sequencer: '10' }, byHand)).toMatchObject({ url: a1.url });
});

test('a page goes through the queue as it is, and anything else is refused', () => {
  const page = { property: 's3', shadowName: 'files', release, things: ['a', 'b'] };
  for (const key of ['key', ...oddKeys]) {
    const odd = { ...page, release: { ...release, url: `s3://bucket/${key}` } };
    expect(parsePage(formatPage(odd))).toEqual(odd);
    // SQS API, SendMessage: all that XML 1.0 has a place for.
    expect(formatPage(odd)).toMatch(/^[\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]+$/u);
  }
  const broken = [{}, { ...page, things: [1] }, { ...page, release: { ...release, size: 'x' } }, [], null];
  for (const other of broken) expect(() => parsePage(JSON.stringify(other))).toThrow('The message');
});
