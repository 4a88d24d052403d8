/** Reads a CloudFormation template and resolves what its parameters and conditions decide. */
import { readFile } from 'node:fs/promises';
import { type CollectionTag, parse, type ScalarTag } from 'yaml';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/core/json.ts';

const functions = ['Sub', 'GetAtt', 'If', 'Equals', 'Not'];

/** `!Sub x` is `{"Fn::Sub": x}`; only Ref has no prefix. */
function wrap(name: string, value: JsonValue): JsonObject {
  return { [name === 'Ref' ? name : `Fn::${name}`]: value };
}

function tagsOf(name: string): Array<ScalarTag | CollectionTag> {
  const tag = `!${name}`;
  return [
    { tag, resolve: (text: string) => wrap(name, text) },
    { tag, collection: 'seq', resolve: (sequence) => wrap(name, JSON.parse(JSON.stringify(sequence))) },
  ];
}

export async function readTemplate(path: string): Promise<JsonObject> {
  const customTags = ['Ref', ...functions].flatMap(tagsOf);
  const template: JsonValue = JSON.parse(JSON.stringify(parse(await readFile(path, 'utf8'), { customTags })));
  if (!isJsonObject(template)) throw new Error(`${path} is no template`);
  return template;
}

const pseudo: JsonObject = {
  'AWS::Partition': 'aws',
  'AWS::Region': 'us-east-1',
  'AWS::AccountId': '123456789012',
  'AWS::StackName': 'stack',
};

function objectAt(value: JsonValue | undefined): JsonObject {
  return value !== undefined && isJsonObject(value) ? value : {};
}

/**
 * The resources that a stack with these parameters has, their properties resolved. Attributes of resources are
 * `<Name.Attribute>`. @throws Error where something refers to what the stack does not have
 */
export function resourcesOf(template: JsonObject, given: JsonObject = {}): Record<string, JsonObject> {
  return sectionOf('Resources', template, given);
}

/** The values of the outputs that a stack with these parameters has. */
export function outputsOf(template: JsonObject, given: JsonObject = {}): JsonObject {
  const outputs = Object.entries(sectionOf('Outputs', template, given));
  return Object.fromEntries(outputs.map(([name, { Value = null }]) => [name, Value]));
}

function sectionOf(
  section: 'Resources' | 'Outputs',
  template: JsonObject,
  given: JsonObject,
): Record<string, JsonObject> {
  const defaults = Object.entries(objectAt(template['Parameters'])).map(([name, parameter]) => [
    name,
    objectAt(parameter)['Default'],
  ]);
  const parameters: JsonObject = { ...pseudo, ...Object.fromEntries(defaults), ...given };
  const conditions = objectAt(template['Conditions']);
  const holds = (condition: JsonValue | undefined) => {
    if (typeof condition !== 'string' || !(condition in conditions))
      throw new Error(`no condition ${condition}`);
    return resolve(conditions[condition]) === true;
  };
  const keptOf = (name: typeof section) =>
    Object.entries(objectAt(template[name]))
      .map(([key, entry]): [string, JsonObject] => [key, objectAt(entry)])
      .filter(([, { Condition }]) => Condition === undefined || holds(Condition));
  const names = new Set(keptOf('Resources').map(([name]) => name));

  function named(name: string, more: JsonObject = {}): JsonValue {
    const known = more[name] ?? parameters[name];
    if (known !== undefined) return known;
    if (names.has(name.split('.')[0] ?? '')) return `<${name}>`;
    throw new Error(`nothing in the stack is called ${name}`);
  }

  function sub(value: JsonValue): string {
    const [text, more] = Array.isArray(value) ? value : [value, {}];
    const values = objectAt(resolve(more));
    return String(text)
      .replace(/\$\{([^!}][^}]*)\}/g, (_, name: string) => String(named(name, values)))
      .replaceAll('${!', '${');
  }

  function resolve(value: JsonValue | undefined): JsonValue | undefined {
    if (Array.isArray(value)) return value.map(resolve).filter((item) => item !== undefined);
    if (value === undefined || !isJsonObject(value)) return value;
    const [[key = '', inner = null] = [], ...rest] = Object.entries(value);
    if (rest.length === 0) {
      const items = Array.isArray(inner) ? inner : [inner];
      if (key === 'Ref') return inner === 'AWS::NoValue' ? undefined : named(String(inner));
      if (key === 'Fn::GetAtt') return named(String(inner));
      if (key === 'Fn::Sub') return sub(inner);
      if (key === 'Fn::If') return resolve(holds(items[0]) ? items[1] : items[2]);
      if (key === 'Fn::Equals') return resolve(items[0]) === resolve(items[1]);
      if (key === 'Fn::Not') return resolve(items[0]) !== true;
    }
    const entries = Object.entries(value).map(([name, item]) => [name, resolve(item)] as const);
    return Object.fromEntries(entries.flatMap(([name, item]) => (item === undefined ? [] : [[name, item]])));
  }

  return Object.fromEntries(keptOf(section).map(([name, entry]) => [name, objectAt(resolve(entry))]));
}

export interface Statement {
  Effect: string;
  actions: string[];
  resources: string[];
  Condition?: JsonValue;
}

/** All statements of a role or of an IoT policy, lists made of single values. */
export function statementsOf(resource: JsonObject | undefined): Statement[] {
  const properties = objectAt(resource?.['Properties']);
  const inline = Array.isArray(properties['Policies']) ? properties['Policies'] : [properties];
  const list = (value: JsonValue | undefined) => (Array.isArray(value) ? value : [value ?? null]).map(String);
  return inline
    .flatMap((policy) => {
      const { Statement } = objectAt(objectAt(policy)['PolicyDocument']);
      return Array.isArray(Statement) ? Statement : [];
    })
    .map(objectAt)
    .map(({ Effect, Action, Resource, Condition }) => ({
      Effect: String(Effect),
      actions: list(Action),
      resources: list(Resource),
      ...(Condition === undefined ? {} : { Condition }),
    }));
}
