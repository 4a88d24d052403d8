import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { AgentError } from '../core/errors.ts';
import {
  type LastSeal,
  parsePublicKey,
  parseSeal,
  replayProblem,
  type SignatureTexts,
  signedMessage,
} from '../core/signature.ts';
import type { Logger } from './log.ts';
import type { GetObject, ObjectAnswer, ObjectRequest } from './s3.ts';
import type { State } from './state.ts';

export interface SignedObjectOptions {
  getObject: GetObject;
  property: string;
  /** Base64 of 32 bytes each; one of them must have made the signature. */
  publicKeys: readonly string[];
  /** What was taken last for this property. */
  last: LastSeal | undefined;
}

/** The GET of an object that must be signed: no byte is handed on of one that is not. */
export class SignedObject {
  readonly #options: SignedObjectOptions;
  readonly #keys: KeyObject[];
  #seal: LastSeal | undefined;

  constructor(options: SignedObjectOptions) {
    this.#options = options;
    this.#keys = options.publicKeys.map(publicKeyOf);
  }

  /**
   * The GET that it was made with; an answer with a body has a valid signature of what is asked for.
   *
   * @throws AgentError SIGNATURE_INVALID, or what the GET throws
   */
  readonly get: GetObject = async (request, signal) => {
    const answer = await this.#options.getObject(request, signal);
    if (!('body' in answer)) return answer;
    try {
      this.#seal = this.#check(answer.signature, request.artifact.sha256);
      return answer;
    } catch (error) {
      answer.body.cancel().catch(() => undefined);
      throw error;
    }
  };

  /**
   * The sequence number under which a part may be installed that is whole. Where nothing had to be fetched, because an
   * earlier run brought all of it, the object is asked for its last byte.
   *
   * @throws AgentError SIGNATURE_INVALID, or what the GET throws
   */
  async seal(request: Omit<ObjectRequest, 'offset'>, bytes: number, signal: AbortSignal): Promise<LastSeal> {
    if (this.#seal !== undefined) return this.#seal;
    const { artifact } = request;
    discard(await this.get({ artifact, offset: Math.max(bytes - 1, 0) }, signal));
    // It is another object by now, too short to have that byte.
    if (this.#seal === undefined) discard(await this.get({ artifact, offset: 0 }, signal));
    return this.#seal ?? refuse('S3 does not tell the signature of the object');
  }

  #check(texts: SignatureTexts, sha256: string): LastSeal {
    const { property, last } = this.#options;
    const parsed = parseSeal(texts);
    if ('problem' in parsed) return refuse(parsed.problem);
    const { signature, sequence } = parsed.value;
    const message = signedMessage({ sha256, property, sequence });
    if (!this.#keys.some((key) => verify(null, message, key, signature))) {
      return refuse(`The signature is wrong for this file, property "${property}" and sequence ${sequence}`);
    }
    const problem = replayProblem({ sequence, sha256 }, last);
    return problem === undefined ? { sequence, sha256 } : refuse(problem);
  }
}

/** What is known of a property that must be signed. */
interface Sealed {
  property: string;
  path: string;
  verify?: object;
}

/**
 * Warns of each file of which no sequence is recorded: it may be from before `verify`, and a release of any age is taken,
 * also where the state was lost.
 */
export function warnOfUnknownSequences(files: readonly Sealed[], state: State, log: Logger): void {
  for (const { property, path, verify } of files) {
    if (verify === undefined || state.file(property, path).signature !== undefined) continue;
    const told =
      'No signature of this file is recorded: what is there stays, signed or not, and the next one is taken at any age';
    log.warning(told, {
      file: property,
      hint: 'at the first start this is as it must be; where "verify" is new, remove a file that may be unsigned, to have it fetched anew; else the state directory was lost, and older releases are not held off',
    });
  }
}

function discard(answer: ObjectAnswer): void {
  if ('body' in answer) answer.body.cancel().catch(() => undefined);
}

function refuse(problem: string): never {
  throw new AgentError('SIGNATURE_INVALID', problem, {
    hint: 'sign the file anew with `shadow-agent sign`, by a key of "verify", and upload it as that tells',
  });
}

/** Source of the JWK form: RFC 8037, 2. */
function publicKeyOf(text: string): KeyObject {
  const bytes = parsePublicKey(text);
  if (bytes === undefined) throw new AgentError('CONFIG_INVALID', 'A key of "verify" is no public key');
  const x = Buffer.from(bytes).toString('base64url');
  return createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } });
}
