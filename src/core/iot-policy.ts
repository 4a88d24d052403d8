/**
 * Statements of an AWS IoT policy, for hints: what to paste where something is not allowed.
 * Source: AWS IoT developer guide, iot-policy-actions and iot-action-resources.
 */
import { partitionOf } from './s3-request.ts';

/** An action of MQTT with the kind of resource that it is allowed on. */
const resources = {
  Connect: 'client',
  Publish: 'topic',
  Subscribe: 'topicfilter',
  Receive: 'topic',
} as const;
export type IotAction = keyof typeof resources;

/** The region in a host such as `abc-ats.iot.us-east-1.amazonaws.com`. Source: AWS IoT endpoints, aws and aws-cn. */
export function regionOfHost(host: string): string | undefined {
  return /\.iot\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$/.exec(host)?.[1];
}

/**
 * A statement as JSON in one line. The host tells the region; the account is nowhere in what a device knows.
 *
 * @param names client ids, topics or topic filters; `*` and `?` are wildcards
 */
export function policyStatement(host: string, action: IotAction, names: readonly string[]): string {
  const region = regionOfHost(host) ?? 'REGION';
  const arns = names.map(
    (name) => `arn:${partitionOf(region)}:iot:${region}:ACCOUNT:${resources[action]}/${name}`,
  );
  return JSON.stringify({
    Effect: 'Allow',
    Action: `iot:${action}`,
    Resource: arns.length === 1 ? arns[0] : arns,
  });
}
