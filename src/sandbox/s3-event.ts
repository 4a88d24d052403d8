import { randomUUID } from 'node:crypto';
import type { JsonObject } from '../core/json.ts';
import type { ObjectCreated } from './s3/server.ts';

/** The event that S3 sends to a Lambda. Source: S3 user guide, notification-content-structure. */
export function s3Event(created: ObjectCreated, region: string, nowMs: number): JsonObject {
  const { bucket, key, size, eTag, versionId, sequencer, eventName } = created;
  return {
    Records: [
      {
        eventVersion: '2.1',
        eventSource: 'aws:s3',
        awsRegion: region,
        eventTime: new Date(nowMs).toISOString(),
        eventName,
        userIdentity: { principalId: 'AWS:SANDBOX' },
        requestParameters: { sourceIPAddress: '127.0.0.1' },
        responseElements: { 'x-amz-request-id': 'SANDBOX', 'x-amz-id-2': 'SANDBOX' },
        s3: {
          s3SchemaVersion: '1.0',
          configurationId: 'publisher',
          bucket: {
            name: bucket,
            ownerIdentity: { principalId: 'SANDBOX' },
            arn: `arn:aws:s3:::${bucket}`,
          },
          object: {
            key: formEncoded(key),
            size,
            eTag,
            ...(versionId === undefined ? {} : { versionId }),
            sequencer,
          },
        },
      },
    ],
  };
}

/** The event that EventBridge sends to a Lambda. Its time has seconds. Source: S3 user guide, ev-events. */
export function eventBridgeEvent(created: ObjectCreated, region: string, nowMs: number): JsonObject {
  const { bucket, key, size, eTag, versionId, sequencer, eventName } = created;
  return {
    version: '0',
    id: randomUUID(),
    'detail-type': 'Object Created',
    source: 'aws.s3',
    account: '123456789012',
    time: new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z'),
    region,
    resources: [`arn:aws:s3:::${bucket}`],
    detail: {
      version: '0',
      bucket: { name: bucket },
      object: {
        key,
        size,
        etag: eTag,
        ...(versionId === undefined ? {} : { 'version-id': versionId }),
        sequencer,
      },
      'request-id': 'SANDBOX',
      requester: '123456789012',
      'source-ip-address': '127.0.0.1',
      reason: reasons[eventName],
    },
  };
}

const reasons: Record<ObjectCreated['eventName'], string> = {
  'ObjectCreated:Put': 'PutObject',
  'ObjectCreated:Copy': 'CopyObject',
  'ObjectCreated:CompleteMultipartUpload': 'CompleteMultipartUpload',
};

/** As HTML forms are encoded, but for the slash. */
function formEncoded(key: string): string {
  const percent = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(key)
    .replace(/[!'()~]/g, percent)
    .replaceAll('%20', '+')
    .replaceAll('%2F', '/');
}
