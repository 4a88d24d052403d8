/** How a shadow that others write too is written, with AWS's client on a transport that is played. */
import { expect, test } from 'bun:test';
import { publishTo } from '../../src/cloud/shadow.ts';
import { playedShadows, publication } from '../support/played-shadows.ts';

test('after each conflict the shadow is read again, then written', async () => {
  const sent: string[] = [];
  const client = playedShadows(async (method) => {
    sent.push(method);
    return method === 'POST' && sent.length < 6 ? 409 : 200;
  });
  expect(await publishTo(client, 'board', publication)).toBe('written');
  expect(sent).toEqual(['GET', 'POST', 'GET', 'POST', 'GET', 'POST']);
});

test('a shadow that changes during eight attempts is given up', async () => {
  let writes = 0;
  const client = playedShadows(async (method) => {
    if (method === 'GET') return 200;
    writes += 1;
    return 409;
  });
  await expect(publishTo(client, 'board', publication)).rejects.toThrow(
    'The shadow of board has changed during each of 8 attempts to write it',
  );
  expect(writes).toBe(8);
});
