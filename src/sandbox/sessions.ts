import { randomBytes } from 'node:crypto';

/** A set of keys that the sandbox's S3 and data plane accept: temporary ones have a token and an end. */
export interface Session {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  /** Wall-clock milliseconds after which S3 answers ExpiredToken; never for long-term keys. */
  expiresAtMs: number;
  /** The thing that the credentials provider issued the session for. */
  thingName?: string;
}

/** The keys that were handed out: the credentials provider writes, S3 and the data plane read. */
export class Sessions {
  readonly #byAccessKeyId = new Map<string, Session>();

  /** Registers long-term keys, such as the operator's. */
  addLongTerm(accessKeyId: string, secretAccessKey: string): Session {
    const session = { accessKeyId, secretAccessKey, expiresAtMs: Number.POSITIVE_INFINITY };
    this.#byAccessKeyId.set(accessKeyId, session);
    return session;
  }

  /** Issues temporary credentials, whose id starts with ASIA as AWS's do. */
  issue(thingName: string | undefined, expiresAtMs: number): Required<Omit<Session, 'thingName'>> & Session {
    const session = {
      accessKeyId: `ASIA${randomBytes(8).toString('hex').toUpperCase()}`,
      secretAccessKey: randomBytes(30).toString('base64'),
      sessionToken: randomBytes(192).toString('base64'),
      expiresAtMs,
      ...(thingName === undefined ? {} : { thingName }),
    };
    this.#byAccessKeyId.set(session.accessKeyId, session);
    return session;
  }

  /** The session of an access key id, whether it has ended or not. */
  find(accessKeyId: string): Session | undefined {
    return this.#byAccessKeyId.get(accessKeyId);
  }

  /** Ends every temporary session now: the next request with one is answered ExpiredToken. */
  expireAll(): void {
    for (const session of this.#byAccessKeyId.values()) {
      if (session.sessionToken !== undefined) session.expiresAtMs = 0;
    }
  }
}
