import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { chmod, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Problem } from '../../src/core/errors.ts';
import {
  type ConfigDir,
  createConfigDir,
  problemsOf,
  sampleConfig,
  sampleOfFile,
} from '../support/config.ts';

let at: ConfigDir;

beforeEach(async () => {
  at = await createConfigDir();
});
afterEach(() => at.remove());

const path = (name: string) => join(at.dir, name);

/** Changes modes below the directory, and tells what a strict agent finds. */
async function found(modes: Record<string, number>, config = sampleConfig()): Promise<Problem[]> {
  for (const [name, mode] of Object.entries(modes)) await chmod(path(name), mode);
  const loaded = await at.load({ ...config, strict: true });
  const lenient = await at.load({ ...config, strict: false });
  if (loaded.ok) {
    expect(lenient).toMatchObject({ ok: true, warnings: [] });
    return [];
  }
  const refused = problemsOf(loaded);
  if (!lenient.ok) throw new Error(JSON.stringify(lenient.problems));
  const asWarnings = refused.map((one) => ({
    ...one,
    hint: one.hint.replace(/; or set "strict": false.*/, ''),
  }));
  expect(lenient.warnings).toEqual(asWarnings);
  return lenient.warnings;
}

describe('with strict, the agent refuses what it else warns of, with the command that mends it:', () => {
  test('nothing, where only the agent may read its key and write its files', async () => {
    expect(await found({ 'private.key': 0o400 })).toEqual([]);
  });

  test.each([0o640, 0o604, 0o644, 0o620])('a private key of mode %o', async (mode) => {
    const digits = `0${mode.toString(8)}`;
    expect(await found({ 'private.key': mode })).toEqual([
      {
        path: 'key',
        message: `${path('private.key')} can be read by others than its owner (mode ${digits})`,
        hint: `chmod 600 ${path('private.key')}`,
      },
    ]);
  });

  test('roots that everyone can write', async () => {
    const problems = await found({ 'AmazonRootCA1.pem': 0o646 });
    expect(problems).toMatchObject([{ path: 'ca', hint: `chmod o-w ${path('AmazonRootCA1.pem')}` }]);
  });

  test.each([0o775, 0o757, 0o1777])('a state directory of mode %o', async (mode) => {
    await mkdir(path('state'));
    const problems = await found({ state: mode });
    expect(problems).toMatchObject([{ path: 'stateDir', hint: `chmod go-w ${path('state')}` }]);
  });

  test('a directory of a target that everyone can write, unless it is sticky', async () => {
    await mkdir(path('out'));
    const config = sampleOfFile({ path: 'out/app.bin' });
    expect(await found({ out: 0o757 }, config)).toEqual([
      {
        path: 'files[0].path',
        message: `everyone can replace what is in ${path('out')} (mode 0757, no sticky bit)`,
        hint: `chmod o-w ${path('out')}`,
      },
    ]);
    expect(await found({ out: 0o1777 }, config)).toEqual([]);
    expect(await found({ out: 0o775 }, config)).toEqual([]);
  });

  test('a directory far above, of what is not there yet, and behind a link, each once', async () => {
    await mkdir(path("it's open/inner"), { recursive: true });
    await mkdir(path('real/inner'), { recursive: true });
    await symlink(path('real/inner'), path('linked'));
    const files = [
      { property: 'a', path: "it's open/inner/none/yet/a" },
      { property: 'b', path: "it's open/b" },
      { property: 'c', path: 'linked/c' },
    ];
    const problems = await found({ "it's open": 0o777, real: 0o777 }, sampleConfig({ files }));
    expect(problems.map(({ path: key, hint }) => [key, hint])).toEqual([
      ['files[0].path', `chmod o-w '${path("it'\\''s open")}'`],
      ['files[2].path', `chmod o-w ${path('real')}`],
    ]);
  });

  test('the directory of all, where everyone can replace key and roots', async () => {
    expect(await found({ '.': 0o777 })).toMatchObject([{ path: 'config', hint: `chmod o-w ${at.dir}` }]);
  });

  test('beside every other problem', async () => {
    await chmod(path('private.key'), 0o644);
    const problems = problemsOf(await at.load(sampleConfig({ strict: true, thingName: 'a b' })));
    expect(problems.map((one) => one.path)).toEqual(['thingName', 'key']);
    expect(problems[1]?.hint).toEndWith('; or set "strict": false, to be warned only');
  });
});

test('strict is the default for root alone', async () => {
  await chmod(path('private.key'), 0o644);
  expect(problemsOf(await at.load(sampleConfig(), {}, true)).map((one) => one.path)).toEqual(['key']);
  expect(await at.load(sampleConfig(), {}, false)).toMatchObject({ ok: true, config: { strict: false } });
  expect(await at.load(sampleConfig(), { strict: false }, true)).toMatchObject({ ok: true });
  expect((await at.load(sampleConfig(), { strict: true }, false)).ok).toBe(false);
});

test("the tutorial's /tmp/tmpfile is no problem, also for root", async () => {
  const files = [{ property: 's3', path: '/tmp/tmpfile' }];
  expect(await at.load(sampleConfig({ files }), {}, true)).toMatchObject({ ok: true, warnings: [] });
});
