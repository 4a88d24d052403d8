/** `keygen` and `sign`: what whoever releases files types, far from any device. */
import { shellWord } from '../core/shell.ts';
import { sequenceMetadata, signatureMetadata } from '../core/signature.ts';
import { createSigningKey, readSigningKey, sha256Of, signatureOf } from '../io/signing-key.ts';

/** Makes a key at `path`, and gives the text that is printed. @throws AgentError where that cannot be written */
export async function keygen(path: string): Promise<string> {
  const { publicKey } = await createSigningKey(path);
  return `Private key, to be kept secret: ${path}
Public key: ${publicKey}

In agent.json of the devices, in the entry of "files":
  "verify": { "publicKeys": ["${publicKey}"] }
`;
}

export interface SignRequest {
  /** The file to sign. */
  path: string;
  /** Path of the private key. */
  key: string;
  property: string;
  /** `s3://bucket/key`. */
  to?: string;
  sequence?: number;
}

/**
 * Signs a file, and gives the command that uploads it.
 *
 * @param nowMs wall clock, whole milliseconds since 1970: the sequence where none is given
 * @throws AgentError when the file or the key cannot be read
 */
export async function sign(request: SignRequest, nowMs: number): Promise<string> {
  const { path, property, to = 's3://BUCKET/KEY' } = request;
  const sequence = request.sequence ?? nowMs;
  const key = await readSigningKey(request.key);
  const signature = signatureOf(key, { sha256: await sha256Of(path), property, sequence });
  const metadata = `${signatureMetadata}=${signature},${sequenceMetadata}=${sequence}`;
  // A path that begins with a dash would be taken for an option, and `-` for stdin.
  const source = path.startsWith('-') ? `./${path}` : path;
  return `aws s3 cp ${shellWord(source)} ${shellWord(to)} --metadata ${metadata}\n`;
}
