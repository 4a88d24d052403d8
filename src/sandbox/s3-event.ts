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

/** As HTML forms are encoded, but for the slash. */
function formEncoded(key: string): string {
  const percent = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(key)
    .replace(/[!'()~]/g, percent)
    .replaceAll('%20', '+')
    .replaceAll('%2F', '/');
}
