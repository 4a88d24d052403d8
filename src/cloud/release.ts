import { createHash } from 'node:crypto';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import type { Upload } from './events.ts';

/** What the publisher knows of an upload. */
export interface Release {
  /** `s3://bucket/key` */
  url: string;
  /** SHA-256 in lower-case hexadecimal. */
  hash: string;
  /** Bytes. */
  size: number;
  /** Null, which removes it from the shadow, where the bucket keeps no versions. */
  versionId: string | null;
  /** With `uploadedAt` it tells whether a later event is older news. */
  sequencer: string;
  uploadedAt: string;
}

/** One release with the place in the shadow where it goes. */
export interface Publication {
  property: string;
  /** The classic shadow without it. */
  shadowName?: string;
  release: Release;
}

export function releaseOf(upload: Upload, object: { hash: string; size: number }): Release {
  const { bucket, key, versionId, sequencer, uploadedAt } = upload;
  return { url: `s3://${bucket}/${key}`, ...object, versionId, sequencer, uploadedAt };
}

/**
 * Orders two sequencers of one key. Source: S3 user guide, notification-content-structure: the shorter one is padded
 * with zeros on the right, then they compare as text.
 * @returns less than, equal to or greater than 0
 */
export function compareSequencers(a: string, b: string): number {
  const length = Math.max(a.length, b.length);
  const [left, right] = [a, b].map((sequencer) => sequencer.toUpperCase().padEnd(length, '0'));
  return left === right ? 0 : (left ?? '') < (right ?? '') ? -1 : 1;
}

/** Which key a sequencer is of: the start of a SHA-256 of the URL, as a shadow has little room and a key may be long. */
function sequencerKeyOf(url: string): string {
  return createHash('sha256').update(url).digest('hex').slice(0, 16);
}

/**
 * What is written to `desired.<property>` in the place of `current`; the agent mirrors all of it in `reported`. The
 * marks of the upload lie beside what they belong to, so one write with the shadow's version changes all or nothing.
 * They name their key apart from the URL, which somebody may overwrite by hand. `uploadedAt` never goes back while
 * the key stays: else an upload of another key could win between two of this one.
 *
 * @returns undefined where `current` is as new
 */
export function desiredOf(release: Release, current: JsonValue | undefined): JsonObject | undefined {
  const sequencerKey = sequencerKeyOf(release.url);
  const marks = marksOf(current);
  if (marks === undefined) return { ...release, sequencerKey };
  if (marks.sequencerKey !== sequencerKey) {
    return isLater(release, marks) ? { ...release, sequencerKey } : undefined;
  }
  if (compareSequencers(release.sequencer, marks.sequencer) <= 0) return undefined;
  const wouldGoBack = marks.uploadedAt > release.uploadedAt;
  return { ...release, ...(wouldGoBack ? { uploadedAt: marks.uploadedAt } : {}), sequencerKey };
}

type Marks = Pick<Release, 'sequencer' | 'uploadedAt'> & { sequencerKey: string };

/**
 * The marks of the last upload that was written. A value that somebody has changed by hand keeps them: it is newer than
 * that upload, and older than any later one. One without marks is older than any; so is one with marks that no upload
 * can have made, as they would hold up every later one.
 */
function marksOf(current: JsonValue | undefined): Marks | undefined {
  const { sequencer, uploadedAt, sequencerKey }: JsonObject =
    current !== undefined && isJsonObject(current) ? current : {};
  if (typeof sequencer !== 'string' || !/^[0-9a-f]+$/i.test(sequencer)) return undefined;
  if (typeof uploadedAt !== 'string' || !isTime(uploadedAt)) return undefined;
  if (typeof sequencerKey !== 'string' || !/^[0-9a-f]{16}$/.test(sequencerKey)) return undefined;
  return { sequencer, uploadedAt, sequencerKey };
}

/** A time as releases have it, which sorts as text. */
function isTime(text: string): boolean {
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && new Date(ms).toISOString() === text;
}

/**
 * Orders uploads of two keys. Their sequencers do not compare, so the time decides, and sequencers only settle a tie.
 * Together with the order by sequencers within a key this is one order of all uploads as long as the times of each
 * key's uploads follow its sequencers, which S3 does not promise.
 */
function isLater(release: Release, marks: Marks): boolean {
  if (release.uploadedAt !== marks.uploadedAt) return release.uploadedAt > marks.uploadedAt;
  return compareSequencers(release.sequencer, marks.sequencer) > 0;
}

/** A message of the queue between publisher and writer: one publication for some things. */
export interface Page extends Publication {
  things: string[];
}

/** The characters that JSON has as they are and SQS does not take. Source: SQS API, SendMessage, MessageBody. */
const refusedBySqs = /[\uFFFE\uFFFF]/g;

export function formatPage(page: Page): string {
  return JSON.stringify(page).replace(
    refusedBySqs,
    (character) => `\\u${character.charCodeAt(0).toString(16)}`,
  );
}

/** @throws Error when the text is no page */
export function parsePage(body: string): Page {
  const page: JsonValue = JSON.parse(body);
  const { property, shadowName, release, things }: JsonObject = isJsonObject(page) ? page : {};
  if (typeof property !== 'string' || !Array.isArray(things)) {
    throw new Error('The message is no page of things with a release');
  }
  const names = things.map((thing) => {
    if (typeof thing === 'string') return thing;
    throw new Error('The message names a thing that is no text');
  });
  const named = typeof shadowName === 'string' ? { shadowName } : {};
  return { property, ...named, release: parseRelease(release), things: names };
}

function parseRelease(value: JsonValue | undefined): Release {
  const { url, hash, size, versionId, sequencer, uploadedAt }: JsonObject =
    value !== undefined && isJsonObject(value) ? value : {};
  if (
    typeof url === 'string' &&
    typeof hash === 'string' &&
    typeof size === 'number' &&
    (typeof versionId === 'string' || versionId === null) &&
    typeof sequencer === 'string' &&
    typeof uploadedAt === 'string'
  ) {
    return { url, hash, size, versionId, sequencer, uploadedAt };
  }
  throw new Error('The message has a release that lacks something');
}
