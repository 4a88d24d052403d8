/** Keys that a careless client, signer or URL parser makes another key of. */
import { expect } from 'bun:test';
import { sha256, type World } from './world.ts';

export const oddKeys = [
  'with space.txt',
  'plus+plus.txt',
  '100%.txt',
  '%2e%2e/escaped',
  'what?.txt',
  'hash#tag.txt',
  "quotes'()*!~.txt",
  'back\\slash.txt',
  'ünï/cödé/日本語/🙂.txt',
  '/leading/slash',
  '//two/leading',
  'double//slash///inside',
  'trailing/',
  'a&b=c;d,e:f@g$h',
  'tab\tkey',
  'noncharacters\uFFFE\uFFFF',
  '.hidden/..dots/...',
];

/** Uploads under each key in turn; the device's file and the key that S3 was asked for must follow. */
export async function playOddKeys(world: World): Promise<void> {
  await world.start();
  for (const key of oddKeys) {
    await world.put(key, `content of ${key}`);
    await world.inSync(sha256(`content of ${key}`));
    expect(world.file()).toBe(`content of ${key}`);
    expect(world.gets().at(-1)?.key).toBe(key);
  }
}
