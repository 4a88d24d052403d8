/** What an install takes over from the file that it replaces, where others may write to the directory. */
import { describe, expect } from 'bun:test';
import { chmod, chown, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type InstallJob, install } from '../../src/io/install.ts';
import { Part, partPath } from '../../src/io/part.ts';
import { sha256Of, useTempDir } from '../support/io-helpers.ts';
import { program, root, toolTest } from '../support/tools.ts';

const dir = useTempDir();
// No account has these numbers.
const stranger = { uid: 12345, gid: 23456 };
const strangers = 54321;

function target(): string {
  return join(dir(), 'app.bin');
}

/** Installs a text, and tells mode and owner of what is there then. */
async function put(text: string, options: Partial<Pick<InstallJob, 'mode' | 'owner'>> = {}) {
  const part = await Part.open(
    partPath('s3', target(), sha256Of(text)),
    'native',
    new AbortController().signal,
  );
  await part.append(Buffer.from(text));
  const job = { target: target(), mode: undefined, owner: undefined, previousPath: undefined };
  await install({ ...job, ...options, part });
  const { mode, uid, gid } = await stat(target());
  return { mode: mode & 0o7777, uid, gid };
}

/** Puts a file there as somebody else might. */
async function precreate(mode: number, { uid, gid } = stranger): Promise<void> {
  await writeFile(target(), 'old');
  await chown(target(), uid, gid);
  await chmod(target(), mode);
}

describe('in a directory where others may write', () => {
  for (const [mode, group] of [
    [0o1777, 0],
    [0o777, 0],
    [0o775, strangers],
    [0o1775, strangers],
  ] as const) {
    toolTest(
      [root],
      `(mode ${mode.toString(8)}, group ${group}) a new file is not given to the stranger whose file it replaces`,
      async () => {
        await chown(dir(), 0, group);
        await chmod(dir(), mode);
        await precreate(0o4666);
        expect(await put('new')).toEqual({ mode: 0o644, uid: 0, gid: 0 });
      },
    );
  }

  toolTest(
    [root],
    'a file of the agent’s own keeps its mode, but for what lets others write, or run as its owner',
    async () => {
      await chmod(dir(), 0o1777);
      await precreate(0o6722, { uid: 0, gid: 0 });
      expect(await put('new')).toEqual({ mode: 0o700, uid: 0, gid: 0 });
      await chmod(target(), 0o640);
      expect(await put('newer')).toEqual({ mode: 0o640, uid: 0, gid: 0 });
    },
  );

  toolTest([root], 'what the configuration names counts all the same', async () => {
    await chmod(dir(), 0o1777);
    await precreate(0o600);
    expect(await put('new', { owner: stranger })).toEqual({ mode: 0o600, ...stranger });
    expect(await put('newer', { owner: stranger, mode: 0o4666 })).toEqual({ mode: 0o4666, ...stranger });
  });
});

describe('in a directory where nobody else may write', () => {
  toolTest([root], 'all is as it was: the owner was for whoever may write there to choose', async () => {
    await chmod(dir(), 0o775);
    await precreate(0o4666);
    expect(await put('new')).toEqual({ mode: 0o4666, ...stranger });
  });
});

const unshare = program('unshare');
toolTest(
  [root, unshare],
  'to a user that this namespace does not know a file cannot be given, which is no more than a want of right',
  async () => {
    const source = join(import.meta.dir, '../../src/io/inherit.ts');
    const script = `
      const { open } = await import('node:fs/promises');
      const { give, notGiven } = await import(${JSON.stringify(source)});
      const to = { uid: 12345, gid: 12345 };
      const left = await give(await open(${JSON.stringify(target())}, 'w'), to);
      console.log(notGiven('/x', left, to, true).hint);
    `;
    const child = Bun.spawn([unshare.path, '-Ur', process.execPath, '-e', script]);
    expect(await new Response(child.stdout).text()).toBe(
      'chown 0:0 /x, or run the agent with CAP_CHOWN, and outside of a user namespace\n',
    );
    expect(await child.exited).toBe(0);
  },
);
