/** The operator's side of signed files: the private key, and the signatures that it makes. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AgentError, toAgentError } from '../core/errors.ts';
import { type Signed, signedMessage } from '../core/signature.ts';
import { errnoOf, hashFile, remove, syncDirectory } from './disk.ts';
import { readTextFile } from './text-file.ts';

/** A private key that signs files, and the public one that devices know it by: base64 of 32 bytes. */
export interface SigningKey {
  privateKey: KeyObject;
  publicKey: string;
}

/**
 * Makes a key and writes it to a file that was not there before, as PEM (PKCS#8) that only its owner may read.
 *
 * @throws AgentError when the file is there already, or cannot be written
 */
export async function createSigningKey(path: string): Promise<SigningKey> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(pem);
      await file.sync();
    } catch (error) {
      await remove(path);
      throw error;
    } finally {
      await file.close();
    }
    await syncDirectory(dirname(path));
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') {
      throw new AgentError('CONFIG_INVALID', `${path} is there already, and a key is never overwritten`, {
        hint: 'name another file, or move that one away; what it has signed stays valid as long as devices know its key',
      });
    }
    throw toAgentError(error, 'CONFIG_INVALID', `Cannot write ${path}`);
  }
  return { privateKey, publicKey: publicKeyOf(privateKey) };
}

/** Reads such a file. @throws AgentError when it holds no Ed25519 key; nothing of what it holds is shown */
export async function readSigningKey(path: string): Promise<SigningKey> {
  const file = await readTextFile(path);
  if (!file.ok) {
    throw new AgentError('CONFIG_INVALID', `The key ${path} ${file.message}`, { hint: file.hint });
  }
  const privateKey = parse(file.text);
  if (privateKey?.asymmetricKeyType !== 'ed25519') {
    throw new AgentError('CONFIG_INVALID', `${path} holds no Ed25519 private key`, {
      hint: "files are signed by a key of their own, which `shadow-agent keygen FILE` makes; a device's key is none",
    });
  }
  return { privateKey, publicKey: publicKeyOf(privateKey) };
}

/** The signature in base64. */
export function signatureOf({ privateKey }: SigningKey, signed: Signed): string {
  return sign(null, signedMessage(signed), privateKey).toString('base64');
}

/** The SHA-256 of a file by its path. @throws AgentError when it cannot be read */
export async function sha256Of(path: string): Promise<string> {
  try {
    const file = await open(path);
    try {
      return await hashFile(file, 'native', new AbortController().signal);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw toAgentError(error, 'CONFIG_INVALID', `Cannot read ${path}`);
  }
}

function parse(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    // The error is not passed on: what it quotes of the key is not known.
    return undefined;
  }
}

function publicKeyOf(privateKey: KeyObject): string {
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  return Buffer.from(x, 'base64url').toString('base64');
}
