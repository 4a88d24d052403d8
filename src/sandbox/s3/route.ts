import type { Address } from './address.ts';
import * as buckets from './buckets.ts';
import { S3Error } from './errors.ts';
import * as lists from './list-objects.ts';
import * as multipart from './multipart.ts';
import type { Operation } from './operation.ts';
import * as reads from './read-objects.ts';
import * as writes from './write-objects.ts';

const operations: Record<'service' | 'bucket' | 'object', Record<string, Operation>> = {
  service: { GET: buckets.listBuckets },
  bucket: {
    GET: lists.listObjects,
    HEAD: buckets.headBucket,
    PUT: buckets.createBucket,
    DELETE: buckets.deleteBucket,
    'GET location': buckets.getBucketLocation,
    'GET versioning': buckets.getBucketVersioning,
    'PUT versioning': buckets.putBucketVersioning,
    'GET versions': lists.listObjectVersions,
    'GET uploads': multipart.listMultipartUploads,
    'POST delete': writes.deleteObjects,
  },
  object: {
    GET: reads.getObject,
    HEAD: reads.headObject,
    PUT: writes.putObject,
    DELETE: writes.deleteObject,
    'POST uploads': multipart.createMultipartUpload,
    'PUT uploadId': multipart.uploadPart,
    'POST uploadId': multipart.completeMultipartUpload,
    'DELETE uploadId': multipart.abortMultipartUpload,
    'GET uploadId': multipart.listParts,
  },
};

/** The query parameters that make a request another operation (API Reference, Actions). */
const subresources = [
  ...['uploadId', 'uploads', 'versions', 'versioning', 'location', 'delete', 'partNumber', 'acl', 'tagging'],
  ...['policy', 'policyStatus', 'cors', 'lifecycle', 'website', 'logging', 'notification', 'replication'],
  ...['requestPayment', 'encryption', 'accelerate', 'analytics', 'inventory', 'metrics', 'ownershipControls'],
  ...['publicAccessBlock', 'intelligent-tiering', 'object-lock', 'legal-hold', 'retention', 'torrent'],
  ...['restore', 'select', 'attributes', 'session', 'append', 'renameObject', 'metadataTable', 'abac'],
];

/** The operation that a request asks for. Throws NotImplemented (501) or MethodNotAllowed (405). */
export function route(method: string, { bucket, key, query }: Address): Operation {
  const level = bucket === undefined ? 'service' : key === undefined ? 'bucket' : 'object';
  const subresource = subresources.find((name) => query.has(name));
  const name = subresource === undefined ? method : `${method} ${subresource}`;
  const operation = Object.hasOwn(operations[level], name) ? operations[level][name] : undefined;
  if (operation !== undefined) return operation;
  if (subresource === undefined) {
    throw new S3Error('MethodNotAllowed', { details: { Method: method, ResourceType: level.toUpperCase() } });
  }
  throw new S3Error('NotImplemented', {
    message: 'The sandbox does not implement this operation.',
    details: { Header: subresource },
  });
}
