import { shadowPrefix } from '../core/shadow.ts';

/**
 * What a device's IoT policy allows, as resources of the three actions. Only `*` and `?` are wildcards in them; the
 * `+` and `#` of a topic filter are plain characters. Source: AWS IoT developer guide, pub-sub-policy.
 */
export interface DevicePolicy {
  publish: readonly string[];
  /** Topic filters for iot:Subscribe. */
  subscribe: readonly string[];
  /** Topics for iot:Receive. */
  receive: readonly string[];
}

const operations = ['get', 'update', 'delete'];

/** The policy of a connection: the classic and the named shadows of these things, and nothing else. */
export function devicePolicy(things: Iterable<string>): DevicePolicy {
  const prefixes = [...things].flatMap((thing) => [shadowPrefix(thing), shadowPrefix(thing, '*')]);
  const publish = prefixes.flatMap((prefix) => operations.map((operation) => `${prefix}/${operation}`));
  const answers = publish.map((resource) => `${resource}/*`);
  return { publish, subscribe: answers, receive: answers };
}

/** Tells whether one of the resources matches a topic or topic filter. */
export function allows(resources: readonly string[], topic: string): boolean {
  return resources.some((resource) => patternOf(resource).test(topic));
}

function patternOf(resource: string): RegExp {
  const escaped = resource.replace(/[\\^$.+()[\]{}|]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's');
}
