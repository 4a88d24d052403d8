import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readConfigFile } from '../../src/io/config-file.ts';

describe('a file that holds no configuration is one problem', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'shadow-agent-config-file-'));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  test.each([
    ['an empty file', '', 'is empty'],
    ['nothing but blanks', ' \n\t', 'is empty'],
    ['a list', '[]', 'holds a list, not an object'],
    ['a string', '"x"', 'holds a single value, not an object'],
    ['null', 'null', 'holds a single value, not an object'],
    ['more than 1 MiB', ' '.repeat(1024 * 1024 + 1), 'is larger than 1 MiB'],
    ['UTF-16', new Uint8Array([0xff, 0xfe, 0x7b, 0x00]), 'is no UTF-8 text'],
    ['a missing value', '{\n  "a": 1,\n  "b": }', 'line 3, column 8: expected a value, found }'],
    ['a missing comma', '{"a": 1\n"b": 2}', 'line 2, column 1: expected , or }, found "'],
    ['a comma too many', '{"a": [1,]}', 'line 1, column 10: expected a value, found ]'],
    ['a comment', '{ // the thing\n}', 'line 1, column 3: expected a key in "quotes" or }, found /'],
    ['single quotes', "{'a': 1}", 'line 1, column 2: expected a key'],
    ['an end too early', '{"a": {"b": 1}', 'line 1, column 15: expected , or }, found the end'],
    ['a line break in a string', '{"a": "x\ny"}', 'line 1, column 7: expected a value, found "'],
    ['two values', '{} {}', 'line 1, column 4: expected the end, found {'],
    ['a bare word', '{"a": yes}', 'line 1, column 7: expected a value, found y'],
    ['a leading zero', '{"mode": 0644}', 'line 1, column 10: expected a value'],
    ['endless nesting', '['.repeat(100_000), 'nested too deep'],
  ])('%s', async (_name, content, message) => {
    const path = join(dir, 'agent.json');
    await writeFile(path, content);
    const file = await readConfigFile(path);
    if (file.ok) throw new Error('the file was accepted');
    expect(file.problem.path).toBe(path);
    expect(file.problem.message).toContain(message);
    expect(file.problem.hint).not.toBe('');
  });

  test('a file that is not there, and a directory', async () => {
    const none = join(dir, 'none.json');
    expect(await readConfigFile(none)).toMatchObject({ problem: { path: none, message: 'does not exist' } });
    expect(await readConfigFile(dir)).toMatchObject({ problem: { path: dir, message: 'is a directory' } });
  });

  test('an endless device is read no further than its limit', async () => {
    expect(await readConfigFile('/dev/zero')).toMatchObject({ problem: { message: 'is larger than 1 MiB' } });
  });
});
