/** An S3 in memory with one object of 40 MiB, and who reads its answers. */
import type { Artifact } from '../../src/core/artifact.ts';
import type { AgentError } from '../../src/core/errors.ts';
import type { GetObject, ObjectAnswer, ObjectRequest } from '../../src/io/s3.ts';
import { bytesOf, caught, sha256Of } from './io-helpers.ts';

export const mebibyte = 1024 * 1024;
export const object = bytesOf(40 * mebibyte);
export const etag = '"etag-1"';
export const noSignature = { signature: null, sequence: null };
export const unsized: Artifact = {
  url: 's3://bucket/key',
  bucket: 'bucket',
  key: 'key',
  sha256: sha256Of(object),
};
export const artifact: Artifact = { ...unsized, size: object.length };

type Play = (request: ObjectRequest, signal: AbortSignal) => ObjectAnswer | Promise<ObjectAnswer> | undefined;

/** Answers as it should unless the play of a test answers first. */
export class FakeS3 {
  readonly requests: ObjectRequest[] = [];
  open = 0;
  mostOpen = 0;
  /** Bytes of all answers. */
  sent = 0;
  play: Play = () => undefined;

  readonly get: GetObject = async (request, signal) => {
    this.requests.push(request);
    const played = await this.play(request, signal);
    if (played !== undefined) return played;
    if (request.ifMatch !== undefined && request.ifMatch !== etag) return { kind: 'changed' };
    return this.answer(request, signal);
  };

  /** The bytes that were asked for, or the first of them and an end that comes too soon. */
  answer({ offset, length }: ObjectRequest, signal: AbortSignal, sent = length): ObjectAnswer {
    const end = sent === undefined ? object.length : Math.min(object.length, offset + sent);
    const kind = offset === 0 && length === undefined ? 'full' : 'rest';
    const facts = { first: offset, size: object.length, etag, signature: noSignature };
    return { kind, ...facts, body: this.#body(offset, end, signal) };
  }

  /** Resolves when nothing more is fetched. */
  async quiet(): Promise<void> {
    for (let turns = 0, { sent } = this; turns < 10; turns += 1) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (sent !== this.sent) turns = 0;
      sent = this.sent;
    }
  }

  #body(offset: number, end: number, signal: AbortSignal): ReadableStream<Uint8Array<ArrayBuffer>> {
    let at = offset;
    this.open += 1;
    this.mostOpen = Math.max(this.mostOpen, this.open);
    return new ReadableStream(
      {
        pull: async (controller) => {
          await new Promise((resolve) => setTimeout(resolve, 0));
          if (signal.aborted) controller.error(signal.reason);
          else if (at >= end) controller.close();
          else {
            const next = Math.min(end, at + mebibyte / 4);
            controller.enqueue(object.slice(at, next));
            this.sent += next - at;
            at = next;
            if (at >= end) this.open -= 1;
          }
        },
      },
      { highWaterMark: 0 },
    );
  }
}

export interface Read {
  bytes: Uint8Array;
  error?: AgentError;
}

/** All bytes of an answer, and what ended them too soon. */
export async function read(answer: ObjectAnswer): Promise<Read> {
  if (!('body' in answer)) throw new Error(answer.kind);
  const reader = answer.body.getReader();
  const chunks: Uint8Array[] = [];
  const drain = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      chunks.push(value);
    }
  };
  try {
    await drain();
    return { bytes: Buffer.concat(chunks) };
  } catch {
    return { bytes: Buffer.concat(chunks), error: await caught(reader.read()) };
  }
}
