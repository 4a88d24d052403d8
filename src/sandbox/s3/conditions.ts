import type { IncomingHttpHeaders } from 'node:http';
import { S3Error } from './errors.ts';
import type { StoredObject } from './versions.ts';

/** The conditions of a request, whichever headers they came in. */
export interface Conditions {
  ifMatch?: string | undefined;
  ifNoneMatch?: string | undefined;
  ifModifiedSince?: string | undefined;
  ifUnmodifiedSince?: string | undefined;
}

/** The conditions that a request states in its ordinary headers. */
export function conditionsOf(headers: IncomingHttpHeaders): Conditions {
  return {
    ifMatch: headers['if-match'],
    ifNoneMatch: headers['if-none-match'],
    ifModifiedSince: headers['if-modified-since'],
    ifUnmodifiedSince: headers['if-unmodified-since'],
  };
}

/**
 * Holds an object against the conditions of a read: `modified`, or `unmodified` where a GET is answered 304. Throws
 * PreconditionFailed. An ETag condition outweighs the date one beside it (API Reference, GetObject).
 */
export function evaluate(conditions: Conditions, object: StoredObject): 'modified' | 'unmodified' {
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince } = conditions;
  // HTTP dates have no milliseconds.
  const lastModifiedMs = Math.floor(object.lastModifiedMs / 1000) * 1000;
  if (ifMatch !== undefined) {
    if (!matches(ifMatch, object.eTag)) throw preconditionFailed('If-Match');
  } else if (ifUnmodifiedSince !== undefined && lastModifiedMs > Date.parse(ifUnmodifiedSince)) {
    throw preconditionFailed('If-Unmodified-Since');
  }
  if (ifNoneMatch !== undefined) return matches(ifNoneMatch, object.eTag) ? 'unmodified' : 'modified';
  if (ifModifiedSince !== undefined && lastModifiedMs <= Date.parse(ifModifiedSince)) return 'unmodified';
  return 'modified';
}

/** The condition of a write, to be asked right before the object is replaced. */
export function writeCondition({ ifMatch, ifNoneMatch }: Conditions) {
  return (current: StoredObject | undefined): void => {
    if (ifMatch !== undefined) {
      if (current === undefined) throw new S3Error('NoSuchKey');
      if (!matches(ifMatch, current.eTag)) throw preconditionFailed('If-Match');
    }
    if (ifNoneMatch !== undefined && current !== undefined && matches(ifNoneMatch, current.eTag)) {
      throw preconditionFailed('If-None-Match');
    }
  };
}

/** PreconditionFailed, with the name of the condition. */
export function preconditionFailed(condition: string): S3Error {
  return new S3Error('PreconditionFailed', { details: { Condition: condition } });
}

/** S3 takes ETags without quotes too. */
function matches(list: string, eTag: string): boolean {
  return list
    .split(',')
    .map((one) => one.trim().replace(/^(W\/)?"(.*)"$/, '$2'))
    .some((one) => one === '*' || one === eTag);
}
