import * as v from 'valibot';
import { readXml } from './body.ts';
import { S3Error } from './errors.ts';
import { isoTime, type OperationRequest, type Reply } from './operation.ts';
import { parseXml, writeXml } from './xml.ts';

/** The account that owns everything here. */
export const owner = {
  ID: '75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a',
  DisplayName: 'sandbox',
};

/** ListBuckets. */
export function listBuckets({ store }: OperationRequest): Reply {
  const buckets = store.buckets().map(({ name, createdMs, region }) => ({
    Name: name,
    CreationDate: isoTime(createdMs),
    BucketRegion: region,
  }));
  return {
    status: 200,
    xml: writeXml('ListAllMyBucketsResult', { Owner: owner, Buckets: { Bucket: buckets } }),
  };
}

const createSchema = v.object({
  CreateBucketConfiguration: v.object({ LocationConstraint: v.optional(v.string()) }),
});

/** CreateBucket; a LocationConstraint puts it into another region. */
export async function createBucket({ store, bucket, body }: OperationRequest): Promise<Reply> {
  const text = await readXml(body);
  const region =
    text === '' ? undefined : parseXml(text, createSchema).CreateBucketConfiguration.LocationConstraint;
  store.createBucket(bucket, region === undefined ? {} : { region });
  return { status: 200, headers: { Location: `/${bucket}` } };
}

/** HeadBucket. */
export function headBucket({ store, bucket }: OperationRequest): Reply {
  const { region } = store.bucket(bucket);
  return { status: 200, headers: { 'x-amz-bucket-region': region, 'x-amz-access-point-alias': 'false' } };
}

/** DeleteBucket. */
export async function deleteBucket({ store, bucket }: OperationRequest): Promise<Reply> {
  await store.deleteBucket(bucket);
  return { status: 204 };
}

/** GetBucketLocation: us-east-1 is the empty one. */
export function getBucketLocation({ store, bucket }: OperationRequest): Reply {
  const { region } = store.bucket(bucket);
  return { status: 200, xml: writeXml('LocationConstraint', region === 'us-east-1' ? '' : region) };
}

/** GetBucketVersioning. */
export function getBucketVersioning({ store, bucket }: OperationRequest): Reply {
  return {
    status: 200,
    xml: writeXml('VersioningConfiguration', { Status: store.bucket(bucket).versioning }),
  };
}

const versioningSchema = v.object({
  VersioningConfiguration: v.object({ Status: v.picklist(['Enabled', 'Suspended']) }),
});

/** PutBucketVersioning. */
export async function putBucketVersioning({ store, bucket, body }: OperationRequest): Promise<Reply> {
  const target = store.bucket(bucket);
  target.versioning = parseXml(await readXml(body), versioningSchema).VersioningConfiguration.Status;
  return { status: 200 };
}

/** A number that a query may give, in 0 to `max`; `max` without one. Throws InvalidArgument. */
export function queryNumber(query: ReadonlyMap<string, string>, name: string, max: number): number {
  const text = query.get(name);
  if (text === undefined || text === '') return max;
  if (/^\d{1,10}$/.test(text)) return Math.min(Number(text), max);
  throw new S3Error('InvalidArgument', {
    message: `Provided ${name} not an integer or within integer range`,
    details: { ArgumentName: name, ArgumentValue: text },
  });
}
