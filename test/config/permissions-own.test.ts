/** A key of root's that the agent may read as the only one of its group, as on many boards. */

import { describe, expect } from 'bun:test';
import { chmod, chown, mkdir } from 'node:fs/promises';
import { likelyUser, permissionProblems } from '../../src/config/permissions.ts';
import { directoryOfEachTest, joe, strangers, svc } from '../support/permissions.ts';
import { root, toolTest } from '../support/tools.ts';

const { path } = directoryOfEachTest();

const accounts = {
  passwd: `root:x:0:0:::\nsvc:x:${svc}:${svc}:::\njoe:x:${joe}:${joe}:::\n`,
  group: `root:x:0:\nsvc:x:${svc}:\njoe:x:${joe}:\ncerts:x:70:svc,joe\n`,
};

function located() {
  const paths = { cert: path('certificate.pem'), key: path('private.key'), ca: path('AmazonRootCA1.pem') };
  return { paths, files: [], stateDir: path('state') };
}

async function give(name: string, uid: number, gid: number, mode: number): Promise<void> {
  await chown(path(name), uid, gid);
  await chmod(path(name), mode);
}

const noConfig = { path: undefined, hasPassword: false };

async function hints(uid: number, likelyUid?: number): Promise<string[]> {
  const user = { uid, accounts, ...(likelyUid === undefined ? {} : { likelyUid }) };
  return (await permissionProblems(located(), noConfig, user, '')).map(({ hint }) => hint);
}

const likely = () => likelyUser(located(), accounts);

describe('a key of mode 0640 that is root’s and of the group of the agent’s user', () => {
  toolTest(
    [root],
    'is no problem to that user, nor is a state directory that they may write to so',
    async () => {
      await mkdir(path('state'));
      await give('private.key', 0, svc, 0o640);
      await give('state', 0, svc, 0o770);
      expect(await hints(svc)).toEqual([]);
    },
  );

  toolTest(
    [root],
    'shows who runs the agent before it has a state, and with one that they may write to',
    async () => {
      await give('private.key', 0, svc, 0o640);
      expect(await likely()).toBe(svc);
      await mkdir(path('state'));
      expect(await likely()).toBe(0);
      await give('state', 0, svc, 0o770);
      expect(await likely()).toBe(svc);
      await give('state', joe, joe, 0o700);
      expect(await likely()).toBe(joe);
    },
  );

  toolTest([root], 'does not where others are in the group, or it may not read', async () => {
    for (const gid of [0, 70, strangers]) {
      await give('private.key', 0, gid, 0o640);
      expect(await likely()).toBe(0);
    }
    await give('private.key', 0, svc, 0o600);
    expect(await likely()).toBe(0);
  });

  toolTest([root], 'is not to be closed to that user by who starts the agent as root', async () => {
    await give('private.key', 0, svc, 0o640);
    expect(await hints(0, svc)).toEqual([
      `run this as the user that the state directory or the key is for: sudo -u svc shadow-agent …; only where root is to run it, chmod 600 ${path('private.key')}`,
    ]);
  });
});

toolTest(
  [root],
  'a directory that the agent may write to as the unit says, by its group, is sound',
  async () => {
    await give('private.key', svc, svc, 0o400);
    await mkdir(path('out'));
    await give('out', 0, svc, 0o775);
    const files = [{ path: path('out/app.bin'), owner: undefined, mode: undefined }];
    const user = { uid: svc, accounts };
    expect(await permissionProblems({ ...located(), files }, noConfig, user, '')).toEqual([]);
  },
);

describe('a key of root’s that others than the agent may read', () => {
  toolTest([root], 'is to be given to the agent, which would be locked out else', async () => {
    for (const [gid, mode] of [
      [70, 0o640],
      [svc, 0o644],
    ] as const) {
      await give('private.key', 0, gid, mode);
      const key = path('private.key');
      expect(await hints(svc, 0)).toEqual([`chown svc ${key} && chmod 600 ${key}`]);
    }
  });
});
