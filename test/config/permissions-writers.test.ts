/** Who may write: to the target itself, as a group, and to hooks. */

import { describe, expect, test } from 'bun:test';
import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import type { Problem } from '../../src/core/errors.ts';
import { problemsOf, sampleConfig, sampleOfFile } from '../support/config.ts';
import { asWarning, directoryOfEachTest, joe, strangers } from '../support/permissions.ts';
import { root, toolTest } from '../support/tools.ts';

const { load, path } = directoryOfEachTest();

/** What a strict agent of root's finds, by the key that names it, what is wrong and the hint. */
async function found(config = sampleConfig()): Promise<Problem[]> {
  const loaded = await load({ ...config, strict: true }, {}, { uid: 0 });
  return loaded.ok ? [] : problemsOf(loaded).map(asWarning);
}

/** The key and hint of each. */
async function hints(config = sampleConfig()): Promise<string[][]> {
  return (await found(config)).map((one) => [one.path, one.hint]);
}

describe('the target as it is', () => {
  toolTest([root], 'must not be another user’s, unless "owner" says so', async () => {
    await writeFile(path('tmpfile'), 'mine');
    await chown(path('tmpfile'), joe, joe);
    expect(await found()).toEqual([
      {
        path: 'files[0].path',
        message: `${path('tmpfile')} belongs to user 12345, who can write to it`,
        hint: `where 12345 may decide what the file holds, set its "owner" to "12345"; else chown root ${path('tmpfile')}`,
      },
    ]);
    expect(await hints(sampleOfFile({ owner: '12345:12345' }))).toEqual([]);
    expect(await load(sampleConfig({ strict: false }))).toMatchObject({
      ok: true,
      warnings: [{ path: 'files[0].path' }],
    });
  });

  test('must not be everyone’s to write, unless "mode" says so', async () => {
    await writeFile(path('tmpfile'), 'mine');
    await chmod(path('tmpfile'), 0o666);
    expect(await found()).toMatchObject([
      {
        path: 'files[0].path',
        message: `${path('tmpfile')} can be written by everyone (mode 0666)`,
        hint: `chmod o-w ${path('tmpfile')}, or set its "mode" to "0666" where they may`,
      },
    ]);
    expect(await hints(sampleOfFile({ mode: '0644' }))).toHaveLength(1);
    expect(await hints(sampleOfFile({ mode: '0666' }))).toEqual([]);
  });

  toolTest([root], 'may be a link to anything, which is replaced itself', async () => {
    await writeFile(path('joes'), 'his');
    await chown(path('joes'), joe, joe);
    await chmod(path('joes'), 0o666);
    await symlink(path('joes'), path('tmpfile'));
    expect(await hints()).toEqual([]);
  });
});

describe('what a group may write that is neither root’s nor the agent’s own is refused:', () => {
  toolTest([root], 'the key, which it may not even read, and the state', async () => {
    await mkdir(path('state'));
    for (const [name, mode] of [
      ['private.key', 0o640],
      ['state', 0o775],
    ] as const) {
      await chown(path(name), 0, strangers);
      await chmod(path(name), mode);
    }
    expect(await found()).toEqual([
      {
        path: 'key',
        message: `${path('private.key')} is open to group 54321 (mode 0640)`,
        hint: `chmod 600 ${path('private.key')}`,
      },
      {
        path: 'stateDir',
        message: `${path('state')} can be written by group 54321 (mode 0775)`,
        hint: `chmod g-w ${path('state')}`,
      },
    ]);
  });

  toolTest([root], 'configuration, certificate and roots', async () => {
    await load(sampleConfig());
    for (const name of ['agent.json', 'certificate.pem', 'AmazonRootCA1.pem']) {
      await chown(path(name), 0, strangers);
      await chmod(path(name), 0o664);
    }
    // The configuration is written anew by each load, and keeps its owner and mode.
    expect(await found()).toMatchObject([
      { path: 'config', message: expect.stringContaining('can be written by group 54321 (mode 0664)') },
      { path: 'cert', hint: `chmod g-w ${path('certificate.pem')}` },
      { path: 'ca', hint: `chmod g-w ${path('AmazonRootCA1.pem')}` },
    ]);
  });

  toolTest([root], 'the directory of key and configuration', async () => {
    await chown(path(), 0, strangers);
    await chmod(path(), 0o775);
    expect(await found()).toMatchObject([
      {
        path: 'config',
        message: `group 54321 can replace what is in ${path()} (mode 0775, no sticky bit)`,
        hint: `chmod g-w ${path()}`,
      },
    ]);
    await chmod(path(), 0o777);
    expect(await hints()).toEqual([['config', `chmod go-w ${path()}`]]);
  });

  toolTest([root], 'the directory of a target, the target, and the parent of the state', async () => {
    for (const name of ['out', 'lib']) await mkdir(path(name));
    await writeFile(path('out/file'), 'old');
    for (const name of ['out', 'lib', 'out/file']) {
      await chown(path(name), 0, strangers);
      await chmod(path(name), 0o775);
    }
    const config = { ...sampleOfFile({ path: 'out/file' }), stateDir: 'lib/state' };
    expect(await hints(config)).toEqual([
      ['files[0].path', `chmod g-w ${path('out/file')}, or set its "mode" to "0775" where they may`],
      ['stateDir', `chmod g-w ${path('lib')}`],
      ['files[0].path', `chmod g-w ${path('out')}`],
    ]);
    await chmod(path('out'), 0o1775);
    expect(await hints(config)).toHaveLength(2);
  });

  toolTest([root], 'the directory of the metrics, where a file is replaced every 15 s', async () => {
    await mkdir(path('textfile'));
    const config = { ...sampleConfig(), metricsFile: 'textfile/agent.prom' };
    expect(await hints(config)).toEqual([]);
    await chown(path('textfile'), 1001, 0);
    expect(await hints(config)).toMatchObject([['metricsFile', expect.stringContaining(path('textfile'))]]);
    await chown(path('textfile'), 0, strangers);
    await chmod(path('textfile'), 0o775);
    expect(await hints(config)).toEqual([['metricsFile', `chmod g-w ${path('textfile')}`]]);
  });

  toolTest([root], 'and root’s own group is as good as root', async () => {
    await chmod(path(), 0o775);
    await chmod(path('AmazonRootCA1.pem'), 0o664);
    expect(await hints()).toEqual([]);
  });
});

describe('what runs or is written with the agent’s rights must not be others’ to replace:', () => {
  const withHook = (...command: string[]) => sampleOfFile({ onInstall: { command } });

  toolTest([root], 'the program of a hook', async () => {
    await writeFile(path('apply'), '#!/bin/sh\n');
    expect(await hints(withHook(path('apply')))).toEqual([]);
    await chmod(path('apply'), 0o777);
    expect(await hints(withHook('./apply', 'now'))).toEqual([
      ['files[0].onInstall.command', `chmod o-w ${path('apply')}`],
    ]);
    await chmod(path('apply'), 0o755);
    await chown(path('apply'), joe, joe);
    expect(await hints(withHook('./apply'))).toEqual([
      ['files[0].onInstall.command', `chown root ${path('apply')}`],
    ]);
  });

  toolTest([root], 'its directory, also before it is there, and where it is the file itself', async () => {
    await mkdir(path('hooks'));
    await chown(path('hooks'), joe, joe);
    expect(await hints(withHook('hooks/apply'))).toEqual([
      [
        'files[0].onInstall.command',
        `keep it in a directory of root's, run the agent as 12345, or chown root ${path('hooks')}`,
      ],
    ]);
    const self = { path: 'hooks/app', owner: '12345:12345', onInstall: { command: ['hooks/app'] } };
    expect((await hints(sampleOfFile(self))).map(([key]) => key)).toEqual(['files[0].onInstall.command']);
  });

  /** What is found of a hook that is looked for in these directories. */
  const onPath = async (uid: number, ...names: string[]) => {
    const env = { PATH: names.map(path).join(':') };
    return problemsOf(await load({ ...withHook('apply'), strict: true }, {}, { env, uid })).filter(
      (one) => one.path === 'files[0].onInstall.command',
    );
  };

  test('each directory of PATH, up to the one where it is found', async () => {
    for (const name of ['open', 'sound', 'after']) await mkdir(path(name));
    await writeFile(path('sound/apply'), '#!/bin/sh\n', { mode: 0o755 });
    for (const name of ['open', 'after']) await chmod(path(name), 0o777);
    expect(await onPath(0, 'open', 'sound', 'after')).toMatchObject([
      {
        message: expect.stringContaining(`${path('open')} (mode 0777`),
        hint: expect.stringContaining(`name the program in "command" by its path: ${path('sound/apply')};`),
      },
    ]);
  });

  toolTest(
    [root],
    'and the one where it is found, with a hint to what it is, not to where it was looked for',
    async () => {
      for (const name of ['joes', 'sound']) await mkdir(path(name));
      await chown(path('joes'), joe, joe);
      const hintsOf = async (...names: string[]) => (await onPath(0, ...names)).map(({ hint }) => hint);
      const strict = '; or set "strict": false, to be warned only';
      expect(await hintsOf('joes')).toEqual([`name the program in "command" by its path${strict}`]);
      await writeFile(path('sound/apply'), '#!/bin/sh\n', { mode: 0o755 });
      expect(await hintsOf('joes', 'sound')).toEqual([
        `name the program in "command" by its path: ${path('sound/apply')}${strict}`,
      ]);
      await writeFile(path('joes/apply'), '#!/bin/sh\n', { mode: 0o755 });
      expect(await hintsOf('joes', 'sound')).toEqual([
        `keep it in a directory of root's, run the agent as 12345, or chown root ${path('joes')}${strict}`,
      ]);
    },
  );

  toolTest([root], 'and those behind what has its name there, but would not be run', async () => {
    for (const name of ['file', 'directory/apply', 'roots', 'open']) {
      await mkdir(path(name), { recursive: true });
    }
    await writeFile(path('file/apply'), 'no program', { mode: 0o644 });
    await writeFile(path('roots/apply'), '#!/bin/sh\n', { mode: 0o700 });
    await writeFile(path('open/apply'), '#!/bin/sh\n', { mode: 0o755 });
    await chmod(path('open'), 0o777);
    const open = [{ message: expect.stringContaining(`${path('open')} (mode 0777`) }];
    expect(await onPath(0, 'file', 'open')).toMatchObject(open);
    expect(await onPath(0, 'directory', 'open')).toMatchObject(open);
    expect(await onPath(joe, 'roots', 'open')).toMatchObject(open);
  });
});
