import { expect, test } from 'bun:test';
import { mayUse, right } from '../../src/core/access.ts';

const { read, write, enter } = right;
const app = { uid: 7, gids: [70, 71] };

test.each([
  ['the owner by the first digit', { mode: 0o40300, uid: 7, gid: 1 }, true],
  ['the owner by no later digit', { mode: 0o40077, uid: 7, gid: 70 }, false],
  ['a member of any of its groups by the second', { mode: 0o40730, uid: 0, gid: 71 }, true],
  ['a member by no later digit', { mode: 0o40707, uid: 0, gid: 70 }, false],
  ['anybody else by the third', { mode: 0o40773, uid: 0, gid: 0 }, true],
  ['anybody else not by the others', { mode: 0o40775, uid: 0, gid: 0 }, false],
])('a directory may be changed by %s', (_, entry, may) => {
  expect(mayUse(entry, app, write + enter)).toBe(may);
});

test('each right is asked for by itself, and root has all of them', () => {
  const entry = { mode: 0o100640, uid: 0, gid: 70 };
  expect([read, write, enter].map((one) => mayUse(entry, app, one))).toEqual([true, false, false]);
  expect(mayUse({ ...entry, mode: 0 }, { uid: 0, gids: [] }, read + write)).toBe(true);
});
