import { outageHint } from './connection-hints.ts';
import { AgentError, type AgentErrorOptions, type ErrorCode } from './errors.ts';
import { partitionOf, partitionSuffix, type S3Address, type S3ErrorBody } from './s3-request.ts';

/** What an error answer of S3 itself tells how to mend, once for a request. */
export type Remedy =
  /** The credentials have ended: get new ones. */
  | { mend: 'session' }
  /** The clocks differ: sign with this time. */
  | { mend: 'time'; serverTime: string }
  /** The bucket lives in this region. */
  | { mend: 'region'; region: string }
  /** The bucket is new, and for now answers here. */
  | { mend: 'redirect'; address: Partial<S3Address> };

export interface S3Refusal {
  error: AgentError;
  remedy?: Remedy;
}

/** An error answer, and what was asked. */
export interface RefusedRequest {
  /** What failed, on what. */
  what: string;
  status: number;
  body: S3ErrorBody;
  /** `x-amz-bucket-region` and `Location` of the answer. */
  bucketRegion: string | null;
  location: string | null;
  /** `Date` of the answer: TLS goes to S3 itself, also through a proxy, so it is the time of S3. */
  date: string | null;
  bucket: string;
  address: S3Address;
}

const denialHint =
  'allow s3:GetObject (s3:GetObjectVersion with a versionId) on the key to the role behind the alias; or the object is not uploaded yet';
/** By the code of the answer, where permissions are not the cause. */
const denialHints: Readonly<Record<string, string>> = {
  SignatureDoesNotMatch:
    'the request was changed on its way, or the secret key is wrong: check "s3.endpoint" and what stands between (a proxy or gateway that rewrites)',
  InvalidObjectState:
    'the object is archived (S3 Glacier): restore it with aws s3api restore-object, or copy it to another storage class',
};
const endedSession = new Set(['ExpiredToken', 'InvalidToken', 'TokenRefreshRequired', 'InvalidAccessKeyId']);

/** Class, hint and remedy of an error answer. Source: S3 API reference, ErrorResponses; user guide, RESTRedirect. */
export function refuse(request: RefusedRequest): S3Refusal {
  const { what, status, body } = request;
  const said = body.code === '' ? `HTTP ${status}` : `HTTP ${status} ${body.code}`;
  const { code, options, remedy } = classify(request);
  const error = new AgentError(
    code,
    `${what}: ${said}${body.message === '' ? '' : ` (${body.message})`}`,
    options,
  );
  return remedy === undefined ? { error } : { error, remedy };
}

interface Classified {
  code: ErrorCode;
  options: AgentErrorOptions;
  remedy?: Remedy | undefined;
}

function classify(request: RefusedRequest): Classified {
  const { status, body } = request;
  if (endedSession.has(body.code)) {
    return slowS3('check the role behind the alias', { mend: 'session' });
  }
  if (body.code === 'RequestTimeTooSkewed') {
    const serverTime = body.serverTime ?? request.date;
    const remedy: Remedy | undefined = serverTime === null ? undefined : { mend: 'time', serverTime };
    return slowS3('set the clock of this device (NTP)', remedy);
  }
  if (isElsewhere(request)) return elsewhere(request);
  if (status === 403 || status === 401) {
    const hint = denialHints[body.code] ?? denialHint;
    return { code: 'S3_DENIED', options: { hint } };
  }
  if (status === 404 || body.code === 'MethodNotAllowed') {
    const hint =
      body.code === 'NoSuchVersion'
        ? '"versionId" in the desired state is of another object: correct it, or write null in its place'
        : 'upload the object, or correct "url" in the desired state';
    return { code: 'S3_NOT_FOUND', options: { hint } };
  }
  if (status >= 500 || status === 429 || body.code === 'RequestTimeout') {
    return { code: 'S3', options: { retry: 'soon', hint: outageHint('S3') } };
  }
  const hint = /version id/i.test(body.message)
    ? '"versionId" in the desired state is none that S3 gives: correct it, or write null in its place'
    : 'check "url" in the desired state, and "s3.endpoint"';
  return { code: 'S3', options: { retry: 'slow', hint } };
}

function slowS3(hint: string, remedy: Remedy | undefined): Classified {
  return { code: 'S3', options: { retry: 'slow', hint }, remedy };
}

function isElsewhere({ status, body }: RefusedRequest): boolean {
  return (
    (status >= 300 && status < 400) ||
    body.code === 'AuthorizationHeaderMalformed' ||
    body.code === 'IllegalLocationConstraintException'
  );
}

/** Nobody is followed out of the partition: the session token would go along. */
function elsewhere({ status, body, bucketRegion, location, bucket, address }: RefusedRequest): Classified {
  if (status === 307) {
    const target = redirectAddress(location, bucket, address);
    return slowS3('try again later, or check "s3.endpoint"', target && { mend: 'redirect', address: target });
  }
  const region = regionName(bucketRegion) ?? body.region;
  if (region === undefined || region === address.region) return slowS3('check "s3.region"', undefined);
  const isNear = partitionOf(region) === partitionOf(address.region);
  return slowS3(`set "s3.region" to "${region}"`, isNear ? { mend: 'region', region } : undefined);
}

function regionName(text: string | null): string | undefined {
  return text !== null && /^[a-z0-9-]{1,40}$/.test(text) ? text : undefined;
}

/** Where a temporary redirect leads, if that is S3 of the same partition or the configured endpoint. */
function redirectAddress(
  location: string | null,
  bucket: string,
  address: S3Address,
): Partial<S3Address> | undefined {
  if (location === null || !URL.canParse(location)) return undefined;
  const { protocol, host } = new URL(location);
  if (protocol !== 'https:') return undefined;
  const isVirtual = host.startsWith(`${bucket}.`);
  const base = isVirtual ? host.slice(bucket.length + 1) : host;
  if (address.endpoint !== undefined) {
    return base === new URL(address.endpoint).host ? { pathStyle: !isVirtual } : undefined;
  }
  const suffix = `.${partitionSuffix(address.region)}`;
  const service = base.endsWith(suffix) ? base.slice(0, -suffix.length) : '';
  const match = /^s3(?:-external-1|(?:\.dualstack)?(?:[.-]([a-z0-9-]+))?)$/.exec(service);
  const region = match?.[1] ?? address.region;
  if (match === null || partitionOf(region) !== partitionOf(address.region)) return undefined;
  return { endpoint: `https://${base}`, pathStyle: !isVirtual, region };
}
