/** When credentials are fetched before an object is asked for. With the compiled executable. */
import { expect, test } from 'bun:test';
import { bucketName, scenario, sha256, until, type World } from '../support/world.ts';

/** Waits until the document was read so many times more. */
async function reads(world: World, more: number): Promise<void> {
  const before = world.published('get').length;
  await until(`${more} more reads`, () => world.published('get').length >= before + more);
}

test('news of a desired value fetches credentials, once; looking at the shadow now and then does not', () =>
  scenario(
    async (world) => {
      const { requests } = world.sandbox.credentials;
      await world.start();
      await reads(world, 3);
      expect(requests.length).toBe(0);
      // Nothing is downloaded for it: whoever asks for credentials does it because of the news.
      world.desire({ s3: { url: `s3://${bucketName}/test.txt`, hash: sha256('hoge\n') } });
      await world.hasStatus({ status: 'failed', code: 'NOT_ALLOWED' });
      await until('the credentials', () => requests.some(({ status }) => status === 200));
      await reads(world, 3);
      expect(requests.length).toBe(1);
      expect(world.gets()).toEqual([]);
    },
    {
      files: [{ property: 's3', path: 'tmpfile', allow: ['s3://another-bucket/'] }],
      config: { resyncSeconds: 1 },
    },
  ));

test('news wait for their part of jitterSeconds; what looking now and then finds does not', () =>
  scenario(
    async (world) => {
      await world.start();
      world.desire({ s3: { url: `s3://${bucketName}/test.txt`, hash: sha256('hoge\n') } });
      await world.hasStatus({ status: 'failed', code: 'NOT_ALLOWED' });
      await reads(world, 3);
      // Credentials would be the first thing that acting on the news asks for.
      expect(world.sandbox.credentials.requests.length).toBe(0);
    },
    {
      files: [{ property: 's3', path: 'tmpfile', allow: ['s3://another-bucket/'] }],
      config: { resyncSeconds: 1, jitterSeconds: 86_400 },
    },
  ));
