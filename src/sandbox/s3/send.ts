import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Faults } from '../faults.ts';
import type { Reply } from './operation.ts';

const chunkBytes = 256 * 1024;
/** With a limit, this many writes a second at least, so that a change of the limit soon shows. */
const writesPerSecond = 20;

type FileBody = NonNullable<Reply['file']>;

export interface SendOptions {
  /** May slow the body (s3-slow), stop it (s3-stall) or cut the connection (s3-cut). */
  faults: Faults | undefined;
  /** Aborts when the reader goes away, which is no error. */
  signal: AbortSignal;
  /** Hears of each run of bytes. */
  sent: (bytes: number) => void;
}

/** Answers with bytes of a file, at the speed that the reader takes; the file is closed in the end. */
export async function sendFile(
  response: ServerResponse,
  status: number,
  headers: Record<string, string>,
  file: FileBody,
  options: SendOptions,
): Promise<void> {
  try {
    const { faults, signal } = options;
    const cutBytes = faults?.take('s3-cut') ?? Number.POSITIVE_INFINITY;
    const stallBytes = faults?.take('s3-stall') ?? Number.POSITIVE_INFINITY;
    const limit = Math.min(file.length, cutBytes, stallBytes);
    response.writeHead(status, headers);
    response.flushHeaders();
    await sendBytes(response, file, limit, options);
    if (limit === file.length) response.end();
    else if (cutBytes <= stallBytes) response.socket?.destroy();
    else if (!signal.aborted) await once(signal, 'abort');
  } finally {
    await file.handle.close();
  }
}

async function sendBytes(
  response: ServerResponse,
  { handle, start }: FileBody,
  limit: number,
  { faults, sent, signal }: SendOptions,
): Promise<void> {
  for (let done = 0; done < limit && !signal.aborted; ) {
    const bytesPerSecond = faults?.peek('s3-slow');
    const slice = bytesPerSecond === undefined ? chunkBytes : Math.ceil(bytesPerSecond / writesPerSecond);
    const size = Math.min(limit - done, chunkBytes, Math.max(1, slice));
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(size), 0, size, start + done);
    if (bytesRead === 0) throw new Error('the stored object ends early');
    await write(response, buffer.subarray(0, bytesRead), signal);
    done += bytesRead;
    sent(bytesRead);
    if (bytesPerSecond !== undefined) await pause((bytesRead / bytesPerSecond) * 1000, signal);
  }
}

/** Resolves when the bytes are on their way, or the reader is gone. */
async function write(response: ServerResponse, bytes: Buffer, signal: AbortSignal): Promise<void> {
  if (response.write(bytes) || signal.aborted) return;
  await once(response, 'drain', { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}
