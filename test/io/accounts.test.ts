import { describe, expect, test } from 'bun:test';
import {
  groupsOf,
  isGroupOf,
  nameOfGroup,
  onlyUserOf,
  outsiderOf,
  resolveOwner,
} from '../../src/io/accounts.ts';

const accounts = {
  passwd: 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/false\nbroken\nodd:x:many:1:::\n',
  group: 'root:x:0:\nstaff:x:50:app\nempty:x:60:\n',
};

describe('resolveOwner()', () => {
  test.each([
    ['app', { uid: 1000, gid: 1001 }],
    ['app:staff', { uid: 1000, gid: 50 }],
    ['1000', { uid: 1000, gid: 1001 }],
    ['7:8', { uid: 7, gid: 8 }],
    ['7:staff', { uid: 7, gid: 50 }],
    ['app:0', { uid: 1000, gid: 0 }],
  ])('finds %s', (owner, expected) => {
    expect(resolveOwner(owner, accounts)).toEqual({ ok: true, owner: expected });
  });

  test.each([
    ['nobody', 'names no user of /etc/passwd: nobody'],
    ['odd', 'names no user of /etc/passwd: odd'],
    ['broken', 'names no user of /etc/passwd: broken'],
    ['app:nogroup', 'names no group of /etc/group: nogroup'],
    ['7', 'user 7 has no group in /etc/passwd'],
    ['4294967295:0', 'names no user of /etc/passwd: 4294967295'],
  ])('refuses %s', (owner, message) => {
    expect(resolveOwner(owner, accounts)).toMatchObject({ ok: false, message });
  });
});

test('the groups of a user are that of its account and those that list it', () => {
  const more = { ...accounts, group: `${accounts.group}adm:x:4:other,app\napple:x:5:apple\n` };
  expect(groupsOf(1000, more)).toEqual([1001, 50, 4]);
  expect(groupsOf(7, more)).toEqual([]);
});

describe('a group lets in some users alone', () => {
  const own = {
    passwd: 'root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/false\njoe:x:1001:100::/:/bin/sh\n',
    group: 'root:x:0:joe\napp:x:1000:\nusers:x:100:\nstaff:x:50:app\nempty:x:60:\n',
  };

  test.each([
    ['where it is the one of an account of theirs, and nobody else is in it', [0, 1000], 1000, true],
    ['where it is root’s', [1000], 0, true],
    ['and not where it is another user’s', [0, 1001], 1000, false],
    ['where it is of no account, and only they are listed', [0, 1000], 50, true],
    ['where the system names it and nobody is in it, as Debian’s staff', [0], 60, true],
    ['and not where the system does not know it', [0, 1000], 12345, false],
    ['where everybody whom it is for is one of them', [0, 1001], 100, true],
  ])('%s', (_, uids, gid, expected) => {
    expect(isGroupOf(uids, gid, own)).toBe(expected);
  });

  test('and not where another one, or an unknown one, is listed', () => {
    for (const member of ['joe', 'gone']) {
      const shared = { ...own, group: own.group.replace('app:x:1000:', `app:x:1000:app,${member}`) };
      expect(isGroupOf([0, 1000], 1000, shared)).toBe(false);
    }
    expect(isGroupOf([0, 1000], 1000, { ...own, group: 'app:x:1000:app,root\n' })).toBe(true);
  });

  test.each([
    ['the one whose it is', 1000, 1000],
    ['the one that it lists', 50, 1000],
    ['none where it is root’s', 0, undefined],
    ['none where nobody is in it', 60, undefined],
    ['none where the system does not know it', 12345, undefined],
  ])('and has one user alone beside root: %s', (_, gid, expected) => {
    expect(onlyUserOf(gid, own)).toBe(expected);
  });

  test.each([
    ['app,root,app', 1000],
    ['app,joe', undefined],
    ['app,gone', undefined],
    ['gone', undefined],
  ])('and where it lists %s, that is %p', (members, expected) => {
    expect(onlyUserOf(50, { ...own, group: `staff:x:50:${members}\n` })).toBe(expected);
  });

  test('and has a name, or none', () => {
    expect([nameOfGroup(50, own), nameOfGroup(51, own)]).toEqual(['staff', undefined]);
  });
});

describe('outsiderOf()', () => {
  test.each([
    ['the whole system, where each number is a user', '         0          0 4294967295\n', undefined],
    ['a namespace of few numbers', '         0       1000          1\n', 65534],
    ['one that has a user of that number', '         0     100000      65536\n', undefined],
    ['several ranges, none of them with it', '0 1000 1\n1 100000 1000\n', 65534],
    ['several ranges, one of them with it', '0 1000 1\n65534 65534 1\n', undefined],
  ])('in %s', (_, map, id) => {
    expect(outsiderOf(map, '65534\n')).toBe(id);
  });
});
