import { describe, expect, test } from 'bun:test';
import { chmod, chown, lchown, mkdir, symlink, writeFile } from 'node:fs/promises';
import type { Problem } from '../../src/core/errors.ts';
import { problemsOf, sampleConfig, sampleOfFile } from '../support/config.ts';
import { asWarning, directoryOfEachTest, joe, svc } from '../support/permissions.ts';
import { root, toolTest } from '../support/tools.ts';

const { load, path } = directoryOfEachTest();

/** Changes modes below the directory, and tells what a strict agent finds. */
async function found(modes: Record<string, number>, config = sampleConfig()): Promise<Problem[]> {
  for (const [name, mode] of Object.entries(modes)) await chmod(path(name), mode);
  const loaded = await load({ ...config, strict: true });
  const lenient = await load({ ...config, strict: false });
  if (loaded.ok) {
    expect(lenient).toMatchObject({ ok: true, warnings: [] });
    return [];
  }
  const refused = problemsOf(loaded);
  if (!lenient.ok) throw new Error(JSON.stringify(lenient.problems));
  expect(lenient.warnings).toEqual(refused.map(asWarning));
  return lenient.warnings;
}

describe('with strict, the agent refuses what it else warns of, with the command that mends it:', () => {
  test('nothing, where only the agent may read its key and write its files', async () => {
    expect(await found({ 'private.key': 0o400 })).toEqual([]);
  });

  toolTest([root], 'nor where root’s own group may', async () => {
    await mkdir(path('state'));
    expect(await found({ 'private.key': 0o640, state: 0o775 })).toEqual([]);
  });

  test.each([0o604, 0o644, 0o602])('a private key of mode %o', async (mode) => {
    const digits = `0${mode.toString(8)}`;
    expect(await found({ 'private.key': mode })).toEqual([
      {
        path: 'key',
        message: `${path('private.key')} is open to everyone (mode ${digits})`,
        hint: `chmod 600 ${path('private.key')}`,
      },
    ]);
  });

  test('roots that everyone can write', async () => {
    const problems = await found({ 'AmazonRootCA1.pem': 0o646 });
    expect(problems).toMatchObject([{ path: 'ca', hint: `chmod o-w ${path('AmazonRootCA1.pem')}` }]);
  });

  test.each([0o757, 0o1777])('a state directory of mode %o', async (mode) => {
    await mkdir(path('state'));
    const problems = await found({ state: mode });
    expect(problems).toMatchObject([{ path: 'stateDir', hint: `chmod o-w ${path('state')}` }]);
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
    expect(await found({ '.': 0o777 })).toMatchObject([{ path: 'config', hint: `chmod o-w ${path()}` }]);
  });

  test('a configuration with the password of a proxy that others may read', async () => {
    const config = sampleConfig({ proxy: 'http://user:hunter22@proxy:3128' });
    await load(config);
    expect(await found({ 'agent.json': 0o644 }, config)).toEqual([
      {
        path: 'config',
        message: `${path('agent.json')}, which holds the password of a proxy, is open to everyone (mode 0644)`,
        hint: `chmod 600 ${path('agent.json')}`,
      },
    ]);
    expect(await found({ 'agent.json': 0o640 }, config)).toEqual([]);
    for (const proxy of ['http://user@proxy:3128', 'http://proxy:3128'])
      expect(await found({ 'agent.json': 0o644 }, sampleConfig({ proxy }))).toEqual([]);
  });

  test('beside every other problem', async () => {
    await chmod(path('private.key'), 0o644);
    const problems = problemsOf(await load(sampleConfig({ strict: true, thingName: 'a b' })));
    expect(problems.map((one) => one.path)).toEqual(['thingName', 'key']);
    expect(problems[1]?.hint).toEndWith('; or set "strict": false, to be warned only');
  });
});

/** What is said before the chown, as all that is joe's would be his agent's. */
const asJoe =
  "run this as the user that the state directory or the key is for: sudo -u '#12345' shadow-agent …; only where root is to run it, ";

/** What is found, by the key that names it and its hint, once some things are another user's. */
async function foundOf(
  owners: Record<string, number>,
  { uid = 0, config = sampleConfig(), asks = false } = {},
): Promise<string[][]> {
  for (const [name, owner] of Object.entries(owners)) await lchown(path(name), owner, owner);
  const loaded = await load({ ...config, strict: true }, {}, { uid, asks });
  const problems = loaded.ok ? [] : problemsOf(loaded);
  return problems.map(asWarning).map((one) => [one.path, one.hint]);
}

describe('what belongs to another user than root and the agent’s own is refused:', () => {
  toolTest([root], 'a private key, whatever its mode', async () => {
    await lchown(path('private.key'), joe, joe);
    const problems = problemsOf(await load(sampleConfig({ strict: true })));
    expect(problems).toEqual([
      {
        path: 'key',
        message: `${path('private.key')} belongs to user 12345, who is neither root nor the user of the agent (root)`,
        hint: `${asJoe}chown root ${path('private.key')}; or set "strict": false, to be warned only`,
      },
    ]);
    expect(await load(sampleConfig({ strict: false }))).toMatchObject({
      ok: true,
      warnings: [{ path: 'key', hint: `${asJoe}chown root ${path('private.key')}` }],
    });
  });

  toolTest([root], 'a key that is not of whoever owns the state directory, which root may take', async () => {
    await mkdir(path('state'), { mode: 0o700 });
    expect(await foundOf({ 'private.key': joe })).toEqual([['key', `chown root ${path('private.key')}`]]);
  });

  toolTest([root], 'configuration, certificate and roots', async () => {
    await load(sampleConfig());
    const owners = { 'agent.json': joe, 'certificate.pem': joe, 'AmazonRootCA1.pem': joe };
    const found = await foundOf(owners);
    expect(found.map(([key]) => key)).toEqual(['config', 'cert', 'ca']);
  });

  toolTest([root], 'a state directory', async () => {
    await mkdir(path('state'), { mode: 0o700 });
    expect(await foundOf({ state: joe })).toEqual([['stateDir', `${asJoe}chown root ${path('state')}`]]);
  });

  toolTest(
    [root],
    'a directory of a target, also where the file is for that user by its "owner"',
    async () => {
      await mkdir(path('out/inner'), { recursive: true });
      const inner = { property: 's3', path: 'out/inner/app.bin' };
      const refused = (directory: string) => [
        'files[0].path',
        `keep it in a directory of root's, run the agent as 12345, or chown root ${directory}; the file itself may be 12345's, by its "owner"`,
      ];
      expect(await foundOf({ out: joe }, { config: sampleConfig({ files: [inner] }) })).toEqual([
        refused(path('out')),
      ]);
      const config = sampleConfig({ files: [{ ...inner, owner: '12345:12345' }] });
      expect(await foundOf({ out: 0, 'out/inner': joe }, { config })).toEqual([refused(path('out/inner'))]);
      await writeFile(path('out/inner/app.bin'), 'his');
      expect(await foundOf({ 'out/inner': 0, 'out/inner/app.bin': joe }, { config })).toEqual([]);
      await chown(path('out/inner'), 0, joe);
      expect(await found({ 'out/inner': 0o775 }, config)).toHaveLength(1);
    },
  );

  toolTest([root], 'a link on the way to a target, which could lead root anywhere', async () => {
    await mkdir(path('roots'));
    await symlink(path('roots'), path('out'));
    const config = sampleOfFile({ path: 'out/app.bin', owner: '12345:12345' });
    expect(await foundOf({ out: joe }, { config })).toEqual([
      ['files[0].path', `chown -h root ${path('out')}`],
    ]);
  });

  toolTest([root], 'a sticky directory too, as its owner may rename all that is in it', async () => {
    await mkdir(path('tmp'));
    await chmod(path('tmp'), 0o1777);
    const found = await foundOf({ tmp: joe }, { config: sampleOfFile({ path: 'tmp/file' }) });
    expect(found.map(([key]) => key)).toEqual(['files[0].path']);
  });

  toolTest([root], 'each directory behind a link, and the link itself', async () => {
    await mkdir(path('joes/state'), { recursive: true });
    await chmod(path('joes/state'), 0o700);
    await symlink('joes/state', path('linked'));
    const found = await foundOf({ joes: joe, linked: joe }, { config: sampleConfig({ stateDir: 'linked' }) });
    expect(found).toEqual([
      ['stateDir', `keep it in a directory of root's, run the agent as 12345, or chown root ${path('joes')}`],
      ['stateDir', `chown -h root ${path('linked')}`],
    ]);
  });

  toolTest([root], 'and nothing that belongs to the user of the agent', async () => {
    await mkdir(path('state'), { mode: 0o700 });
    expect(await foundOf({ 'private.key': svc, state: svc }, { uid: svc })).toEqual([]);
    expect((await foundOf({}, { uid: joe })).map(([key]) => key)).toEqual(['key', 'stateDir']);
  });

  toolTest([root], 'what a link behind a link leads through, where its text goes on with ..', async () => {
    for (const name of ['real/inner', 'real/out', 'out']) await mkdir(path(name), { recursive: true });
    await symlink('real/inner', path('hop'));
    await symlink('hop/../out', path('linked'));
    const config = sampleOfFile({ path: 'linked/app.bin' });
    expect(await foundOf({ real: joe, hop: joe, out: joe }, { config })).toEqual([
      [
        'files[0].path',
        `keep it in a directory of root's, run the agent as 12345, or chown root ${path('real')}; the file itself may be 12345's, by its "owner"`,
      ],
      ['files[0].path', `chown -h root ${path('hop')}`],
    ]);
  });

  test('and a loop of links is no way', async () => {
    await symlink('b', path('a'));
    await symlink('a', path('b'));
    expect((await load(sampleOfFile({ path: 'a/file' }), { strict: true })).ok).toBe(true);
  });
});

describe('where root asks about an agent of another user, that user is the agent’s:', () => {
  toolTest([root], 'the owner of its state, or of its key before it has run', async () => {
    const asked = { asks: true };
    expect(await foundOf({ 'private.key': svc }, asked)).toEqual([]);
    await mkdir(path('state'), { mode: 0o700 });
    expect((await foundOf({ state: joe }, asked)).map(([key]) => key)).toEqual(['key']);
    expect((await foundOf({}, { uid: 0 })).map(([key]) => key)).toEqual(['key', 'stateDir']);
  });

  toolTest([root], 'so that it is not strict by default, and root’s own is', async () => {
    await lchown(path('private.key'), svc, svc);
    expect(await load(sampleConfig(), {}, { asks: true })).toMatchObject({
      ok: true,
      config: { strict: false },
      warnings: [],
    });
    expect((await load(sampleConfig())).ok).toBe(false);
  });
});

test('strict is the default for root alone', async () => {
  await chmod(path('private.key'), 0o644);
  const keys = problemsOf(await load(sampleConfig(), {}, { uid: 0 })).map((one) => one.path);
  expect(keys).toContain('key');
  expect(await load(sampleConfig(), {}, { uid: svc })).toMatchObject({
    ok: true,
    config: { strict: false },
  });
  expect(await load(sampleConfig(), { strict: false }, { uid: 0 })).toMatchObject({ ok: true });
  expect((await load(sampleConfig(), { strict: true }, { uid: svc })).ok).toBe(false);
});

test("the tutorial's /tmp/tmpfile is no problem", async () => {
  const files = [{ property: 's3', path: '/tmp/tmpfile' }];
  expect(await load(sampleConfig({ files }), { strict: true })).toMatchObject({ ok: true, warnings: [] });
});
