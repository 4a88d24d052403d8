import * as v from 'valibot';
import { first } from './authorization.ts';
import { checkLength, readXml } from './body.ts';
import { owner, queryNumber } from './buckets.ts';
import { type ChecksumAlgorithm, type ChecksumType, isChecksumAlgorithm } from './checksums.ts';
import { conditionsOf, writeCondition } from './conditions.ts';
import { S3Error } from './errors.ts';
import { isoTime, type OperationRequest, type Reply, versionHeader } from './operation.ts';
import { parseRange } from './range.ts';
import type { Part, Upload } from './uploads.ts';
import { attributesOf, checkCopyConditions, copySource, sourceVersionHeader } from './write-objects.ts';
import { parseXml, repeated, writeXml, type XmlTree } from './xml.ts';

/** CreateMultipartUpload. */
export function createMultipartUpload({ store, bucket, key, headers }: OperationRequest): Reply {
  const upload = store.uploads.create(bucket, key, {
    ...attributesOf(headers),
    algorithm: wantedAlgorithm(first(headers['x-amz-checksum-algorithm'])),
    checksumType: wantedType(first(headers['x-amz-checksum-type'])),
  });
  return {
    status: 200,
    headers: {
      'x-amz-server-side-encryption': 'AES256',
      'x-amz-checksum-algorithm': upload.algorithm.toUpperCase(),
      'x-amz-checksum-type': upload.checksumType,
    },
    xml: writeXml('InitiateMultipartUploadResult', { Bucket: bucket, Key: key, UploadId: upload.uploadId }),
  };
}

function wantedAlgorithm(name: string | undefined): ChecksumAlgorithm | undefined {
  const lower = name?.toLowerCase();
  if (lower === undefined || isChecksumAlgorithm(lower)) return lower;
  throw new S3Error('InvalidRequest', {
    message: 'Checksum algorithm provided is unsupported. Please try again with any of the valid types.',
  });
}

function wantedType(name: string | undefined): ChecksumType | undefined {
  if (name === undefined || name === 'FULL_OBJECT' || name === 'COMPOSITE') return name;
  throw new S3Error('InvalidRequest', { message: 'Value for x-amz-checksum-type header is invalid.' });
}

/** UploadPart; UploadPartCopy when the request names a source. */
export async function uploadPart(request: OperationRequest): Promise<Reply> {
  const { store, headers, body, query } = request;
  const upload = findUpload(request);
  const partNumber = Number(query.get('partNumber') ?? Number.NaN);
  if (headers['x-amz-copy-source'] !== undefined) return await copyPart(request, upload, partNumber);
  checkLength(headers);
  const part = await store.uploads.putPart(upload, partNumber, body.bytes, body.expected);
  return {
    status: 200,
    headers: {
      ETag: quotedETag(part),
      'x-amz-server-side-encryption': 'AES256',
      [`x-amz-checksum-${part.algorithm}`]: part.digest.toString('base64'),
    },
  };
}

async function copyPart(request: OperationRequest, upload: Upload, partNumber: number): Promise<Reply> {
  const { store } = request;
  const source = copySource(request);
  const { object, file } = await store.get(source.bucket, source.key, source.versionId);
  try {
    checkCopyConditions(request.headers, object);
    const range = parseRange(first(request.headers['x-amz-copy-source-range']), object.size);
    const bytes: AsyncIterable<Uint8Array> = file.createReadStream({ autoClose: false, ...range });
    const part = await store.uploads.putPart(upload, partNumber, bytes, {});
    const result = { LastModified: isoTime(part.lastModifiedMs), ETag: quotedETag(part) };
    const headers = sourceVersionHeader(request, source.bucket, object);
    return { status: 200, headers, xml: writeXml('CopyPartResult', result) };
  } finally {
    await file.close();
  }
}

const optionalText = v.optional(v.string());
const completedPartSchema = v.object({
  PartNumber: v.pipe(v.string(), v.trim(), v.digits(), v.transform(Number)),
  ETag: v.string(),
  ChecksumCRC32: optionalText,
  ChecksumCRC32C: optionalText,
  ChecksumCRC64NVME: optionalText,
  ChecksumSHA1: optionalText,
  ChecksumSHA256: optionalText,
});
const completeSchema = v.object({
  CompleteMultipartUpload: v.object({ Part: repeated(completedPartSchema) }),
});

/** CompleteMultipartUpload. */
export async function completeMultipartUpload(request: OperationRequest): Promise<Reply> {
  const { store, bucket, key, headers, body } = request;
  const upload = findUpload(request);
  // The checksum headers here are of the object, not of this document.
  const text = await readXml({ bytes: body.bytes, expected: {} });
  const { Part: listed } = parseXml(text, completeSchema).CompleteMultipartUpload;
  const parts = listed.map((part) => ({
    partNumber: part.PartNumber,
    eTag: part.ETag.trim().replace(/^"(.*)"$/, '$1'),
    checksums: {
      crc32: part.ChecksumCRC32,
      crc32c: part.ChecksumCRC32C,
      crc64nvme: part.ChecksumCRC64NVME,
      sha1: part.ChecksumSHA1,
      sha256: part.ChecksumSHA256,
    },
  }));
  const object = await store.uploads.complete(upload, parts, {
    checksum: first(headers[`x-amz-checksum-${upload.algorithm}`]),
    condition: writeCondition(conditionsOf(headers)),
  });
  return {
    status: 200,
    headers: { 'x-amz-server-side-encryption': 'AES256', ...versionHeader(request, object) },
    xml: writeXml('CompleteMultipartUploadResult', {
      Location: `https://${headers.host ?? 'localhost'}/${bucket}/${key}`,
      Bucket: bucket,
      Key: key,
      ETag: `"${object.eTag}"`,
      [`Checksum${object.checksum.algorithm.toUpperCase()}`]: object.checksum.value,
      ChecksumType: object.checksum.type,
    }),
  };
}

/** AbortMultipartUpload. */
export async function abortMultipartUpload(request: OperationRequest): Promise<Reply> {
  await request.store.uploads.abort(findUpload(request));
  return { status: 204 };
}

/** ListParts. */
export function listParts(request: OperationRequest): Reply {
  const { bucket, key, query } = request;
  const upload = findUpload(request);
  const marker = query.has('part-number-marker') ? queryNumber(query, 'part-number-marker', 10_000) : 0;
  const maxParts = queryNumber(query, 'max-parts', 1000);
  const later = [...upload.parts.values()]
    .filter((part) => part.partNumber > marker)
    .sort((a, b) => a.partNumber - b.partNumber);
  const page = later.slice(0, maxParts);
  return {
    status: 200,
    xml: writeXml('ListPartsResult', {
      Bucket: bucket,
      Key: key,
      UploadId: upload.uploadId,
      PartNumberMarker: marker,
      NextPartNumberMarker: page.at(-1)?.partNumber ?? 0,
      MaxParts: maxParts,
      IsTruncated: later.length > page.length,
      Part: page.map(describePart),
      Initiator: owner,
      Owner: owner,
      StorageClass: 'STANDARD',
      ChecksumAlgorithm: upload.algorithm.toUpperCase(),
      ChecksumType: upload.checksumType,
    }),
  };
}

/** ListMultipartUploads, always in one page. */
export function listMultipartUploads({ store, bucket, query }: OperationRequest): Reply {
  const prefix = query.get('prefix') ?? '';
  const uploads = store.uploads.list(bucket).filter((upload) => upload.key.startsWith(prefix));
  return {
    status: 200,
    xml: writeXml('ListMultipartUploadsResult', {
      Bucket: bucket,
      KeyMarker: '',
      UploadIdMarker: '',
      MaxUploads: 1000,
      IsTruncated: false,
      Prefix: prefix,
      Upload: uploads.map((upload) => ({
        Key: upload.key,
        UploadId: upload.uploadId,
        Initiator: owner,
        Owner: owner,
        StorageClass: 'STANDARD',
        Initiated: isoTime(upload.initiatedMs),
      })),
    }),
  };
}

function findUpload({ store, bucket, key, query }: OperationRequest): Upload {
  return store.uploads.find(bucket, key, query.get('uploadId') ?? '');
}

function describePart(part: Part): XmlTree {
  return {
    PartNumber: part.partNumber,
    LastModified: isoTime(part.lastModifiedMs),
    ETag: quotedETag(part),
    Size: part.size,
    [`Checksum${part.algorithm.toUpperCase()}`]: part.digest.toString('base64'),
  };
}

function quotedETag(part: Part): string {
  return `"${part.md5.toString('hex')}"`;
}
