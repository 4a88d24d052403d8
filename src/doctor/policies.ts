/** The statement that is missing, with the names of this device, to be pasted into a policy. */
import type { AgentConfig } from '../config.ts';
import type { Artifact } from '../core/artifact.ts';
import type { Policy } from '../core/doctor.ts';
import { type IotAction, policyStatement, regionOfHost } from '../core/iot-policy.ts';
import { partitionOf } from '../core/s3-request.ts';

const ofCertificate = "the certificate's IoT policy (ACCOUNT: the number of the AWS account)";

/** Of the policy that is attached to the certificate; names are client ids, topics or topic filters. */
export function iotPolicy({ endpoint }: AgentConfig, action: IotAction, names: readonly string[]): Policy {
  return { of: ofCertificate, statement: JSON.parse(policyStatement(endpoint.host, action, names)) };
}

/**
 * What an error of the credentials provider lacks; undefined where it is no policy.
 * Source: AWS IoT developer guide, authorizing-direct-aws.
 */
export function assumeRolePolicy(
  { endpoint, credentialEndpoint: { roleAlias } }: AgentConfig,
  message: string,
): Policy | undefined {
  if (/access denied/i.test(message)) {
    const region = regionOfHost(endpoint.host) ?? 'REGION';
    return {
      of: ofCertificate,
      statement: {
        Effect: 'Allow',
        Action: 'iot:AssumeRoleWithCertificate',
        Resource: `arn:${partitionOf(region)}:iot:${region}:ACCOUNT:rolealias/${roleAlias}`,
      },
    };
  }
  if (!/unable to assume the role/i.test(message)) return undefined;
  return {
    of: `the trust policy of the role that alias ${roleAlias} names (aws iot describe-role-alias --role-alias ${roleAlias})`,
    statement: {
      Effect: 'Allow',
      Principal: { Service: 'credentials.iot.amazonaws.com' },
      Action: 'sts:AssumeRole',
    },
  };
}

/** With a version, another action is needed. Source: Amazon S3 API reference, GetObject. */
export function objectPolicy(
  { s3, credentialEndpoint }: AgentConfig,
  { bucket, key, versionId }: Artifact,
): Policy {
  return {
    of: `the permissions of the role that alias ${credentialEndpoint.roleAlias} names`,
    statement: {
      Effect: 'Allow',
      Action: versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion',
      Resource: `arn:${partitionOf(s3.region)}:s3:::${bucket}/${key}`,
    },
  };
}
