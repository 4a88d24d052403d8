import { expect, test } from 'bun:test';
import { resolve } from 'node:path';
import { nextSteps } from '../../src/sandbox/next-steps.ts';

function steps(dir: string): string {
  const deviceDir = resolve(dir, 'things/test-thing');
  return nextSteps(resolve(dir), { dir: deviceDir, configPath: resolve(deviceDir, 'agent.json') });
}

test('what to type next names the directory of the sandbox, unless it is the default one', () => {
  const own = steps('my boxes');
  expect(own).toContain("\n  bun run sandbox --dir 'my boxes' put hoge.txt s3://");
  expect(own).toContain("\n  bun run sandbox --dir 'my boxes' shadow\n");
  expect(own).toContain("--config 'my boxes/things/test-thing/agent.json'\n");
  expect(own).toContain("after:  . 'my boxes/env'\n");
  const usual = steps('.sandbox');
  expect(usual).toContain('\n  bun run sandbox put hoge.txt s3://');
  expect(usual).not.toContain('--dir');
});
