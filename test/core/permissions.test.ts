/** What is the agent's alone: its key and the directory of its state. */
import { describe, expect, test } from 'bun:test';
import {
  directoryProblem,
  keyProblem,
  linkProblem,
  ownDirectoryProblem,
  type Trust,
  targetDirectoryProblem,
  targetProblem,
} from '../../src/core/permissions.ts';
import { isGroupOf, nameOfGroup, nameOfUser } from '../../src/io/accounts.ts';

const accounts = {
  passwd: 'root:x:0:0:::\nagent:x:900:900:::\njoe:x:1000:1000:::\n',
  group: 'root:x:0:\nagent:x:900:root\njoe:x:1000:\ncerts:x:70:agent,joe\n',
};
const [agent, joe, certs, unknown] = [900, 1000, 70, 54321];
const advice = 'run this as joe';

function trustOf(uid: number, likely?: Trust['likely']): Trust {
  const uids = [0, uid];
  return {
    uids,
    agent: uid,
    nameOf: (one) => nameOfUser(one, accounts) ?? String(one),
    isOwnGroup: (gid) => isGroupOf(uids, gid, accounts),
    groupNameOf: (gid) => nameOfGroup(gid, accounts) ?? String(gid),
    ...(likely && { likely }),
  };
}

const key = (mode: number, uid: number, gid: number, trust = trustOf(agent)) =>
  keyProblem('key', { path: '/k', mode: 0o100000 + mode, uid, gid }, trust);
const state = (mode: number, uid: number, gid: number, trust = trustOf(agent)) =>
  ownDirectoryProblem('stateDir', { path: '/s', mode: 0o40000 + mode, uid, gid }, trust);
const hints = (problems: { hint: string }[]) => problems.map(({ hint }) => hint);

describe('a group that lets in nobody but the agent and root is as good as they are:', () => {
  test.each([
    ['a key of root’s and the agent’s group', 0o640, 0, agent],
    ['a key that this group may write, too', 0o660, 0, agent],
    ['a key of the agent’s own and its group', 0o640, agent, agent],
    ['a key of root and its group', 0o640, 0, 0],
  ])('%s', (_, mode, uid, gid) => {
    expect(key(mode, uid, gid)).toEqual([]);
  });

  test.each([
    ['a state directory of root and its group', 0o775, 0, 0],
    ['one of root’s and the agent’s group', 0o770, 0, agent],
    ['one that others may look into', 0o755, agent, certs],
  ])('%s', (_, mode, uid, gid) => {
    expect(state(mode, uid, gid)).toEqual([]);
  });
});

describe('open to somebody else is', () => {
  test.each([
    ['a key of a group with others', 0o640, certs, 'group certs (mode 0640)'],
    ['a key of a group that the system does not know', 0o640, unknown, 'group 54321 (mode 0640)'],
    ['a key that such a group may write', 0o620, certs, 'group certs (mode 0620)'],
    ['a key of everyone’s to read', 0o644, agent, 'everyone (mode 0644)'],
    ['a key of everyone’s to run', 0o601, certs, 'everyone (mode 0601)'],
  ])('%s', (_, mode, gid, who) => {
    expect(key(mode, agent, gid)).toEqual([
      { path: 'key', message: `/k is open to ${who}`, hint: 'chmod 600 /k' },
    ]);
  });

  test.each([
    ['a state directory of a group with others', 0o775, certs, 'group certs (mode 0775)', 'g-w'],
    ['one that everyone may write', 0o757, agent, 'everyone (mode 0757)', 'o-w'],
    ['a sticky one, where others may still put files', 0o1777, certs, 'everyone (mode 1777)', 'go-w'],
  ])('%s', (_, mode, gid, who, closing) => {
    expect(state(mode, agent, gid)).toEqual([
      { path: 'stateDir', message: `/s can be written by ${who}`, hint: `chmod ${closing} /s` },
    ]);
  });
});

describe('the hint locks out nobody who may be the agent:', () => {
  test('what is root’s is given to the agent, which may have been let in by what is to be closed', () => {
    expect(hints(key(0o640, 0, certs))).toEqual(['chown agent /k && chmod 600 /k']);
    expect(hints(key(0o644, 0, 0))).toEqual(['chown agent /k && chmod 600 /k']);
    expect(hints(state(0o775, 0, certs))).toEqual(['chown agent /s && chmod g-w /s']);
    expect(hints(key(0o640, 0, certs, trustOf(0)))).toEqual(['chmod 600 /k']);
  });

  test('what is another user’s, too', () => {
    expect(hints(key(0o644, joe, joe))).toEqual(['chown agent /k', 'chown agent /k && chmod 600 /k']);
  });

  test('what is of whoever is more likely the agent stays theirs', () => {
    const likely = { uid: joe, advice };
    expect(hints(key(0o644, joe, joe, trustOf(0, likely)))).toEqual([
      `${advice}; only where root is to run it, chown root /k`,
      'chmod 600 /k',
    ]);
    expect(hints(state(0o777, joe, joe, trustOf(0, likely)))).toEqual([
      `${advice}; only where root is to run it, chown root /s`,
      'chmod go-w /s',
    ]);
  });

  test('what lets in whoever is more likely the agent is closed only where that one is not', () => {
    const likely = { uid: joe, advice };
    expect(hints(key(0o640, 0, joe, trustOf(0, likely)))).toEqual([
      `${advice}; only where root is to run it, chmod 600 /k`,
    ]);
    expect(hints(key(0o640, 0, certs, trustOf(agent, likely)))).toEqual([
      `${advice}; only where agent is to run it, chown agent /k && chmod 600 /k`,
    ]);
  });
});

describe('whose a thing is that is shown as that of a user who stands for all others', () => {
  const overflow = 65534;
  const entry = (path: string) => ({ path, mode: 0o40755, uid: overflow, gid: overflow });
  const rules = [keyProblem, ownDirectoryProblem, directoryProblem, targetDirectoryProblem, targetProblem];

  test.each([...rules, linkProblem])('is to be looked at outside of the user namespace (%p)', (rule) => {
    const [first] = rule('at', entry('/x y'), { ...trustOf(0), outsider: overflow });
    expect(first).toEqual({
      path: 'at',
      message: '/x y belongs to a user whom this user namespace does not know',
      hint: `ask outside of it (of the unit with PrivateUsers, of the container): "ls -ld '/x y'" shows whose it is, "shadow-agent doctor" what to do`,
    });
  });

  test.each(rules)('and is that user’s own where all users are known (%p)', (rule) => {
    expect(rule('at', entry('/x'), trustOf(0))[0]?.message).toStartWith('/x belongs to user 65534, who ');
  });
});

test('a home is not to be given away, what lies in it may be', () => {
  const of = (path: string) => ({ path, mode: 0o40755, uid: joe, gid: joe });
  expect(hints(directoryProblem('cert', of('/home/joe'), trustOf(agent)))).toEqual([
    "keep it in a directory of root's, or run the agent as joe",
  ]);
  expect(hints(targetDirectoryProblem('path', of('/home/joe'), trustOf(agent)))).toEqual([
    `keep it in a directory of agent's, or run the agent as joe; the file itself may be joe's, by its "owner"`,
  ]);
  expect(hints(directoryProblem('cert', of('/home/joe/agent'), trustOf(agent)))).toEqual([
    "keep it in a directory of root's, run the agent as joe, or chown root /home/joe/agent",
  ]);
});
