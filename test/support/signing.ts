/** Files signed by the executable's own commands, as whoever releases them does it. */
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { bucketName, executable, type World } from './world.ts';

/** Runs a command of the executable to its end; what it prints. Throws what it complains of. */
export async function command(cwd: string, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = spawnSync(await executable(), args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`exit ${status}: ${stderr}`);
  return stdout;
}

/** Makes a key in a directory. @returns the public key that was printed */
export async function makeKey(dir: string, name: string): Promise<string> {
  const printed = await command(dir, 'keygen', name);
  return /^Public key: (\S+)$/m.exec(printed)?.[1] ?? '';
}

/** A device that takes only what one of the public keys has signed. */
export function verifying(...publicKeys: string[]) {
  return { files: [{ property: 's3', path: 'tmpfile', verify: { publicKeys } }] };
}

export interface Release {
  /** File name of the private key. */
  key: string;
  sequence: number;
  property?: string;
}

/** The metadata that `sign` prints for a content. */
export async function metadataOf(
  dir: string,
  content: string | Uint8Array,
  { key, sequence, property = 's3' }: Release,
): Promise<Record<string, string>> {
  await writeFile(`${dir}/to-sign`, content);
  const options = ['--key', key, '--property', property, '--sequence', `${sequence}`];
  const printed = await command(dir, 'sign', 'to-sign', ...options);
  const pairs = / --metadata (\S+)\n$/.exec(printed)?.[1]?.split(',') ?? [];
  return Object.fromEntries(
    pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
  );
}

/** Uploads a content with the signature of a release of it. */
export async function putSigned(world: World, content: string | Uint8Array, release: Release): Promise<void> {
  const metadata = await metadataOf(world.sandbox.dir, content, release);
  await world.put('test.txt', content, { metadata });
}

export const objectUrl = `s3://${bucketName}/test.txt`;
