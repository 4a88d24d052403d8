import { isJsonObject, type JsonObject, type JsonValue, member } from '../core/json.ts';
import type { Upload } from './events.ts';

/** What the publisher writes to `desired.<property>`. The agent mirrors all of it in `reported`. */
export interface Release {
  /** `s3://bucket/key` */
  url: string;
  /** SHA-256 in lower-case hexadecimal. */
  hash: string;
  /** Bytes. */
  size: number;
  /** Null, which removes it from the shadow, where the bucket keeps no versions. */
  versionId: string | null;
  /**
   * With `uploadedAt` it tells whether a later event is older news. They lie beside what they belong to, so one
   * write with the shadow's version changes all or nothing, and whoever deletes the value deletes them too.
   */
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

/**
 * Tells whether a release is newer than what the shadow desires now. Uploads of one key are ordered by their
 * sequencers. These do not compare between keys, where the time of the upload decides, and sequencers only settle a
 * tie: any rule does that gives every order of arrival the same end. A value that somebody else wrote is older.
 */
export function isNewer(release: Release, current: JsonValue | undefined): boolean {
  if (!isJsonObject(current)) return true;
  const sequencer = member(current, 'sequencer');
  if (typeof sequencer !== 'string') return true;
  const uploadedAt = member(current, 'uploadedAt');
  const isOtherKey = member(current, 'url') !== release.url;
  if (isOtherKey && typeof uploadedAt === 'string' && uploadedAt !== release.uploadedAt) {
    return release.uploadedAt > uploadedAt;
  }
  return compareSequencers(release.sequencer, sequencer) > 0;
}

/** A message of the queue between publisher and writer: one publication for some things. */
export interface Page extends Publication {
  things: string[];
}

export function formatPage(page: Page): string {
  return JSON.stringify(page);
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
