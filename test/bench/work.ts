/**
 * What the benches arm64 and check count, as a program of its own: works on so many MiB and prints a digest or a length.
 *
 *   native MIB · noble MIB · tls MIB URL CA_PATH
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { sha256 } from '@noble/hashes/sha2.js';

const [what = '', mebibytes = '0', url = '', caPath = ''] = process.argv.slice(2);
const block = new Uint8Array(2 ** 20);

const works: Record<string, () => Promise<string>> = {
  native: async () => hashed(createHash('sha256')),
  noble: async () => hashed(sha256.create()),
  tls: async () => {
    const { body } = await fetch(url, { tls: { ca: readFileSync(caPath, 'utf8') } });
    let length = 0;
    for await (const chunk of body ?? []) length += chunk.length;
    return String(length);
  },
};

/** Any engine that takes bytes and gives a digest. */
function hashed(hash: { update(bytes: Uint8Array): unknown; digest(): Uint8Array }): string {
  for (let nth = 0; nth < Number(mebibytes); nth += 1) hash.update(block);
  return Buffer.from(hash.digest()).toString('hex');
}

const work = works[what];
if (work === undefined) throw new Error(`no such work: ${what}`);
process.stdout.write(`${await work()}\n`);
