/** Whose shadow an upload is written to. */
export interface Target {
  kind: 'thing' | 'group';
  name: string;
}

/** The rule that reads the target from the key of each object. */
export const keyRule = 'key';

/** Names of things and of groups. Source: AWS IoT API, ThingName and ThingGroupName. */
const pattern = /^(thing|group)s\/([a-zA-Z0-9:_-]{1,128})(\/[\s\S]+)?$/;

/**
 * The target of an object. A rule is `things/NAME`, `groups/NAME`, or `key`: then the key itself begins so, with a
 * slash and more behind it.
 * @returns undefined where the key names no target
 * @throws Error when the rule is none
 */
export function targetOf(rule: string, key: string): Target | undefined {
  const [, kind, name, rest] = pattern.exec(rule === keyRule ? key : rule) ?? [];
  const isWhole = (rest !== undefined) === (rule === keyRule);
  if (name !== undefined && isWhole) return { kind: kind === 'thing' ? 'thing' : 'group', name };
  if (rule === keyRule) return undefined;
  throw new Error(`The target "${rule}" is none: things/NAME, groups/NAME or ${keyRule}`);
}
