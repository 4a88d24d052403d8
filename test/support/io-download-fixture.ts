import { afterEach, beforeEach } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Artifact } from '../../src/core/artifact.ts';
import type { S3Address } from '../../src/core/s3-request.ts';
import { type Clock, systemClock } from '../../src/io/clock.ts';
import type { CredentialsProvider } from '../../src/io/credentials-provider.ts';
import { type DownloadJob, download } from '../../src/io/download.ts';
import { partPath } from '../../src/io/part.ts';
import type { PartRecord } from '../../src/io/part-record.ts';
import { Room } from '../../src/io/room.ts';
import { createFetch, type Fetch } from '../../src/io/runtime.ts';
import { createGetObject, type GetObject } from '../../src/io/s3.ts';
import { providerOf } from './io-credentials.ts';
import { bytesOf, exists, sha256Of, useTempDir } from './io-helpers.ts';
import { type Answer, brokenOff, ObjectServer, type StoredObject } from './io-object-server.ts';

export const bucket = 'examplebucket';

/** Credentials that never end, from a provider that is not asked over the network. */
export function fakeCredentials(sessionToken = 'session-token'): CredentialsProvider {
  let count = 0;
  const fetch: Fetch = async () => {
    count += 1;
    const expiration = new Date(Date.now() + 3_600_000).toISOString();
    const secretAccessKey = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
    return Response.json({
      credentials: { accessKeyId: `ASIA${count}`, secretAccessKey, sessionToken, expiration },
    });
  };
  return providerOf({ fetch, clock: systemClock, signal: new AbortController().signal });
}

/** The GET that the agent makes, with the parts that a test brings. */
export function getObjectOf(
  address: S3Address,
  fetch: Fetch,
  credentials = fakeCredentials(),
  clock: Clock = systemClock,
): GetObject {
  return createGetObject({ address, credentials, fetch, clock });
}

/** The same, aimed at a server on loopback. */
export function getObjectFrom(origin: string): GetObject {
  const address = { region: 'us-east-1', endpoint: origin, pathStyle: true, dualStack: false };
  return getObjectOf(address, createFetch({}));
}

/** What survives between the attempts at one file: the part on the disk, and the record in the state file. */
export class Downloads {
  readonly server: ObjectServer;
  readonly dir: string;
  /** The object of the happy path, 300 kB. */
  readonly object: StoredObject = { bytes: bytesOf(300_000), etag: '"etag-1"' };
  readonly records: PartRecord[] = [];
  readonly room = new Room();
  readonly progress: Array<[number, number | undefined]> = [];
  roomAsked = 0;
  readonly #waiting: Array<{ bytes: number; resolve: () => void }> = [];

  constructor(server: ObjectServer, dir: string) {
    this.server = server;
    this.dir = dir;
  }

  get record(): PartRecord | undefined {
    return this.records.at(-1);
  }

  artifact(changes: Partial<Artifact> = {}): Artifact {
    const key = 'dir/app.bin';
    return { url: `s3://${bucket}/${key}`, bucket, key, sha256: sha256Of(this.object.bytes), ...changes };
  }

  /** Where the part of an artifact lies. */
  partOf(artifact = this.artifact()): string {
    return partPath('s3', join(this.dir, 'app.bin'), artifact.sha256);
  }

  job(changes: Partial<DownloadJob> = {}): DownloadJob {
    const artifact = changes.artifact ?? this.artifact();
    return {
      artifact,
      path: this.partOf(artifact),
      getObject: getObjectFrom(this.server.origin),
      record: this.record,
      saveRecord: async (record) => void this.records.push(structuredClone(record)),
      digest: 'native',
      maxBytes: undefined,
      stallSeconds: 30,
      room: this.room,
      makeRoom: async () => {
        this.roomAsked += 1;
        return false;
      },
      onProgress: (bytes, size) => this.#onProgress(bytes, size),
      signal: new AbortController().signal,
      ...changes,
    };
  }

  #onProgress(bytes: number, size: number | undefined): void {
    this.progress.push([bytes, size]);
    for (const waiting of this.#waiting) if (waiting.bytes <= bytes) waiting.resolve();
  }

  /**
   * Sends the first bytes of the object and ends the connection as soon as these are in the part: what a runtime holds
   * unread when a connection ends is lost, and would make each run another.
   */
  cut(bytes: number, end: 'finish' | 'reset' = 'finish', object = this.object): Answer {
    return (socket, request) => {
      const reached = new Promise<void>((resolve) => this.#waiting.push({ bytes, resolve }));
      const then = () => reached.then(() => (end === 'finish' ? socket.end() : socket.resetAndDestroy()));
      brokenOff(object, bytes, then)(socket, request);
    };
  }

  /** One attempt, as after a restart of the agent: only part and record are left of earlier ones. */
  async attempt(changes: Partial<DownloadJob> = {}): Promise<Uint8Array> {
    const part = await download(this.job(changes));
    await part.close();
    return new Uint8Array(await readFile(part.path));
  }

  /** Bytes in the part; undefined where there is none. */
  async partLength(artifact = this.artifact()): Promise<number | undefined> {
    const path = this.partOf(artifact);
    return (await exists(path)) ? (await readFile(path)).length : undefined;
  }

  /** The Range and conditions of each request so far. */
  asked(): Array<Record<string, string>> {
    return this.server.requests.map(({ headers }) =>
      Object.fromEntries(
        ['range', 'if-match', 'if-none-match'].flatMap((name) => {
          const value = headers[name];
          return value === undefined ? [] : [[name, value]];
        }),
      ),
    );
  }
}

/** A scripted server, a directory and an empty history for each test of a file. */
export function useDownloads(): () => Downloads {
  const dir = useTempDir();
  let downloads: Downloads;
  beforeEach(async () => {
    downloads = new Downloads(await ObjectServer.start(), dir());
  });
  afterEach(() => downloads.server.close());
  return () => downloads;
}
