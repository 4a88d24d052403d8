import { describe, expect, test } from 'bun:test';
import type { JsonSchema } from '@valibot/to-json-schema';
import * as v from 'valibot';
import { configKeys } from '../../src/config/keys.ts';
import { configJsonSchema, configSchema } from '../../src/config/schema.ts';
import { sampleConfig, sampleOfFile, sampleWithout } from '../support/config.ts';

describe('the JSON Schema', () => {
  const schema = configJsonSchema();

  test('tells its dialect and its title, and describes every key', () => {
    expect(schema.$schema).toBe('https://json-schema.org/draft/2020-12/schema');
    expect(schema.title).toBe('shadow-agent configuration');
    for (const { path, description } of configKeys) expect([path, description]).not.toContain('');
    expect(configKeys.length).toBeGreaterThan(28);
  });

  test('accepts the example of the documentation, and refuses what the agent refuses', () => {
    const example = sampleConfig({
      s3: { region: 'us-east-1', pathStyle: true },
      digest: 'native',
      log: { level: 'info' },
    });
    expect(violations(example, schema)).toEqual([]);
    expect(violations(sampleConfig({ thingNam: 1 }), schema)).toEqual(['thingNam']);
    expect(violations(sampleOfFile({ mode: 644 }), schema)).toEqual(['files.0.mode']);
    expect(violations(sampleConfig({ digest: 'md5', keepAliveSeconds: 5 }), schema)).toEqual([
      'keepAliveSeconds',
      'digest',
    ]);
    expect(violations(sampleWithout('thingName'), schema)).toEqual(['thingName']);
  });

  test('carries the defaults that the agent applies', () => {
    const { log, digest } = v.parse(configSchema, sampleConfig());
    expect(schema.properties?.['digest']).toMatchObject({ default: digest });
    expect(schema.properties?.['log']).toMatchObject({
      properties: { level: { default: log.level }, format: { default: log.format } },
    });
  });
});

/** As much of JSON Schema as the configuration's uses; gives the paths of what breaks it. */
function violations(value: unknown, schema: JsonSchema | boolean | undefined, path: string[] = []): string[] {
  if (typeof schema !== 'object') return [];
  const here = [path.join('.')];
  const { minimum = -Infinity, maximum = Infinity } = schema;
  if (schema.enum !== undefined && !schema.enum.some((option) => option === value)) return here;
  if (schema.type === 'array') {
    if (!Array.isArray(value) || value.length < (schema.minItems ?? 0)) return here;
    const items = Array.isArray(schema.items) ? undefined : schema.items;
    return value.flatMap((element, index) => violations(element, items, [...path, String(index)]));
  }
  if (schema.type === 'integer') {
    return Number.isInteger(value) && Number(value) >= minimum && Number(value) <= maximum ? [] : here;
  }
  if (schema.type !== 'object') {
    const matches = typeof value !== 'string' || new RegExp(schema.pattern ?? '').test(value);
    return typeof value === schema.type && matches ? [] : here;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return here;
  const properties = schema.properties ?? {};
  const given = new Map(Object.entries(value));
  return [
    ...(schema.required ?? []).filter((key) => !given.has(key)),
    ...[...given.keys()].filter((key) => schema.additionalProperties === false && !(key in properties)),
    ...Object.keys(properties)
      .filter((key) => given.has(key))
      .flatMap((key) => violations(given.get(key), properties[key], [...path, key])),
  ];
}
