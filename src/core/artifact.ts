import * as v from 'valibot';
import type { ErrorCode } from './errors.ts';
import { isJsonObject, type JsonObject, type JsonValue, jsonEqual, member } from './json.ts';

/** One object in S3, named by its URL and pinned by the SHA-256 of its bytes. */
export interface Artifact {
  /** `s3://bucket/key`; the key is everything behind the bucket's slash, as it is, never percent-decoded. */
  url: string;
  bucket: string;
  key: string;
  versionId?: string;
  /** 64 lower-case hexadecimal digits. */
  sha256: string;
  /** Bytes, where the desired value tells. */
  size?: number;
}

/** An artifact, and the desired value that asks for it as it stands, which `reported` mirrors. */
export interface Wanted {
  value: JsonObject;
  artifact: Artifact;
}

/** What the shadow wants of one file. */
export type Desired =
  /** No answer of the shadow yet; `last` is to be kept where that may take long. */
  | { kind: 'unknown'; last?: Wanted }
  /** Nothing is desired; `noShadow` where the thing has no shadow document at all (404). */
  | { kind: 'absent'; noShadow: boolean }
  | { kind: 'refused'; value: JsonValue; code: ErrorCode; message: string; hint?: string; sha256?: string }
  | ({ kind: 'artifact' } & Wanted);

// S3 user guide, object-keys: at most 1,024 bytes of UTF-8.
const maxKeyBytes = 1024;
const bucketName = /^[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]$/;
const s3Url = /^s3:\/\/([^/]*)\/([\s\S]*)$/;

function urlProblem(url: string): string | undefined {
  const match = s3Url.exec(url);
  if (match === null) return 'must be s3://bucket/key';
  const [, bucket = '', key = ''] = match;
  if (!bucketName.test(bucket)) return 'names no valid bucket';
  if (key === '') return 'has an empty key';
  if (!key.isWellFormed() || key.includes('\0')) return 'has a key that is no valid text';
  if (new TextEncoder().encode(key).length > maxKeyBytes) return `has a key of over ${maxKeyBytes} bytes`;
  // A URL parser resolves such segments, so that another object would be asked for.
  if (key.split('/').some((segment) => segment === '.' || segment === '..')) {
    return 'has a key with a "." or ".." segment';
  }
  return undefined;
}

const artifactSchema = v.looseObject({
  url: v.pipe(
    v.string('must be a string'),
    v.rawCheck(({ dataset, addIssue }) => {
      const problem = dataset.typed ? urlProblem(dataset.value) : undefined;
      if (problem !== undefined) addIssue({ message: problem });
    }),
  ),
  hash: v.pipe(
    v.string('must be a string'),
    v.regex(/^[0-9a-fA-F]{64}$/, 'must be a SHA-256: 64 hexadecimal digits'),
    v.toLowerCase(),
  ),
  versionId: v.optional(
    v.pipe(
      v.string('must be a string'),
      v.minLength(1, 'must not be empty'),
      v.maxLength(1024, 'is too long'),
      v.check((text) => text.isWellFormed(), 'is no valid text'),
    ),
  ),
  size: v.optional(
    v.pipe(
      v.number('must be a number'),
      v.safeInteger('must be a whole number'),
      v.minValue(0, 'must not be negative'),
    ),
  ),
});

/** Rules of the device for one file, which the cloud cannot change. */
export interface DesiredRules {
  /** `s3://bucket/prefix` each; without a list everything that the role may read is allowed. */
  allow?: readonly string[] | undefined;
}

/**
 * Parses the desired value of one file.
 *
 * A malformed value is `refused` with code DESIRED_INVALID and all of its problems, one that no entry of `allow`
 * covers with NOT_ALLOWED; nothing is thrown.
 */
export function parseDesired(value: JsonValue | undefined, rules: DesiredRules): Desired {
  if (value === undefined || value === null) return { kind: 'absent', noShadow: false };
  const parsed = v.safeParse(artifactSchema, value);
  if (!parsed.success || !isJsonObject(value)) return refuse(value, problemsOf(value, parsed.issues ?? []));
  const { url, hash, versionId, size } = parsed.output;
  const [, bucket = '', key = ''] = s3Url.exec(url) ?? [];
  if (rules.allow !== undefined && !rules.allow.some((prefix) => url.startsWith(prefix))) {
    return {
      kind: 'refused',
      value,
      code: 'NOT_ALLOWED',
      message: `No entry of "allow" covers the bucket ${bucket} with this key`,
      hint: 'add the bucket or prefix to "allow" of this file in agent.json, if the device may take files from it',
      sha256: hash,
    };
  }
  const artifact: Artifact = { url, bucket, key, sha256: hash };
  if (versionId !== undefined) artifact.versionId = versionId;
  if (size !== undefined) artifact.size = size;
  return { kind: 'artifact', value, artifact };
}

function problemsOf(value: JsonValue, issues: readonly v.BaseIssue<unknown>[]): string {
  if (!isJsonObject(value)) return 'is not an object with "url" and "hash"';
  return issues
    .map((issue) => {
      const key = v.getDotPath(issue) ?? '';
      return member(value, key) === undefined ? `${key} is missing` : `${key} ${issue.message}`;
    })
    .join('; ');
}

function refuse(value: JsonValue, problems: string): Desired {
  const hash = isJsonObject(value) ? member(value, 'hash') : undefined;
  const sha256 =
    typeof hash === 'string' && /^[0-9a-fA-F]{64}$/.test(hash) ? { sha256: hash.toLowerCase() } : {};
  return {
    kind: 'refused',
    value,
    code: 'DESIRED_INVALID',
    message: `The desired value ${problems}`,
    hint: 'write {"url": "s3://bucket/key", "hash": "<sha256>", "versionId": null, "size": null} to the desired state',
    ...sha256,
  };
}

/** What a file is to be; undefined where it stays as it is. */
export function wantedBy(desired: Desired): Wanted | undefined {
  return desired.kind === 'artifact' ? desired : desired.kind === 'unknown' ? desired.last : undefined;
}

/** Names what the bytes of an artifact come from: its URL, and the version where that is desired. */
export function sourceOf({ url, versionId }: Pick<Artifact, 'url' | 'versionId'>): string {
  return versionId === undefined ? url : `${url}?versionId=${versionId}`;
}

/** Tells whether two desired states ask for the same, to the last unknown key. */
export function sameDesired(a: Desired, b: Desired): boolean {
  if (a.kind !== b.kind) return false;
  if (a.kind === 'absent' && b.kind === 'absent') return a.noShadow === b.noShadow;
  return 'value' in a && 'value' in b ? jsonEqual(a.value, b.value) : true;
}
