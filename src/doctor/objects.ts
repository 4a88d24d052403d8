/** Probes of the way to the objects: the credentials, and a byte of each that is desired. */
import type { AgentConfig } from '../config.ts';
import type { Artifact } from '../core/artifact.ts';
import type { Finding } from '../core/doctor.ts';
import { AgentError } from '../core/errors.ts';
import { bytesText, durationText } from '../core/words.ts';
import { CredentialsProvider } from '../io/credentials-provider.ts';
import { createFetch } from '../io/runtime.ts';
import { createGetObject } from '../io/s3.ts';
import { isOutOfDate, outOfDate } from './aws.ts';
import { milliseconds } from './network.ts';
import { assumeRolePolicy, objectPolicy } from './policies.ts';
import { type Findings, fail, ok, skip } from './probe.ts';

/** Trades the certificate for temporary credentials, which the probe of the objects uses. */
export async function probeCredentials(found: Findings, signal: AbortSignal): Promise<Finding> {
  const { config, identity, clock, serverTime } = found;
  const { credentialEndpoint, thingName } = config;
  const provider = new CredentialsProvider({
    endpoint: credentialEndpoint,
    thingName,
    fetch: createFetch({ ca: [identity.caPem], cert: identity.certPem, key: identity.keyPem }, found.route),
    clock,
    serverTime,
    signal: found.ending.signal,
  });
  const startedMs = clock.nowMs();
  try {
    const { expiresAtMs } = await provider.get(signal);
    found.credentials = provider;
    const nowMs = clock.nowMs();
    return ok(
      `of role alias ${credentialEndpoint.roleAlias} in ${milliseconds(nowMs - startedMs)}, good for ${durationText(expiresAtMs - nowMs)}`,
    );
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    if (isOutOfDate(found)) return fail({ message: error.message, hint: outOfDate });
    return fail(error, assumeRolePolicy(config, error.message));
  }
}

/** Asks for one byte of each object that is desired. */
export async function probeObjects(found: Findings, signal: AbortSignal): Promise<Finding[]> {
  return Promise.all(found.files.map((file) => probeObject(found, file, signal)));
}

async function probeObject(
  found: Findings,
  file: AgentConfig['files'][number],
  signal: AbortSignal,
): Promise<Finding> {
  const { property } = file;
  const desired = found.desired.get(property);
  if (found.running !== undefined && found.running.files[property] === undefined) {
    return skip(
      `${property}: the running agent does not keep it (see "agent"), so it cannot tell what is desired`,
    );
  }
  if (desired === undefined || desired.kind === 'unknown' || desired.kind === 'absent') {
    return skip(`${property}: nothing is desired of it, so there is no object to ask for`);
  }
  if (desired.kind === 'refused') {
    return fail({ message: `${property}: ${desired.code}: ${desired.message}`, hint: desired.hint });
  }
  const { artifact } = desired;
  const startedMs = found.clock.nowMs();
  try {
    const size = await sizeOf(found, artifact, signal);
    if (size !== undefined) found.sizes.set(property, size);
    return judge(property, artifact, size, file.maxBytes, milliseconds(found.clock.nowMs() - startedMs));
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    const told = { message: `${property}: ${error.message}`, hint: error.hint };
    const isMissing = error.code === 'S3_DENIED';
    return fail(told, isMissing ? objectPolicy(found.config, artifact) : undefined);
  }
}

/** Bytes of an object, by its first one. */
async function sizeOf(found: Findings, artifact: Artifact, signal: AbortSignal): Promise<number | undefined> {
  const { config, clock, serverTime, credentials } = found;
  if (credentials === undefined) throw new AgentError('CREDENTIALS', 'There are no credentials');
  const getObject = createGetObject({
    address: config.s3,
    credentials,
    fetch: createFetch({ ca: found.rootsOf('s3') }, found.route),
    clock,
    serverTime,
  });
  const answer = await getObject({ artifact, offset: 0, length: 1 }, signal);
  if (answer.kind === 'past-end') return 0;
  if (!('body' in answer)) return undefined;
  answer.body.cancel().catch(() => undefined);
  return answer.size;
}

function judge(
  property: string,
  { url, size: desiredSize }: Artifact,
  size: number | undefined,
  maxBytes: number | undefined,
  took: string,
): Finding {
  const text = size === undefined ? 'of unknown size' : bytesText(size);
  if (size !== undefined && desiredSize !== undefined && size !== desiredSize) {
    return fail({
      message: `${property}: ${url} has ${size} bytes, desired says ${desiredSize}`,
      hint: 'upload the right object, or correct "size" in the desired state',
    });
  }
  if (size !== undefined && maxBytes !== undefined && size > maxBytes) {
    return fail({
      message: `${property}: ${url} has ${size} bytes, "maxBytes" is ${maxBytes}`,
      hint: 'raise "maxBytes" of this file in agent.json, if the device may take files of this size',
    });
  }
  return ok(`${property}: ${url} is there, ${text}, first byte in ${took}`);
}
